"""How often the comparison's interval holds the truth and how often its verdict is wrong, in simulated studies.

    python -P benchmarks/statistics.py --studies 1000 --out table.md
    python -P benchmarks/statistics.py --studies 1000 --laws normal --difficulty 1.5      # very uneven test samples

A study trains two models with K seeds and tests them on M samples. The logarithm of an error is the sum of the sample's
difficulty (common to both models), an effect of the seed, one of the sample on this model, and one of the two together;
each is drawn from a normal law, Student's t with 5 degrees of freedom, or a skewed gamma law. Both models draw from the
same law, so the true ratio is exactly the factor that one of them is multiplied by.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kitipde.evaluation.statistics import Comparison, compare_errors

SEED_COUNTS = (3, 5, 10)
TEST_SAMPLES = (20, 100)
LAWS = ("normal", "t5", "skewed")


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the parts of log error; `difficulty` is that of a sample for both models."""

    name: str
    seed: float
    sample: float
    interaction: float
    difficulty: float = 0.5


SPREADS = (
    Spread("seeds", 0.2, 0.05, 0.05),
    Spread("samples", 0.05, 0.3, 0.2),
    Spread("both", 0.1, 0.1, 0.1),
    Spread("interaction", 0.02, 0.05, 0.3),
)


@dataclass(frozen=True)
class Rates:
    """Over many studies of one kind.

    Attributes:
        coverage: share of intervals that hold the true ratio.
        false_verdicts: share of verdicts "different" where the true ratio is 1.
        found: share of verdicts "different" where it is 0.75.
    """

    coverage: float
    false_verdicts: float
    found: float


def draw(law: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Numbers of mean 0 and variance 1."""
    if law == "normal":
        return rng.normal(size=shape)
    if law == "t5":
        return rng.standard_t(5, size=shape) / np.sqrt(5 / 3)
    return (rng.gamma(2.0, size=shape) - 2.0) / np.sqrt(2.0)


def study(
    law: str, seeds: int, samples: int, spread: Spread, ratio: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Errors [seeds, samples] of the two models of one study."""
    difficulty = spread.difficulty * draw(law, (1, samples), rng)

    def errors() -> np.ndarray:
        effects = (
            spread.seed * draw(law, (seeds, 1), rng)
            + spread.sample * draw(law, (1, samples), rng)
            + spread.interaction * draw(law, (seeds, samples), rng)
        )
        return 0.01 * np.exp(difficulty + effects)

    return errors(), ratio * errors()


def rates(law: str, seeds: int, samples: int, spread: Spread, studies: int, rng: np.random.Generator) -> Rates:
    """Run the studies. Scaling B scales its interval, so one set of errors serves the true ratios 1 and 0.75."""
    covered = wrong = found = 0
    for _ in range(studies):
        a, b = study(law, seeds, samples, spread, 1.0, rng)
        null: Comparison = compare_errors(a, b)
        assert null.low is not None
        assert null.high is not None
        covered += null.low <= 1.0 <= null.high
        wrong += null.different
        found += compare_errors(a, 0.75 * b).different
    return Rates(covered / studies, wrong / studies, found / studies)


def table(studies: int, seed: int, laws: Sequence[str], difficulty: float) -> Iterator[str]:
    """The results as rows of a Markdown table."""
    rng = np.random.default_rng(seed)
    yield "| law | seeds | test samples | main spread | coverage | false verdicts | finds a ratio of 0.75 |"
    yield "|---|---|---|---|---|---|---|"
    for law in laws:
        for seeds in SEED_COUNTS:
            for samples in TEST_SAMPLES:
                for spread in (replace(each, difficulty=difficulty) for each in SPREADS):
                    result = rates(law, seeds, samples, spread, studies, rng)
                    numbers = (result.coverage, result.false_verdicts, result.found)
                    cells = " | ".join(f"{100 * number:.1f} %" for number in numbers)
                    yield f"| {law} | {seeds} | {samples} | {spread.name} | {cells} |"
                    print(f"{law} {seeds} {samples} {spread.name}: {cells}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Coverage of the interval and rate of false verdicts in simulated studies."
    )
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=LAWS)
    parser.add_argument("--difficulty", type=float, default=0.5, help="deviation of log error from sample to sample")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    text = "\n".join(table(options.studies, options.seed, options.laws, options.difficulty)) + "\n"
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
