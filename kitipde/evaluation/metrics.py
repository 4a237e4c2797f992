"""Errors of predicted fields, per sample and frame, in one pass over the data.

With p the prediction, t the truth, e = p − t, ⟨·⟩ the mean over the points of one frame and hats for Fourier
coefficients normalised so that Σ|f̂|² = ⟨f²⟩:

    MSE            ⟨e²⟩
    RMSE           √⟨e²⟩
    relative L2    √(⟨e²⟩ / ⟨t²⟩)
    … of deviations √(⟨e²⟩ / ⟨(t − μ)²⟩), μ the mean of the training targets: the same for t and for t plus a constant
    relative H1    √(Σ(1 + |k|²)|ê|² / Σ(1 + |k|²)|t̂|²),  k = 2πm/L
    max error      max |e|
    band errors    √Σ_{m in band}|ê|²: low |m| ≤ 4, middle 5…12, high ≥ 13; their squares sum to the MSE, and a band
                   of which a grid has no mode is NaN
    drifts         ⟨p⟩ − ⟨t⟩ (mass) and ⟨p²⟩ / ⟨t²⟩ − 1 (energy, or enstrophy when the field is a vorticity)
    correlation    Pearson's, over the points of the frame

A relative error of a truth that is zero everywhere is undefined and is NaN here; means leave it out. A prediction that
is not finite has infinite errors, so that no mean can leave it out. Everything is computed in float64 whatever the
fields are stored in. docs/metrics.md tells what each number is good for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "BANDS",
    "FrameErrors",
    "SampleErrors",
    "Spectra",
    "correlation_time",
    "join",
    "join_spectra",
    "measure",
    "or_infinite",
    "over_rollout",
    "power_above",
]

# First and last shell of each band (the limits that PDEBench uses for its Fourier-space errors).
BANDS: tuple[tuple[str, int, int | None], ...] = (("low", 0, 4), ("middle", 5, 12), ("high", 13, None))

# Values transformed at once: bounds the float64 copies and their spectra to some 200 MB whatever the caller passes.
_CHUNK_VALUES = 2**21

# A constant field leaves a variance of about 1e-32 of its mean square, not zero: there is nothing to measure against.
_ROUNDING = 1e-28


@dataclass(frozen=True)
class FrameErrors:
    """Errors of each sample and frame, each of shape [samples, frames], float64.

    Attributes:
        mse: ⟨e²⟩.
        target_mean: ⟨t⟩.
        target_power: ⟨t²⟩.
        target_variance: ⟨(t − ⟨t⟩)²⟩.
        target_deviation: ⟨(t − μ)²⟩; NaN where μ is not known.
        error_h1: Σ(1 + |k|²)|ê|², the squared H1 norm of the error.
        target_h1: Σ(1 + |k|²)|t̂|².
        max_error: max |e|.
        band_low: RMSE of the shells |m| ≤ 4.
        band_middle: RMSE of the shells 5 to 12.
        band_high: RMSE of the shells from 13 on.
        mean_drift: ⟨p⟩ − ⟨t⟩.
        power_drift: ⟨p²⟩ / ⟨t²⟩ − 1; NaN where the truth is zero.
        correlation: Pearson's; NaN where the truth or the prediction is constant, 0 where the latter is not finite.
    """

    mse: Float[Tensor, "samples frames"]
    target_mean: Float[Tensor, "samples frames"]
    target_power: Float[Tensor, "samples frames"]
    target_variance: Float[Tensor, "samples frames"]
    target_deviation: Float[Tensor, "samples frames"]
    error_h1: Float[Tensor, "samples frames"]
    target_h1: Float[Tensor, "samples frames"]
    max_error: Float[Tensor, "samples frames"]
    band_low: Float[Tensor, "samples frames"]
    band_middle: Float[Tensor, "samples frames"]
    band_high: Float[Tensor, "samples frames"]
    mean_drift: Float[Tensor, "samples frames"]
    power_drift: Float[Tensor, "samples frames"]
    correlation: Float[Tensor, "samples frames"]

    @property
    def rmse(self) -> Float[Tensor, "samples frames"]:
        """√⟨e²⟩."""
        return self.mse.sqrt()

    @property
    def relative_l2(self) -> Float[Tensor, "samples frames"]:
        """√(⟨e²⟩ / ⟨t²⟩); NaN where the truth is zero."""
        return _ratio(self.mse, self.target_power).sqrt()

    @property
    def relative_l2_deviation(self) -> Float[Tensor, "samples frames"]:
        """√(⟨e²⟩ / ⟨(t − μ)²⟩); NaN where the truth is μ everywhere."""
        return _ratio(self.mse, self.target_deviation).sqrt()

    @property
    def relative_h1(self) -> Float[Tensor, "samples frames"]:
        """H1 norm of the error over that of the truth; NaN where the truth is zero."""
        return _ratio(self.error_h1, self.target_h1).sqrt()


@dataclass(frozen=True)
class SampleErrors:
    """Errors of each sample over its whole rollout, each of shape [samples], float64.

    Frames are weighted by their points, not by their size: relative L2 is √(Σ⟨e²⟩ / Σ⟨t²⟩) over the frames, the norm of
    the rollout's error over the norm of the rollout, as in the published FNO runs.

    Attributes:
        mse: mean over frames of ⟨e²⟩.
        rmse: its root.
        nrmse: rmse / σ, σ the standard deviation of the truth over all samples, frames and points; 1 is the error of
            always predicting the overall mean.
        relative_l2: relative L2 error of the rollout.
        relative_l2_deviation: √(Σ⟨e²⟩ / Σ⟨(t − μ)²⟩).
        relative_h1: relative H1 error of the rollout.
        max_error: largest |e|.
        band_low: RMSE of the shells |m| ≤ 4.
        band_middle: RMSE of the shells 5 to 12.
        band_high: RMSE of the shells from 13 on.
        mean_drift: ⟨p⟩ − ⟨t⟩ at the last frame.
        power_drift: ⟨p²⟩ / ⟨t²⟩ − 1 at the last frame.
    """

    mse: Float[Tensor, " samples"]
    rmse: Float[Tensor, " samples"]
    nrmse: Float[Tensor, " samples"]
    relative_l2: Float[Tensor, " samples"]
    relative_l2_deviation: Float[Tensor, " samples"]
    relative_h1: Float[Tensor, " samples"]
    max_error: Float[Tensor, " samples"]
    band_low: Float[Tensor, " samples"]
    band_middle: Float[Tensor, " samples"]
    band_high: Float[Tensor, " samples"]
    mean_drift: Float[Tensor, " samples"]
    power_drift: Float[Tensor, " samples"]


@dataclass(frozen=True)
class Spectra:
    """Power in each shell |m| = 0, 1, …, summed over samples; each of shape [frames, shells].

    Attributes:
        samples: how many samples were summed.
        target: Σ|t̂|² of the shell.
        prediction: Σ|p̂|² of the shell.
        error: Σ|ê|² of the shell.
    """

    samples: int
    target: Float[Tensor, "frames shells"]
    prediction: Float[Tensor, "frames shells"]
    error: Float[Tensor, "frames shells"]


def measure(
    prediction: Float[Tensor, "samples frames *grid"],
    target: Float[Tensor, "samples frames *grid"],
    lengths: Sequence[float],
    training_mean: float = math.nan,
) -> tuple[FrameErrors, Spectra]:
    """Errors of every sample and frame, and the spectra summed over samples.

    Args:
        prediction: predicted fields, in physical units.
        target: true fields.
        lengths: length of the periodic domain along each grid axis.
        training_mean: μ, mean of the targets that the model was trained on.

    Returns:
        The errors and the spectra of the truth, the prediction and the error.

    Raises:
        ValueError: if the two differ in shape or `lengths` does not name each grid axis.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and truth {tuple(target.shape)} differ in shape")
    if len(lengths) != target.ndim - 2:
        raise ValueError(f"{len(lengths)} lengths given for {target.ndim - 2} grid axes")
    shell, weight, h1_weight = _modes(tuple(target.shape[2:]), tuple(lengths), target.device)
    per_sample = max(1, target[0].numel())
    size = max(1, _CHUNK_VALUES // per_sample)
    errors, spectra = [], []
    for start in range(0, len(target), size):
        part = slice(start, start + size)
        frame_errors, part_spectra = _measure_chunk(
            prediction[part], target[part], training_mean, shell, weight, h1_weight
        )
        errors.append(frame_errors)
        spectra.append(part_spectra)
    return join(errors), join_spectra(spectra)


def over_rollout(errors: FrameErrors) -> SampleErrors:
    """Errors of whole rollouts from those of their frames."""
    mse = errors.mse.mean(1)
    variance = errors.target_variance.mean() + (errors.target_mean - errors.target_mean.mean()).square().mean()
    varies = variance > _ROUNDING * errors.target_power.mean()
    deviation = torch.where(varies, variance.clamp_min(0.0).sqrt(), torch.nan)
    return SampleErrors(
        mse=mse,
        rmse=mse.sqrt(),
        nrmse=mse.sqrt() / deviation,
        relative_l2=_ratio(errors.mse.sum(1), errors.target_power.sum(1)).sqrt(),
        relative_l2_deviation=_ratio(errors.mse.sum(1), errors.target_deviation.sum(1)).sqrt(),
        relative_h1=_ratio(errors.error_h1.sum(1), errors.target_h1.sum(1)).sqrt(),
        max_error=errors.max_error.amax(1),
        band_low=errors.band_low.square().mean(1).sqrt(),
        band_middle=errors.band_middle.square().mean(1).sqrt(),
        band_high=errors.band_high.square().mean(1).sqrt(),
        mean_drift=errors.mean_drift[:, -1],
        power_drift=errors.power_drift[:, -1],
    )


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


def power_above(target: Float[Tensor, "samples frames *grid"], resolution: int) -> float:
    """Share of the truth's power in modes that a grid of `resolution` points per axis cannot hold.

    A mode is lost if any of its wave indices is at or above the coarse Nyquist index resolution/2.

    Args:
        target: fields on the finest grid.
        resolution: points per axis of the coarse grid.

    Returns:
        A share between 0 and 1; 0 for a truth that is zero.
    """
    axes = tuple(range(2, target.ndim))
    power = torch.fft.fftn(target.double(), dim=axes, norm="forward").abs().square().sum((0, 1))
    held = torch.ones_like(power, dtype=torch.bool)
    for axis, points in enumerate(target.shape[2:]):
        index = torch.fft.fftfreq(points, d=1.0 / points, device=target.device).abs()
        shape = [1] * power.ndim
        shape[axis] = points
        held &= (2 * index < resolution).reshape(shape)
    total = float(power.sum())
    return float(power[~held].sum()) / total if total else 0.0


def join(parts: Sequence[FrameErrors]) -> FrameErrors:
    """The errors of several batches as those of one, in their order."""
    return FrameErrors(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(FrameErrors)))


