"""One line a run and resolution: means over test samples, and over seeds with their spread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        trained_at: points per axis in training.
        resolution: points per axis evaluated at.
        samples: test samples.
        lost_power: share of the truth's power that the grid cannot hold.
        mse: this and the following as in `kitipde.evaluation.records.METRICS`, of whole rollouts.
        correlation_time: time until the correlation falls below 0.8; None for data without time.
    """

    run: str
    label: str
    coordinates: str | None
    trained_at: int
    resolution: int
    samples: int
    lost_power: float
    mse: Estimate
    rmse: Estimate
    nrmse: Estimate
    relative_l2: Estimate
    relative_l2_deviation: Estimate
    relative_h1: Estimate
    max_error: Estimate
    band_low: Estimate
    band_middle: Estimate
    band_high: Estimate
    mean_drift: Estimate
    power_drift: Estimate
    correlation_time: Estimate | None


def summarise(evaluations: Sequence[Evaluation]) -> tuple[Summary, ...]:
    """The table of all runs and resolutions."""
    return tuple(
        _summary(evaluation, resolution) for evaluation in evaluations for resolution in evaluation.resolutions
    )


def _summary(evaluation: Evaluation, resolution: int) -> Summary:
    at_resolution = evaluation.metrics.sel(resolution=resolution)

    def of(name: str) -> Estimate:
        return estimate(evaluation.errors(name, resolution))

    held = None
    if "correlation_time" in at_resolution:
        held = estimate(at_resolution["correlation_time"].mean("channel").transpose("seed", "sample").values)
    return Summary(
        run=evaluation.run.name,
        label=evaluation.label,
        coordinates=coordinates_of(evaluation.run),
        trained_at=evaluation.run.facts.resolution,
        resolution=resolution,
        samples=len(evaluation.subject.samples),
        lost_power=float(at_resolution["lost_power"]),
        mse=of("mse"),
        rmse=of("rmse"),
        nrmse=of("nrmse"),
        relative_l2=of("relative_l2"),
        relative_l2_deviation=of("relative_l2_deviation"),
        relative_h1=of("relative_h1"),
        max_error=of("max_error"),
        band_low=of("band_low"),
        band_middle=of("band_middle"),
        band_high=of("band_high"),
        mean_drift=of("mean_drift"),
        power_drift=of("power_drift"),
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
