"""Mean and standard deviation of the fields to train on, and the fields in these units.

Everything is taken in float64: a pressure of 101325 Pa that varies by 1 Pa, or a concentration of 1e-20, is a field
like any other. Values are cast to float32, for the network, only after they have been standardised.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from kitipde.errors import InputError

__all__ = ["FieldStatistics", "in_units", "refuse_constant", "refuse_too_large"]

# Values converted at once: bounds the float64 copies to some 30 MB.
_CHUNK_VALUES = 2**22

# A deviation below this many roundings of the mean is rounding itself.
_ROUNDINGS = 2.0

# Sizes of values that a network may be given unscaled. Beyond them the values, or the factors that bring them to a size
# of 1, come near the ends of the normal numbers of float32, 2^-126 and 2^128.
_LARGEST, _SMALLEST = 2.0**120, 2.0**-120


@dataclass(frozen=True)
class FieldStatistics:
    """Moments of a field, frame by frame, from which those of the whole follow without cancellation.

    Attributes:
        means: ⟨u⟩ of each sample and frame.
        variances: ⟨(u − ⟨u⟩)²⟩ of each sample and frame.
        points: of a frame.
        lowest: min u.
        highest: max u.
        rounding: relative distance of neighbouring numbers of the type that the field is stored in.
        correction: c of the standard deviation, which divides by n − c.
    """

    means: Float64[Tensor, "samples frames"]
    variances: Float64[Tensor, "samples frames"]
    points: int
    lowest: float
    highest: float
    rounding: float
    correction: int = 1

    @classmethod
    def of(cls, field: Float[Tensor, "samples frames *grid"]) -> "FieldStatistics":
        """The statistics of some windows."""
        means, variances, extremes = [], [], []
        for part in _chunks(field):
            values = part.double().flatten(2)
            means.append(values.mean(2))
            variances.append((values - means[-1][..., None]).square().mean(2))
            extremes += [float(values.min()), float(values.max())]
        points, rounding = field[0, 0].numel(), torch.finfo(field.dtype).eps
        return cls(torch.cat(means), torch.cat(variances), points, min(extremes), max(extremes), rounding)

    def together(self, other: "FieldStatistics") -> "FieldStatistics":
        """Those of the same samples with the frames of both; the deviation divides by n, as published."""
        return FieldStatistics(
            torch.cat([self.means, other.means], dim=1),
            torch.cat([self.variances, other.variances], dim=1),
            self.points,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.rounding,
            0,
        )

    @property
    def largest(self) -> float:
        """max |u|."""
        return max(-self.lowest, self.highest)

    @property
    def mean(self) -> float:
        """Over all samples, frames and points."""
        return float(self.means.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation over all samples, frames and points."""
        variance = self.variances.mean() + (self.means - self.means.mean()).square().mean()
        count = self.means.numel() * self.points
        return float((variance * count / max(count - self.correction, 1)).sqrt())

    def sizes(self, mean: float, deviation: float) -> Float64[Tensor, "samples frames"]:
        """Root mean square over the points of each frame of (u − mean) / deviation."""
        return (self.variances + (self.means - mean).square()).sqrt() / deviation


def in_units(
    fields: Float[Tensor, "*shape"], axis: int, moments: Sequence[tuple[float, float]]
) -> Float32[Tensor, "*shape"]:
    """(u − mean) / deviation of each field, in float32; the fields themselves where there is nothing to do.

    Args:
        fields: of some samples.
        axis: along which they stand.
        moments: mean and deviation of each.
    """
    if all(each == (0.0, 1.0) for each in moments) or not fields.numel():
        return fields.float()
    result = torch.empty(fields.shape)
    for place, (mean, deviation) in enumerate(moments):
        field, made = fields.select(axis, place), result.select(axis, place)
        for part, into in zip(_chunks(field), _chunks(made), strict=True):
            into.copy_((part.double() - mean) / deviation)
    return result


def refuse_constant(statistics: FieldStatistics, setting: str, name: str, instead: str) -> None:
    """Refuse a field without a deviation to divide by.

    Args:
        statistics: of the training split.
        setting: that names the field.
        name: of the field.
        instead: what else can be done.

    Raises:
        InputError: the field is the same everywhere, or varies by no more than the rounding of its values.
    """
    mean, deviation = statistics.mean, statistics.deviation
    constant = statistics.lowest == statistics.highest
    if not constant and deviation > _ROUNDINGS * statistics.rounding * abs(mean):
        return
    found = f"is {statistics.lowest:g} everywhere in the training samples"
    if not constant:
        bits = 32 if statistics.rounding > 1e-10 else 64
        found = (
            f"varies by {deviation:.2g} about a mean of {mean:g} in the training samples, which is the rounding of "
            f"float{bits}"
        )
    raise InputError(f"{setting}={name} {found}, so data.normalize=standard cannot scale it: {instead}")


def refuse_too_large(statistics: FieldStatistics, setting: str, name: str) -> None:
    """Refuse a field whose values float32 cannot hold, for a network that is to see them as they are.

    Raises:
        InputError: naming the size.
    """
    typical = float(statistics.sizes(0.0, 1.0).square().mean().sqrt())
    if statistics.largest < _LARGEST and (typical > _SMALLEST or not typical):
        return
    size = statistics.largest if statistics.largest >= _LARGEST else typical
    raise InputError(
        f"{setting}={name} has values of size {size:.2g}, with which a network cannot compute in float32: "
        "set data.normalize=standard"
    )


def _chunks(field: Tensor) -> Iterator[Tensor]:
    yield from field.split(max(1, _CHUNK_VALUES // field[0].numel()))
