"""Whether one model's error is smaller than another's: a ratio, its uncertainty, and a verdict in words.

The errors form two matrices, one row a seed and one column a test sample. What is estimated is

    θ = log( mean error of B / mean error of A ),

which varies because other seeds could have been trained and other samples tested. Two bootstraps measure the two
parts: rows are drawn again with the columns kept (variance V_seed), then columns with the rows kept (V_sample). Both
hold the interaction's part V_inter once, so it is subtracted once. A bootstrap over K values is too narrow by
K/(K − 1) and a normal quantile too small for few seeds; both are put right:

    half-width² = t²_{K−1} V_seed + t²_{M−1} V_sample − t²_{M−1} V_inter,   interval exp(θ ± half-width).

The verdict asks for more than an interval without 1: signed-rank tests over seeds and over test samples must agree.
docs/results/statistics.md has the coverage and the rate of false verdicts in simulated studies.

References:
    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007): resampling rows and columns.
    Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69 (2015): its narrowness.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["CONFIDENCE", "Comparison", "compare_errors", "pair_seeds", "verdict"]

CONFIDENCE = 0.95

# Exact p-values are ratios of whole numbers, equal to the level but for rounding.
_LEVEL = 1 - CONFIDENCE + 1e-12
# Two seeds have one degree of freedom: an interval that spans everything, or luck.
_FEWEST_SEEDS = 3
# With fewer the rank test over test samples has no p below 0.05, whatever the errors.
_FEWEST_SAMPLES = 6
_RESAMPLES = 2000
_MOST_SEEDS = 1000
_POWER = 0.8

Errors = Float[np.ndarray, "seeds samples"]
_Seed = TypeVar("_Seed", int, str)


@dataclass(frozen=True)
class Comparison:
    """The error of B against that of A.

    Attributes:
        ratio: mean error of B over mean error of A; below 1, B is better.
        low: lower end of its 95 % interval; None with fewer than three seeds.
        high: upper end; None with fewer than three seeds.
        p_value: two-sided Wilcoxon signed-rank test over seeds (Mann-Whitney where they are not paired); None with
            fewer than three.
        smallest_p: the smallest p that this test can give with so many seeds.
        p_value_samples: two-sided Wilcoxon signed-rank test over test samples, errors averaged over seeds; None with
            fewer than three seeds.
        wins: seeds with which B is better; None where seeds are not paired.
        seeds: seeds of A and of B.
        samples: test samples.
        paired: whether row k of A and row k of B are the same seed.
        seeds_needed: seeds that would show a difference of this size 4 times in 5; None if no number of seeds would
            (more test samples are needed) or none can be estimated.
    """

    ratio: float
    low: float | None
    high: float | None
    p_value: float | None
    smallest_p: float | None
    p_value_samples: float | None
    wins: int | None
    seeds: tuple[int, int]
    samples: int
    paired: bool
    seeds_needed: int | None

    @property
    def different(self) -> bool:
        """Whether the interval and both rank tests say that the errors differ.

        Few seeds cannot give a p below 0.05, whatever their errors; then that test must give the smallest p it can: all
        seeds on one side.
        """
        if self.low is None or self.high is None:
            return False
        assert self.p_value_samples is not None
        return not self.low <= 1.0 <= self.high and self._over_seeds and self.p_value_samples <= _LEVEL

    @property
    def _over_seeds(self) -> bool:
        assert self.p_value is not None
        assert self.smallest_p is not None
        return self.p_value <= max(_LEVEL, self.smallest_p + 1e-12)

    @property
    def objection(self) -> str:
        """Which rank test disagrees with an interval that excludes 1, as a sentence; empty if none does."""
        if self.low is None or self.high is None or self.low <= 1.0 <= self.high or self.different:
            return ""
        name, p = ("test samples", self.p_value_samples) if self._over_seeds else ("seeds", self.p_value)
        return f"The interval excludes equal errors, but the rank test over {name} does not confirm it (p = {p:.2g})."


def pair_seeds(a: Sequence[_Seed], b: Sequence[_Seed]) -> tuple[_Seed, ...]:
    """The seeds of two models to compare in pairs; none if all of both had better be compared without.

    A pair shares initial weights and batches, so that its difference scatters less; but pairs that are few, or are few
    of the seeds there are, know less than all seeds do.
    """
    common = tuple(seed for seed in a if seed in b)
    fewest = min(len(a), len(b))
    return common if fewest < _FEWEST_SEEDS or len(common) >= max(_FEWEST_SEEDS, fewest / 2) else ()


def compare_errors(a: Errors, b: Errors, *, paired: bool = True, rng_seed: int = 0) -> Comparison:
    """Compare two matrices of errors on the same test samples.

    Args:
        a: errors of the first model, the reference.
        b: errors of the second; with `paired`, its k-th row belongs to the seed of a's k-th row.
        paired: whether rows belong together.
        rng_seed: seed of the resampling: the same errors give the same interval.

    Raises:
        ValueError: if the matrices do not fit together, or hold values that are not finite or no positive mean.
    """
    _check(a, b, paired)
    ratio = float(b.mean() / a.mean())
    wins = int((b.mean(1) < a.mean(1)).sum()) if paired else None
    seeds, samples = (len(a), len(b)), a.shape[1]
    if min(seeds) < _FEWEST_SEEDS:
        return Comparison(ratio, None, None, None, None, None, wins, seeds, samples, paired, None)
    parts = _variances(a, b, paired, np.random.default_rng(rng_seed))
    half_width = parts.half_width()
    p_value, smallest = _rank_test(a.mean(1), b.mean(1), paired)
    return Comparison(
        ratio=ratio,
        low=ratio * float(np.exp(-half_width)),
        high=ratio * float(np.exp(half_width)),
        p_value=p_value,
        smallest_p=smallest,
        p_value_samples=_signed_rank(a.mean(0), b.mean(0)),
        wins=wins,
        seeds=seeds,
        samples=samples,
        paired=paired,
        seeds_needed=_seeds_needed(abs(np.log(ratio)), parts, min(seeds)) if samples >= _FEWEST_SAMPLES else None,
    )


def verdict(comparison: Comparison, a: str = "A", b: str = "B") -> str:
    """What the comparison allows to be said, in whole sentences.

    Args:
        comparison: of the errors of a and b.
        a: name of the reference.
        b: name of the other.
    """
    ratio, low, high = comparison.ratio, comparison.low, comparison.high
    if low is None or high is None:
        seeds = "one seed" if min(comparison.seeds) == 1 else _seeds(comparison)
        return (
            f"Inconclusive with {seeds}: {b}'s error is {_against(ratio)} {a}'s, and other seeds may reverse that. "
            "Train at least 5."
        )
    if comparison.different:
        # The better one is the subject, and its interval is that of its own ratio.
        subject, other = b, a
        if ratio > 1:
            subject, other, ratio, low, high = a, b, 1 / ratio, 1 / high, 1 / low
        interval = f"95 % CI {_digits(100 * (1 - high))} to {_digits(100 * (1 - low))} %"
        return f"{subject}'s error is {_against(ratio)} {other}'s ({interval}), {_wins(comparison, subject == b)}."
    text = (
        f"Inconclusive with {_seeds(comparison)}: {b}'s error is {_against(ratio)} {a}'s "
        f"(95 % CI {_change(low)} to {_change(high)})."
    )
    if comparison.samples < _FEWEST_SAMPLES:
        text += (
            f" Detecting any difference takes at least {_FEWEST_SAMPLES} test samples; there are {comparison.samples}."
        )
    elif comparison.objection:
        text += f" {comparison.objection}"
    elif comparison.seeds_needed is not None and comparison.seeds_needed > min(comparison.seeds):
        text += f" Detecting a difference this small would take about {comparison.seeds_needed} seeds."
    return text


@dataclass(frozen=True)
class _Variances:
    """Variance of θ from seeds, from test samples and from their interaction, and the degrees of freedom."""

    seed: float
    sample: float
    interaction: float
    seed_freedom: float
    sample_freedom: float

    def half_width(self) -> float:
        seed, sample = (stats.t.ppf(0.5 + CONFIDENCE / 2, nu) ** 2 for nu in (self.seed_freedom, self.sample_freedom))
        squared = seed * self.seed + sample * self.sample - sample * self.interaction
        # Estimates can make the difference smaller than one part alone, which the whole never is.
        return float(np.sqrt(max(squared, seed * self.seed, sample * self.sample)))


def _check(a: Errors, b: Errors, paired: bool) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or (paired and len(a) != len(b)):
        raise ValueError(f"errors of shape {a.shape} and {b.shape} cannot be compared")
    if not a.shape[0] or not b.shape[0] or a.shape[1] < 2:
        raise ValueError("a comparison needs at least one seed and two test samples")
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or a.mean() <= 0 or b.mean() <= 0:
        raise ValueError("errors must be finite and their mean positive")


def _variances(a: Errors, b: Errors, paired: bool, rng: np.random.Generator) -> _Variances:
    rows_a, rows_b = a.mean(1), b.mean(1)
    columns, draws_a = _draws(a.shape[1], rng), _draws(len(a), rng)
    sample = _spread(b.mean(0)[columns], a.mean(0)[columns])
    if paired:
        seed = _spread(rows_b[draws_a], rows_a[draws_a])
        # Influence of each entry on θ; its two-way residuals are the interaction.
        entries = b / b.mean() - a / a.mean()
        return _Variances(seed, sample, _interaction(entries), len(a) - 1, a.shape[1] - 1)
    part_a, part_b = _spread(rows_a[draws_a]), _spread(rows_b[_draws(len(b), rng)])
    # Welch and Satterthwaite's degrees of freedom.
    spread = part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1)
    freedom = (part_a + part_b) ** 2 / spread if spread else len(a) + len(b) - 2
    interaction = _interaction(a / a.mean()) + _interaction(b / b.mean())
    return _Variances(part_a + part_b, sample, interaction, freedom, a.shape[1] - 1)


def _draws(count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of each bootstrap sample, [resamples, count]."""
    return rng.integers(0, count, (_RESAMPLES, count))