def join_spectra(parts: Sequence[Spectra]) -> Spectra:
    """The summed spectra of several batches as those of one."""
    return Spectra(
        samples=sum(part.samples for part in parts),
        target=torch.stack([part.target for part in parts]).sum(0),
        prediction=torch.stack([part.prediction for part in parts]).sum(0),
        error=torch.stack([part.error for part in parts]).sum(0),
    )


def _measure_chunk(
    prediction: Float[Tensor, "samples frames *grid"],
    target: Float[Tensor, "samples frames *grid"],
    training_mean: float,
    shell: Tensor,
    weight: Tensor,
    h1_weight: Tensor,
) -> tuple[FrameErrors, Spectra]:
    axes = tuple(range(2, target.ndim))
    prediction, target = prediction.double(), target.double()
    error = prediction - target
    error_power, target_power = _mode_power(error, weight), _mode_power(target, weight)
    shells = int(shell.max()) + 1
    error_shells = _shell_sums(error_power, shell, shells)
    target_shells = _shell_sums(target_power, shell, shells)
    prediction_shells = _shell_sums(_mode_power(prediction, weight), shell, shells)
    low, middle, high = (_band(error_shells, first, last) for _, first, last in BANDS)
    power, mean = target.square().mean(axes), target.mean(axes)
    prediction_mean = prediction.mean(axes)
    errors = FrameErrors(
        mse=or_infinite(error.square().mean(axes)),
        target_mean=mean,
        target_power=power,
        target_variance=(target - mean.reshape(*mean.shape, *(1,) * len(axes))).square().mean(axes),
        target_deviation=(target - training_mean).square().mean(axes),
        error_h1=or_infinite((error_power * h1_weight).flatten(2).sum(-1)),
        target_h1=(target_power * h1_weight).flatten(2).sum(-1),
        max_error=or_infinite(error.abs().amax(axes)),
        band_low=low,
        band_middle=middle,
        band_high=high,
        mean_drift=or_infinite(prediction_mean - mean),
        power_drift=_ratio(or_infinite(prediction.square().mean(axes)), power) - 1.0,
        correlation=_correlation(prediction, target),
    )
    spectra = Spectra(len(target), target_shells.sum(0), prediction_shells.sum(0), error_shells.sum(0))
    return errors, spectra


