"""Ratios, intervals and verdicts, on errors whose truth is known."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from kitipde.evaluation.statistics import Comparison, compare_errors, verdict


def errors(seeds: int, samples: int, seed_spread: float, sample_spread: float, rng: np.random.Generator) -> np.ndarray:
    logarithm = seed_spread * rng.normal(size=(seeds, 1)) + sample_spread * rng.normal(size=(1, samples))
    return np.exp(logarithm)


def test_a_scaled_error_has_exactly_the_scale_as_its_ratio_and_no_doubt_about_it():
    a = errors(5, 30, 0.2, 0.5, np.random.default_rng(0))
    comparison = compare_errors(a, 0.88 * a)
    assert comparison.ratio == pytest.approx(0.88)
    assert comparison.low == pytest.approx(0.88)
    assert comparison.high == pytest.approx(0.88)
    assert comparison.wins == 5
    assert comparison.different


def test_few_test_samples_are_named_as_what_is_missing():
    a = errors(10, 5, 0.02, 0.02, np.random.default_rng(0))
    comparison = compare_errors(a, 0.3 * a)
    assert not comparison.different
    assert comparison.seeds_needed is None
    assert verdict(comparison).endswith("Detecting any difference takes at least 6 test samples; there are 5.")
    a = errors(10, 6, 0.02, 0.02, np.random.default_rng(0))
    assert compare_errors(a, 0.3 * a).different


def test_equal_errors_are_no_difference():
    a = errors(5, 30, 0.2, 0.5, np.random.default_rng(0))
    comparison = compare_errors(a, a.copy())
    assert (comparison.ratio, comparison.low, comparison.high, comparison.wins) == (1.0, 1.0, 1.0, 0)
    assert not comparison.different
    assert comparison.seeds_needed is None
    assert "B's error is equal to A's (95 % CI 0.0 % lower to" in verdict(comparison)


def test_with_seed_effects_alone_the_interval_is_students_over_seeds():
    rng = np.random.default_rng(1)
    a, b = np.ones((8, 40)), np.exp(0.1 * rng.normal(size=(8, 1))) * np.ones((8, 40))
    comparison = compare_errors(a, b)
    logarithm = np.log(b[:, 0])
    # The delta method for the log of a mean: its error is that of the mean over the mean.
    standard_error = b[:, 0].std(ddof=1) / np.sqrt(8) / b[:, 0].mean()
    half_width = stats.t.ppf(0.975, 7) * standard_error
    assert comparison.high is not None
    assert np.log(comparison.high / comparison.ratio) == pytest.approx(half_width, rel=0.06)
    assert comparison.p_value == pytest.approx(stats.wilcoxon(logarithm).pvalue)


def test_with_sample_effects_alone_the_interval_is_students_over_samples():
    rng = np.random.default_rng(2)
    a, b = np.ones((3, 60)), np.exp(0.2 * rng.normal(size=(1, 60))) * np.ones((3, 60))
    comparison = compare_errors(a, b)
    half_width = stats.t.ppf(0.975, 59) * b[0].std(ddof=1) / np.sqrt(60) / b[0].mean()
    assert comparison.high is not None
    assert np.log(comparison.high / comparison.ratio) == pytest.approx(half_width, rel=0.06)


def test_exchanging_the_two_inverts_the_ratio_and_its_interval():
    rng = np.random.default_rng(3)
    a, b = errors(6, 25, 0.1, 0.3, rng), 0.9 * errors(6, 25, 0.1, 0.3, rng)
    forward, backward = compare_errors(a, b), compare_errors(b, a)
    assert forward.low is not None
    assert backward.high is not None
    assert backward.ratio == pytest.approx(1 / forward.ratio)
    assert backward.high == pytest.approx(1 / forward.low)
    assert backward.p_value == forward.p_value


def test_the_same_errors_give_the_same_interval():
    rng = np.random.default_rng(4)
    a, b = errors(5, 25, 0.1, 0.3, rng), errors(5, 25, 0.1, 0.3, rng)
    assert compare_errors(a, b) == compare_errors(a, b)


@pytest.mark.parametrize(("seeds", "few"), [(1, "one seed"), (2, "2 seeds")])
def test_one_or_two_seeds_allow_no_conclusion(seeds: int, few: str):
    comparison = compare_errors(np.full((seeds, 10), 1.0), np.full((seeds, 10), 0.5))
    assert comparison.low is None
    assert not comparison.different
    assert verdict(comparison, "vanilla", "KITI").startswith(
        f"Inconclusive with {few}: KITI's error is 50 % lower than vanilla's, and other seeds may reverse that. Train"
    )


def test_unpaired_seeds_are_compared_as_two_groups():
    rng = np.random.default_rng(5)
    a, b = errors(5, 40, 0.1, 0.0, rng), 0.5 * errors(7, 40, 0.1, 0.0, rng)
    comparison = compare_errors(a, b, paired=False)
    welch = stats.ttest_ind(np.log(b[:, 0]), np.log(a[:, 0]), equal_var=False).confidence_interval()
    assert comparison.low is not None
    assert comparison.high is not None
    assert np.log(comparison.low) == pytest.approx(welch.low, abs=0.02)
    assert np.log(comparison.high) == pytest.approx(welch.high, abs=0.02)
    assert comparison.wins is None
    assert comparison.different
    assert verdict(comparison, "FNO", "KITI").endswith("with 5 and 7 seeds, not paired.")


def test_a_difference_needs_both_rank_tests_too():
    sure = Comparison(0.8, 0.7, 0.9, 1 / 16, 1 / 16, 0.01, 5, (5, 5), 100, True, None)
    assert sure.different
    assert not dataclasses.replace(sure, p_value=0.2).different
    assert not dataclasses.replace(sure, p_value_samples=0.2).different
    assert not dataclasses.replace(sure, high=1.1).different


def test_the_rank_test_over_samples_is_wilcoxons():
    rng = np.random.default_rng(9)
    a, b = errors(4, 30, 0.1, 0.3, rng), errors(4, 30, 0.1, 0.3, rng)
    expected = stats.wilcoxon(np.log(a.mean(0) / b.mean(0))).pvalue
    assert compare_errors(a, b).p_value_samples == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "wins", "text"),
    [
        (0.88, 0.83, 0.93, 8, "KITI's error is 12 % lower than FNO's (95 % CI 7.0 to 17 %), lower with 8 of 10 seeds."),
        (1.25, 1.11, 1.43, 1, "FNO's error is 20 % lower than KITI's (95 % CI 9.9 to 30 %), lower with 9 of 10 seeds."),
        (
            0.54,
            0.30,
            0.96,
            10,
            "KITI's error is 46 % lower than FNO's (95 % CI 4.0 to 70 %), lower with 10 of 10 seeds.",
        ),
    ],
)
def test_the_verdict_names_the_better_one_its_margin_and_its_wins(
    ratio: float, low: float, high: float, wins: int, text: str
):
    assert (
        verdict(Comparison(ratio, low, high, 0.01, 0.002, 0.001, wins, (10, 10), 100, True, None), "FNO", "KITI")
        == text
    )


def test_the_verdict_without_a_difference_gives_the_interval_and_the_seeds_needed():
    comparison = Comparison(0.97, 0.90, 1.045, 0.4, 1 / 16, 0.4, 3, (5, 5), 100, True, 23)
    assert verdict(comparison, "FNO", "KITI") == (
        "Inconclusive with 5 seeds: KITI's error is 3.0 % lower than FNO's (95 % CI 10 % lower to 4.5 % higher). "
        "Detecting a difference this small would take about 23 seeds."
    )


@pytest.mark.parametrize(
    ("p_value", "p_value_samples", "words"),
    [
        (0.12, 0.001, "but the rank test over seeds does not confirm it (p = 0.12)."),
        (0.0625, 0.2, "but the rank test over test samples does not confirm it (p = 0.2)."),
    ],
)
def test_an_interval_without_1_that_is_not_enough_says_why(p_value: float, p_value_samples: float, words: str):
    comparison = Comparison(0.85, 0.76, 0.95, p_value, 0.0625, p_value_samples, 4, (5, 5), 100, True, 5)
    assert verdict(comparison).endswith(f"24 % lower to 5.0 % lower). The interval excludes equal errors, {words}")


def test_seeds_needed_is_the_textbook_sample_size_of_a_paired_test():
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(6, 1))
    noise = 0.1 * (noise - noise.mean()) / noise.std(ddof=1)
    a, b = np.ones((6, 50)), np.exp(-0.05 + noise) * np.ones((6, 50))
    comparison = compare_errors(a, b)
    # (t_0.975 + t_0.8)² (σ/δ)² with σ/δ = 2 is about 34.
    assert comparison.seeds_needed is not None
    assert 29 <= comparison.seeds_needed <= 39


def test_where_test_samples_are_the_doubt_no_number_of_seeds_is_enough():
    rng = np.random.default_rng(7)
    a = np.ones((5, 10))
    b = np.exp(0.5 * rng.normal(size=(1, 10))) * a
    assert compare_errors(a, b / b.mean() * 0.98).seeds_needed is None


@pytest.mark.parametrize("bad", [np.array([[1.0, np.nan]]), np.zeros((1, 2)), np.ones((1, 3)), np.ones((2, 2))])
def test_errors_that_do_not_fit_are_refused(bad: np.ndarray):
    with pytest.raises(ValueError, match=r"errors|compared"):
        compare_errors(np.ones((1, 2)), bad)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "seed_spread", "sample_spread"), [(5, 0.1, 0.1), (10, 0.2, 0.05)])
def test_intervals_cover_and_verdicts_err_as_often_as_they_say(seeds: int, seed_spread: float, sample_spread: float):
    rng = np.random.default_rng(8)
    covered = wrong = 0
    for _ in range(1000):
        a, b = (errors(seeds, 100, seed_spread, sample_spread, rng) for _ in range(2))
        comparison = compare_errors(a, b)
        assert comparison.low is not None
        assert comparison.high is not None
        covered += comparison.low <= 1.0 <= comparison.high
        wrong += comparison.different
    assert 930 <= covered <= 970
    assert wrong <= 50
