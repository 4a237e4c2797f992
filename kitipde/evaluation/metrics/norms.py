"""Errors on any geometry: norms of the error, drifts, correlation.

With p the prediction, t the truth, e = p − t and ⟨·⟩ the mean over the domain of one frame by the geometry's
quadrature:

    MSE            ⟨e²⟩
    RMSE           √⟨e²⟩
    relative L2    √(⟨e²⟩ / ⟨t²⟩)
    … of deviations √(⟨e²⟩ / ⟨(t − μ)²⟩), μ the mean of the training targets: the same for t and for t plus a constant
    max error      max |e|
    drifts         ⟨p⟩ − ⟨t⟩ (mass) and ⟨p²⟩ / ⟨t²⟩ − 1 (energy, or enstrophy when the field is a vorticity)
    correlation    Pearson's, over the points of the frame

A relative error of a truth that is zero everywhere is undefined and is NaN here; means leave it out. A prediction that
is not finite has infinite errors, so that no mean can leave it out. Over a rollout frames are weighted by their points,
not by their size: relative L2 is √(Σ⟨e²⟩ / Σ⟨t²⟩), as in the published FNO runs; drifts are those of the last frame.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from kitipde.evaluation.metrics.compared import Compared, Quantities, or_infinite, ratio
from kitipde.evaluation.metrics.registry import Metric

__all__ = ["METRICS", "correlation", "correlation_time", "with_spread"]

# A constant field leaves a variance of about 1e-32 of its mean square, not zero: there is nothing to measure against.
_ROUNDING = 1e-28


def squares(compared: Compared) -> Quantities:
    """Means of squares of the error, the truth, its deviations and the prediction; means; the largest error."""
    true, predicted, mean = compared.target.double(), compared.prediction.double(), compared.mean
    spread = (1,) * len(compared.axes)
    target_mean = mean(true)
    known = torch.tensor(compared.training_means or [torch.nan] * len(compared.fields), dtype=torch.float64)
    known = known.to(true.device).reshape(-1, *spread)
    return {
        "mse": or_infinite(mean(compared.error.square())),
        "target_mean": target_mean,
        "target_power": mean(true.square()),
        "target_variance": mean((true - target_mean.reshape(*target_mean.shape, *spread)).square()),
        "target_deviation": mean((true - known).square()),
        "prediction_power": or_infinite(mean(predicted.square())),
        "mean_drift": or_infinite(mean(predicted) - target_mean),
        "max_error": or_infinite(compared.error.abs().amax(compared.axes)),
    }


def with_spread(quantities: Quantities) -> Quantities:
    """The same with (t − ⟨t⟩)² about the mean over all samples and frames, whose mean is the truth's variance."""
    mean = quantities["target_mean"]
    return {**quantities, "target_spread": quantities["target_variance"] + (mean - mean.mean((0, 1))).square()}


def _nrmse(q: Quantities) -> Float[Tensor, "samples fields"]:
    variance = q["target_spread"].mean((0, 1))
    varies = variance > _ROUNDING * q["target_power"].mean((0, 1))
    deviation = torch.where(varies, variance.clamp_min(0.0).sqrt(), torch.nan)
    return q["mse"].mean(1).sqrt() / deviation


METRICS: tuple[Metric, ...] = (
    Metric("mse", "MSE", "⟨e²⟩", squares, lambda q: q["mse"].mean(1), lambda q: q["mse"], "field squared"),
    Metric("rmse", "RMSE", "√⟨e²⟩", squares, lambda q: q["mse"].mean(1).sqrt(), lambda q: q["mse"].sqrt(), "field"),
    Metric(
        "nrmse",
        "normalised RMSE",
        "RMSE / standard deviation of the truth over all samples, frames and points",
        squares,
        _nrmse,
    ),
    Metric(
        "relative_l2",
        "relative L2",
        "√(Σ⟨e²⟩ / Σ⟨t²⟩)",
        squares,
        lambda q: ratio(q["mse"].sum(1), q["target_power"].sum(1)).sqrt(),
        lambda q: ratio(q["mse"], q["target_power"]).sqrt(),
    ),
    Metric(
        "relative_l2_deviation",
        "relative L2 of deviations",
        "√(Σ⟨e²⟩ / Σ⟨(t − μ)²⟩), μ the mean of the training targets",
        squares,
        lambda q: ratio(q["mse"].sum(1), q["target_deviation"].sum(1)).sqrt(),
        lambda q: ratio(q["mse"], q["target_deviation"]).sqrt(),
    ),
    Metric(
        "max_error",
        "max error",
        "max |e|",
        squares,
        lambda q: q["max_error"].amax(1),
        lambda q: q["max_error"],
        "field",
    ),
    Metric(
        "mean_drift",
        "drift of the mean",
        "⟨p⟩ − ⟨t⟩",
        squares,
        lambda q: q["mean_drift"][:, -1],
        lambda q: q["mean_drift"],
        "field",
    ),
    Metric(
        "power_drift",
        "drift of the mean square",
        "⟨p²⟩ / ⟨t²⟩ − 1",
        squares,
        lambda q: ratio(q["prediction_power"], q["target_power"])[:, -1] - 1.0,
        lambda q: ratio(q["prediction_power"], q["target_power"]) - 1.0,
    ),
)


def correlation(compared: Compared) -> Quantities:
    """Pearson's correlation; NaN where truth or prediction is constant, 0 where the latter is not finite."""
    mean, spread = compared.mean, (1,) * len(compared.axes)

    def deviations(field: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        whole = field.double()
        average = mean(whole)
        apart = whole - average.reshape(*average.shape, *spread)
        return apart, mean(apart.square()), mean(whole.square())

    (p, p_variance, p_power), (t, t_variance, t_power) = map(deviations, (compared.prediction, compared.target))
    varies = (p_variance > _ROUNDING * p_power) & (t_variance > _ROUNDING * t_power)
    found = torch.where(varies, mean(p * t) / (p_variance.sqrt() * t_variance.sqrt()), torch.nan)
    # A prediction that has blown up is related to nothing.
    finite = compared.prediction.isfinite().flatten(3).all(-1)
    return {"correlation": torch.where(finite, found, 0.0)}


def correlation_time(
    correlation: Float[Tensor, "samples frames"], times: Float[Tensor, " frames"], threshold: float = 0.8
) -> Float[Tensor, " samples"]:
    """Time until which a rollout stays correlated with the truth, interpolated between frames.

    Args:
        correlation: Pearson's correlation of each sample and frame.
        times: time of each frame.
        threshold: correlation that counts as lost.

    Returns:
        The first time below the threshold; the last time where it is never crossed, the first where it begins below.
    """
    result = torch.full(correlation.shape[:1], float(times[-1]), dtype=torch.float64)
    # A constant field correlates with nothing.
    below = correlation.nan_to_num(0.0) < threshold
    for sample in below.any(1).nonzero().flatten().tolist():
        frame = int(below[sample].int().argmax())
        if frame == 0:
            result[sample] = times[0]
            continue
        before, after = (float(value) for value in correlation[sample].nan_to_num(0.0)[frame - 1 : frame + 1])
        share = (before - threshold) / (before - after)
        result[sample] = times[frame - 1] + share * (times[frame] - times[frame - 1])
    return result
