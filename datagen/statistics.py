"""What the fields of a data set look like, in numbers."""

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
    values = values.astype(np.float64)
    first, last = (values[0], values[-1]) if frames else (values, values)
    whole = [values.mean(), (values**2).mean(), values.min(), values.max()]
    return np.array([*whole, first.mean(), (first**2).mean(), last.mean(), (last**2).mean()])


def _combine(moments: list[np.ndarray]) -> FieldStatistics:
    table = np.array(moments)
    mean, square, _, _, first, first_square, last, last_square = table.mean(axis=0).tolist()
    return FieldStatistics(
        len(moments),
        mean,
        math.sqrt(max(square - mean**2, 0)),
        float(table[:, 2].min()),
        float(table[:, 3].max()),
        math.sqrt(max(first_square - first**2, 0)),
        math.sqrt(max(last_square - last**2, 0)),
    )