def _spread(numerator: np.ndarray, denominator: np.ndarray | None = None) -> float:
    """Variance over resamples of the logarithm of the (ratio of the) means, freed from the bootstrap's narrowness."""
    logarithm = np.log(numerator.mean(1)) - (0.0 if denominator is None else np.log(denominator.mean(1)))
    return float(logarithm.var()) * numerator.shape[1] / (numerator.shape[1] - 1)


def _interaction(entries: Errors) -> float:
    rows, columns = entries.shape
    residual = entries - entries.mean(1, keepdims=True) - entries.mean(0, keepdims=True) + entries.mean()
    return float((residual**2).sum() / ((rows - 1) * (columns - 1)) / (rows * columns))


def _rank_test(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float]:
    """The test's p and the smallest it could have been."""
    if not paired:
        smallest = 2.0 / comb(len(a) + len(b), len(a))
        return float(stats.mannwhitneyu(a, b, alternative="two-sided", method="auto").pvalue), smallest
    return _signed_rank(a, b), 2.0 ** (1 - len(a))


def _signed_rank(a: np.ndarray, b: np.ndarray) -> float:
    total = a + b
    # In the same order as log(b/a), and defined where an error is zero.
    differences = np.divide(b - a, total, out=np.zeros_like(total), where=total > 0)
    if not differences.any():
        return 1.0
    result: Any = stats.wilcoxon(differences, method="auto" if differences.all() else "asymptotic")
    return float(result.pvalue)


