"""Seeds that start from the same pretrained weights are not independent."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitipde.evaluation import compare_evaluations, evaluate_runs
from kitipde.evaluation.shared_starts import Arm, compare_arms, starts_of
from kitipde.evaluation.statistics import compare_errors, verdict
from kitipde.runs import Run
from tests.evaluation.conftest import train_tiny

LABELS = st.sampled_from([None, "one", "two", "three"])


def errors(seed: int, seeds: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).uniform(1, 2, (seeds, 8))


@given(seeds=st.integers(1, 6), paired=st.booleans())
def test_seeds_with_starts_of_their_own_are_compared_as_ever(seeds: int, paired: bool) -> None:
    a, b = errors(0, seeds), errors(1, seeds, 0.9)
    starts = [f"{number}" for number in range(seeds)]
    for names in ([None] * seeds, starts):
        result, words = compare_arms(Arm("A", a, [None] * seeds), Arm("B", b, names), paired=paired)
        assert result == compare_errors(a, b, paired=paired)
        assert words == verdict(result, "A", "B")


@given(starts=st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=8), paired=st.booleans())
def test_there_are_never_more_independent_seeds_than_starts(starts, paired: bool) -> None:
    a, b = errors(0, len(starts)), errors(1, len(starts))
    first, second = (list(names) for names in zip(*starts, strict=True))
    result, _ = compare_arms(Arm("A", a, first), Arm("B", b, second), paired=paired)
    for count, names in zip(result.seeds, (first, second), strict=True):
        assert count <= len({name for name in names if name is not None}) + names.count(None)
    if paired:
        assert result.seeds[0] == result.seeds[1]


@pytest.mark.parametrize("shared", [("A",), ("B",), ("A", "B")])
def test_nothing_is_concluded_from_many_seeds_of_one_start(shared) -> None:
    a, b = errors(0, 10), errors(0, 10, 0.5)
    plain = compare_errors(a, b)
    assert plain.different
    arms = (Arm(name, each, ["x" if name in shared else None] * 10) for name, each in (("A", a), ("B", b)))
    result, words = compare_arms(*arms, paired=True)
    assert (result.low, result.different, result.ratio) == (None, False, pytest.approx(plain.ratio))
    assert words.startswith("nothing can be concluded beyond this one start: the ratio of errors is 0.5")
    assert f"interval {plain.low:.4g} to {plain.high:.4g} for this one start alone" in words
    assert "10 of A count as 1" in words


def test_an_interval_over_starts_holds_the_ratio_of_other_starts() -> None:
    """Studies in which the start alone decides: over seeds nearly all would be wrong, over starts nearly none."""
    rng, misses = np.random.default_rng(0), {"starts": 0, "seeds": 0}
    for _ in range(40):
        effects = np.repeat(rng.normal(0, 0.2, 5), 4)[:, None]
        difficulty = rng.normal(0, 0.1, (1, 20))
        a, b = (np.exp(effect + difficulty + rng.normal(0, 0.01, (20, 20))) for effect in (0.0, effects))
        names = [f"{number // 4}" for number in range(20)]
        over = {
            "starts": compare_arms(Arm("A", a, [None] * 20), Arm("B", b, names), paired=True)[0],
            "seeds": compare_errors(a, b),
        }
        for name, result in over.items():
            assert result.low is not None
            assert result.high is not None
            misses[name] += not result.low <= np.exp(0.02) <= result.high
    assert misses["starts"] <= 5
    assert misses["seeds"] >= 8


def test_runs_that_were_fine_tuned_from_one_network_are_one_unit(vanilla_run: Run, tmp_path) -> None:
    runs = [
        train_tiny(
            vanilla_run.dataset_path,
            tmp_path / name,
            f"training: {{start_from: {vanilla_run.path}, seeds: 3, seed: {seed}}}",
        )
        for name, seed in (("own", 0), ("one", 10))
    ]
    own, one = (starts_of(run, range(seed, seed + 3)) for run, seed in zip(runs, (0, 10), strict=True))
    assert len(set(own)) == 3
    assert set(one) == {own[0]}
    # Runs of earlier versions do not know the weights, only the folder.
    old = [replace(run, facts=replace(run.facts, start_weights={})) for run in runs]
    assert [len(set(starts_of(run, run.seeds))) for run in old] == [3, 1]
    first, second = evaluate_runs([run.path for run in runs], None, [(32,)])
    comparison = compare_evaluations(first, second, (32,))
    assert comparison.result.seeds == (3, 1)
    assert "3 of one count as 1" in comparison.verdict
    assert compare_evaluations(evaluate_runs([vanilla_run.path], None, [(32,)])[0], first, (32,)).result.seeds == (3, 3)
