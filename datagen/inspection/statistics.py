"""What the fields of a dataset look like, in numbers."""

import math
from dataclasses import dataclass

import numpy as np

from datagen.store.reader import Dataset

__all__ = ["FieldStatistics", "field_statistics"]


@dataclass(frozen=True)
class FieldStatistics:
    """Over all points, frames and the samples looked at.

    Attributes:
        samples: how many samples were looked at.
        mean, deviation, least, greatest: of the values.
        first_deviation, last_deviation: of the first and the last frame; equal to `deviation` without frames.
    """

    samples: int
    mean: float
    deviation: float
    least: float
    greatest: float
    first_deviation: float
    last_deviation: float


def field_statistics(data: Dataset, name: str, most: int = 64) -> FieldStatistics:
    """Statistics of a field over up to `most` samples, evenly spread over the file, one in memory at a time."""
    dims = data.fields[name]
    if dims[0] != "sample":
        return _combine([_moments(data.read(name), "time" in dims)])
    chosen = np.unique(np.linspace(0, data.samples - 1, min(most, data.samples)).round().astype(int))
    return _combine([_moments(data.read(name, [int(index)])[0], "time" in dims) for index in chosen])


def _moments(values: np.ndarray, frames: bool) -> np.ndarray:
    """Extremes, then mean and standard deviation of the whole, the first and the last frame."""
    values = values.astype(np.float64)
    first, last = (values[0], values[-1]) if frames else (values, values)
    parts = [number for part in (values, first, last) for number in (part.mean(), _deviation(part))]
    return np.array([values.min(), values.max(), *parts])


def _deviation(values: np.ndarray) -> float:
    """Standard deviation, also of values whose squares no float64 holds."""
    change = values - values.mean()
    scale = float(np.abs(change).max())
    return scale * math.sqrt(float(((change / scale) ** 2).mean())) if math.isfinite(scale) and scale > 0 else scale


def _combine(moments: list[np.ndarray]) -> FieldStatistics:
    table = np.array(moments)
    # Of samples of equal size: the deviations within them and those of their means, at right angles.
    means = table[:, 2::2]
    overall = means.mean(axis=0)
    within = [math.hypot(*column) / math.sqrt(len(table)) for column in table[:, 3::2].T]
    between = [_deviation(column) for column in means.T]
    whole, first, last = (math.hypot(*pair) for pair in zip(within, between, strict=True))
    return FieldStatistics(
        len(moments), float(overall[0]), whole, float(table[:, 0].min()), float(table[:, 1].max()), first, last
    )
