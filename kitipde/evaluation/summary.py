"""One line a run and resolution: means over test samples, and over seeds with their spread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.geometry import Resolution
from kitipde.evaluation.coordinates import coordinates_of
from kitipde.evaluation.records import Evaluation

__all__ = ["Estimate", "Summary", "estimate", "summarise"]


@dataclass(frozen=True)
class Estimate:
    """A number over seeds.

    Attributes:
        mean: over seeds, of the mean over test samples; None if undefined for every sample (a truth that is zero) or if
            a prediction is not finite.
        deviation: standard deviation over seeds (n − 1); None with one seed.
        seeds: how many.
        diverged: seeds with a prediction that is not finite.
        undefined: samples that the mean leaves out because the error is not defined there: a relative one of a truth
            that is zero.
    """

    mean: float | None
    deviation: float | None
    seeds: int
    diverged: int = 0
    undefined: int = 0

    def __str__(self) -> str:
        if self.mean is None:
            return f"diverged ({self.diverged} of {self.seeds})" if self.diverged else "undefined"
        return _rounded(self.mean, self.deviation)


@dataclass(frozen=True)
class Summary:
    """Errors of one run at one resolution.

    Attributes:
        run: the run's folder name.
        label: its name in tables.
        coordinates: what the networks were given of the place (`model.coordinates`); None if they have no such setting.
        trained_at: points along each axis in training.
        resolution: points along each axis evaluated at.
        samples: test samples.
        frames: predicted.
        lost_power: share of the truth's power that the grid cannot hold; None where that is not known.
        errors: over all fields, of whole rollouts, by the name of each metric that is defined here.
        fields: the same of each field.
        correlation_time: time until the correlation falls below 0.8; None for data without time.
    """

    run: str
    label: str
    coordinates: str | None
    trained_at: Resolution
    resolution: Resolution
    samples: int
    frames: int
    lost_power: float | None
    errors: dict[str, Estimate]
    fields: dict[str, dict[str, Estimate]]
    correlation_time: Estimate | None

    @property
    def seeds(self) -> int:
        """How many."""
        return next(iter(self.errors.values())).seeds


def summarise(evaluations: Sequence[Evaluation]) -> tuple[Summary, ...]:
    """The table of all runs and resolutions."""
    return tuple(
        _summary(evaluation, resolution) for evaluation in evaluations for resolution in evaluation.resolutions
    )


def _summary(evaluation: Evaluation, resolution: Resolution) -> Summary:
    at_resolution, metrics = evaluation.at(resolution), evaluation.defined
    by_field = [each.name for each in metrics if each.by_field]
    held, lost = None, float(at_resolution["lost_power"])
    if "correlation_time" in at_resolution:
        held = estimate(at_resolution["correlation_time"].mean("field").transpose("seed", "sample").values)
    return Summary(
        run=evaluation.run.name,
        label=evaluation.label,
        coordinates=coordinates_of(evaluation.run),
        trained_at=evaluation.run.facts.resolution,
        resolution=resolution,
        samples=len(evaluation.subject.samples),
        frames=evaluation.metrics.sizes["time"],
        lost_power=None if math.isnan(lost) else lost,
        errors={each.name: estimate(evaluation.errors(each.name, resolution)) for each in metrics},
        fields={
            field: {name: estimate(evaluation.errors(name, resolution, field)) for name in by_field}
            for field in evaluation.fields
        },
        correlation_time=held,
    )


def estimate(errors: np.ndarray) -> Estimate:
    """Mean over samples where the error is defined, then over seeds."""
    defined = ~np.isnan(errors).any(0)
    undefined = int((~defined).sum())
    if not defined.any():
        return Estimate(None, None, len(errors), undefined=undefined)
    per_seed = errors[:, defined].mean(1)
    diverged = int((~np.isfinite(per_seed)).sum())
    if diverged:
        return Estimate(None, None, len(errors), diverged, undefined)
    deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
    return Estimate(float(per_seed.mean()), deviation, len(per_seed), undefined=undefined)


def _rounded(mean: float, deviation: float | None) -> str:
    """Four digits; with a deviation, both to the deviation's second digit: 0.00828 ± 0.00086, (6.5 ± 2.1)e-05."""
    if deviation is None or deviation == 0.0:
        return f"{mean:.4g}" if deviation is None else f"{mean:.4g} ± 0"
    largest = math.floor(math.log10(max(abs(mean), deviation)))
    digits = largest - math.floor(math.log10(deviation)) + 1
    if -4 < largest < 5:
        decimals = max(0, digits - largest)
        return f"{mean:z.{decimals}f} ± {deviation:.{decimals}f}"
    scale = 10.0**largest
    return f"({mean / scale:z.{digits}f} ± {deviation / scale:.{digits}f})e{largest:+03d}"
