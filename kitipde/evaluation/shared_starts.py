"""Comparisons in which seeds that start from the same pretrained weights count as one.

Such seeds differ in the order of their batches alone. How another pretrained network would do is nowhere in their
spread, however many there are: an interval over them holds for that one start. So the errors of seeds with one start
are averaged first, and what remains, a row for each start, is compared as seeds are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kitipde.errors import InputError
from kitipde.evaluation.statistics import Comparison, compare_errors, verdict
from kitipde.runs import Run, open_run

__all__ = ["Arm", "compare_arms", "starts_of"]


@dataclass(frozen=True)
class Arm:
    """One of two models that are compared.

    Attributes:
        name: its name.
        errors: of each seed on each test sample.
        starts: of each seed, which weights it starts from; None for random ones of its own.
    """

    name: str
    errors: Float[np.ndarray, "seeds samples"]
    starts: Sequence[str | None]


def starts_of(run: Run, seeds: Sequence[int]) -> tuple[str | None, ...]:
    """Which weights each seed of a run starts from; None for random ones of its own."""
    source = run.config.training.start_from
    if source is None:
        return (None,) * len(seeds)
    known = [run.facts.start(seed) for seed in seeds]
    if all(start is not None for start in known):
        return tuple(start.identity for start in known if start is not None)
    # A run of an earlier version knows the other's folder only.
    try:
        trained = [replica.seed for replica in open_run(source).replicas if replica.best_path.is_file()]
    except InputError:
        trained = []
    return tuple(f"{source}/{seed if seed in trained else min(trained, default=0)}" for seed in seeds)


def compare_arms(a: Arm, b: Arm, *, paired: bool) -> tuple[Comparison, str]:
    """Compare the errors of two models on the same test samples.

    Args:
        a: the reference.
        b: the other.
        paired: whether row k of a and row k of b are the same seed.

    Returns:
        The comparison over independent seeds, and the verdict in words, which names the seeds that are not.
    """
    if paired:
        groups_a = groups_b = _groups([*zip(a.starts, b.starts, strict=True)])
    else:
        groups_a, groups_b = (_groups([(start,) for start in arm.starts]) for arm in (a, b))
    counts = (len(groups_a), len(a.errors)), (len(groups_b), len(b.errors))
    result = compare_errors(_means(a.errors, groups_a), _means(b.errors, groups_b), paired=paired)
    words = verdict(result, a.name, b.name)
    if all(independent == seeds for independent, seeds in counts):
        return result, words
    shared = [
        f"{seeds} of {arm.name} count as {independent}"
        for arm, (independent, seeds) in zip((a, b), counts, strict=True)
        if independent < seeds
    ]
    alone = compare_errors(a.errors, b.errors, paired=paired)
    if result.low is None and alone.low is not None and alone.high is not None:
        fewest = min(independent for independent, _ in counts)
        these = "this one start" if fewest == 1 else f"these {fewest} starts"
        words = (
            f"nothing can be concluded beyond {these}: the ratio of errors is {alone.ratio:.4g}, 95 % interval "
            f"{alone.low:.4g} to {alone.high:.4g} for {these} alone, and other pretrained weights may turn that round "
            "(start from at least 5)"
        )
    return result, f"{words}; seeds that start from the same weights count as one ({', '.join(shared)})"


def _groups(labels: Sequence[tuple[str | None, ...]]) -> list[list[int]]:
    """Rows that have any label in common, directly or through others, in the order of their first."""
    groups: list[tuple[set[str], list[int]]] = []
    for row, names in enumerate(labels):
        mine, rows = {name for name in names if name is not None}, [row]
        apart = []
        for other, members in groups:
            if mine & other:
                mine, rows = mine | other, members + rows
            else:
                apart.append((other, members))
        groups = [*apart, (mine, rows)]
    return sorted(sorted(rows) for _, rows in groups)


def _means(errors: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    return np.stack([errors[list(rows)].mean(0) for rows in groups])