def _seeds_needed(effect: float, parts: _Variances, seeds: int) -> int | None:
    fixed = max(parts.sample - parts.interaction, 0.0)
    counts, quantiles = _power_quantiles()
    enough = quantiles * np.sqrt(parts.seed * seeds / counts + fixed) <= effect
    return int(counts[enough.argmax()]) if effect > 0 and enough.any() else None


@cache
def _power_quantiles() -> tuple[np.ndarray, np.ndarray]:
    counts = np.arange(2, _MOST_SEEDS + 1)
    return counts, stats.t.ppf(0.5 + CONFIDENCE / 2, counts - 1) + stats.t.ppf(_POWER, counts - 1)


def _against(ratio: float) -> str:
    """ "12 % lower than", "equal to"."""
    return "equal to" if abs(100 * (ratio - 1)) < 0.05 else f"{_change(ratio)} than"


def _change(ratio: float) -> str:
    """ "12 % lower", "4 % higher"."""
    percent = 100 * (ratio - 1)
    return f"{_digits(abs(percent))} % {'higher' if percent > 0 else 'lower'}"


def _digits(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}"


def _seeds(comparison: Comparison) -> str:
    a, b = comparison.seeds
    return f"{a} seeds" if a == b else f"{a} and {b} seeds"


def _wins(comparison: Comparison, subject_is_b: bool) -> str:
    if comparison.wins is None:
        return f"with {_seeds(comparison)}, not paired"
    total = comparison.seeds[0]
    return f"lower with {comparison.wins if subject_is_b else total - comparison.wins} of {total} seeds"