def _modes(grid: tuple[int, ...], lengths: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Shell number, multiplicity and 1 + |k|² of each coefficient of a real transform.

    Shells count in units of the longest axis' fundamental, so that on a square domain they are round(|m|).
    """
    squared = torch.zeros((1,) * len(grid), dtype=torch.float64, device=device)
    for axis, (points, length) in enumerate(zip(grid, lengths, strict=True)):
        last = axis == len(grid) - 1
        frequencies = torch.fft.rfftfreq if last else torch.fft.fftfreq
        wavenumber = 2 * torch.pi / length * frequencies(points, d=1.0 / points, dtype=torch.float64, device=device)
        shape = [1] * len(grid)
        shape[axis] = -1
        squared = squared + wavenumber.square().reshape(shape)
    weight = torch.full((grid[-1] // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    # The zero mode and, on an even grid, the Nyquist mode are their own conjugates.
    weight[0] = 1.0
    if grid[-1] % 2 == 0:
        weight[-1] = 1.0
    shell = (squared.sqrt() * max(lengths) / (2 * torch.pi)).round().long()
    return shell, weight, 1.0 + squared


def _mode_power(field: Tensor, weight: Tensor) -> Tensor:
    axes = tuple(range(2, field.ndim))
    return torch.fft.rfftn(field, dim=axes, norm="forward").abs().square() * weight


def _shell_sums(power: Tensor, shell: Tensor, shells: int) -> Float[Tensor, "samples frames shells"]:
    sums = power.new_zeros((*power.shape[:2], shells))
    return sums.index_add_(2, shell.flatten(), power.flatten(2))


def _band(
    shells: Float[Tensor, "samples frames shells"], first: int, last: int | None
) -> Float[Tensor, "samples frames"]:
    """√ of the power in some shells; NaN where the grid has none of them."""
    band = shells[..., first : None if last is None else last + 1]
    power = or_infinite(band.sum(-1).sqrt())
    return power if band.shape[-1] else torch.full_like(power, torch.nan)


def _correlation(prediction: Tensor, target: Tensor) -> Float[Tensor, "samples frames"]:
    prediction, target = prediction.flatten(2), target.flatten(2)
    p = prediction - prediction.mean(-1, keepdim=True)
    t = target - target.mean(-1, keepdim=True)
    squares = [(part.square().mean(-1), whole.square().mean(-1)) for part, whole in ((p, prediction), (t, target))]
    (p_variance, p_power), (t_variance, t_power) = squares
    varies = (p_variance > _ROUNDING * p_power) & (t_variance > _ROUNDING * t_power)
    correlation = torch.where(varies, (p * t).mean(-1) / (p_variance.sqrt() * t_variance.sqrt()), torch.nan)
    # A prediction that has blown up is related to nothing.
    return torch.where(prediction.isfinite().all(-1), correlation, 0.0)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient, NaN where the denominator is zero (an undefined relative error, not an infinite one)."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)


def or_infinite(error: Tensor) -> Tensor:
    """Infinity for the NaN that a prediction which is not finite leaves."""
    return error.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
