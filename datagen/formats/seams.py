"""What happens at the border of an axis that is taken as periodic: nothing, a jump, a kink, or the first point again.

Along an axis of n points the value after the last is the first. For each sample, over its frames and the lines along
the axis, with rms for the root mean square:

    jump  = rms(u₀ − u_{n−1}) / rms(u_{i+1} − u_i)
    kink  = rms(second differences across the border) / rms(second differences inside)

Both are about 1 for a periodic field, and of order n for others: the first for fields that differ at the two ends, the
second also for those that walls hold at one value. The median over samples counts, so that an odd one does not.

The last point repeats the first where u_{n−1} = u₀ up to rounding in every sample, unless something else makes them
equal: chance, of fields with few different values (so it must be small, as judged by how often neighbours are equal),
walls that hold both ends at one value (so the values must vary), walls at which a field ends with a slope (so the ends,
joined, must not make a kink), or that all fields are mirror images of themselves (u_{n−2} = u₁).
"""

import math
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Seam"]

_NOTABLE = 5.0
"""Jumps and kinks above so many times what is typical are reported."""

_SMOOTH = 2.0
"""Ends whose joint bends by less than so many times what is typical can be one point."""

_SAME = 2e-3
"""Ends that differ by less than this share of the step between neighbours are the same."""

_LINES, _CHANCE = 3, 1e-3
"""Lines of a sample that count as independent of one another, and the chance below which nothing happens by chance."""

_VARIES = 1e-2
"""Ends vary if their standard deviation is more than this share of the field's."""

_FEWEST_POINTS = 5


@dataclass
class Seam:
    """What has been seen of one field along one axis, some samples after the other.

    Attributes:
        axis: which one of the values.
        epsilon: relative rounding of the values as they come.
        samples: how many have been looked at.
    """

    axis: int
    epsilon: float
    samples: int = 0
    _jumps: list[float] = field(default_factory=list)
    _kinks: list[float] = field(default_factory=list)
    _joints: list[float] = field(default_factory=list)
    _alike: list[float] = field(default_factory=list)
    _lines: int = 1
    _equal: bool = True
    _mirrored: bool = True
    _ends: list[float] = field(default_factory=lambda: [0.0] * 3)
    _all: list[float] = field(default_factory=lambda: [0.0] * 3)
    _shift: float | None = None
    _scale: float = 1.0

    def add(self, values: np.ndarray) -> None:
        """Look at more samples: [samples, (frames,) *space], all finite."""
        if values.shape[self.axis] < _FEWEST_POINTS:
            self._equal = False
            return
        self.samples += len(values)
        lines = np.moveaxis(values.astype(np.float64), self.axis, -1)
        lines = lines.reshape(len(lines), -1, lines.shape[-1])
        largest = np.abs(lines).max(axis=(1, 2))
        # Values of at most 1 have squares, and a rounding that is known.
        self._compare(lines / np.where(largest > 0, largest, 1.0)[:, None, None], self.epsilon)
        self._gather(lines)

    def _compare(self, lines: np.ndarray, rounding: float) -> None:
        step = _rms(np.diff(lines))
        # Where neighbours differ by rounding alone, nothing can be said.
        clear = step > 8 * rounding
        if not clear.any():
            return
        lines, step = lines[clear], step[clear]
        first, second, before, last = (lines[..., place] for place in (0, 1, -2, -1))
        across = np.stack([before - 2 * last + first, last - 2 * first + second], axis=-1)
        bend = np.maximum(_rms(np.diff(lines, 2)), rounding)
        self._jumps += (_rms(first - last) / step).tolist()
        self._kinks += (_rms(across) / bend).tolist()
        self._joints += (_rms(before - 2 * first + second) / bend).tolist()
        same = np.maximum(_SAME * step, 2 * rounding)
        self._alike += (np.abs(np.diff(lines)) <= same[:, None, None]).mean(axis=(1, 2)).tolist()
        self._lines = min(lines.shape[1], _LINES)
        self._equal &= bool((np.abs(first - last).max(axis=1) <= same).all())
        self._mirrored &= bool((_rms(second - before) <= same).all())

    def _gather(self, lines: np.ndarray) -> None:
        """Sums for the standard deviations of the ends and of all values."""
        if self._shift is None:
            self._shift, self._scale = float(lines[0, 0, 0]), float(np.abs(lines).max()) or 1.0
        with np.errstate(over="ignore"):
            for sums, part in ((self._ends, lines[..., 0]), (self._all, lines)):
                change = (part - self._shift) / self._scale
                sums[0] += change.size
                sums[1] += float(change.sum())
                sums[2] += float((change**2).sum())

    @property
    def undecided(self) -> bool:
        """Whether the last point may still be the first one again."""
        return self._equal

    @property
    def repeats(self) -> bool:
        """Whether the last point is the first one again, in every sample seen."""
        return (
            self.agrees
            and not self._mirrored
            and float(np.mean(self._alike)) ** (self._lines * len(self._alike)) < _CHANCE
            and _deviation(self._ends) > _VARIES * _deviation(self._all)
            and float(np.median(self._joints)) < _SMOOTH
        )

    @property
    def agrees(self) -> bool:
        """Whether both ends are equal in every sample of which that can be said, of which there is one at least."""
        return self._equal and len(self._jumps) > 0

    @property
    def jump(self) -> float:
        """By how many times the typical difference between neighbours the field jumps across the border."""
        return float(np.median(self._jumps)) if self._jumps else 0.0

    @property
    def kink(self) -> float:
        """How many times as sharply as is typical the field bends across the border."""
        return float(np.median(self._kinks)) if self._kinks else 0.0

    def text(self) -> str:
        """What is notable about the border, in words; empty for a field that goes on across it."""
        if self.jump > _NOTABLE:
            return f"jumps by {self.jump:.2g} times the typical difference between neighbours"
        if self.kink > _NOTABLE:
            return f"bends {self.kink:.2g} times as sharply as is typical (walls, or a source there)"
        return ""


def _rms(values: np.ndarray) -> np.ndarray:
    """Of each sample."""
    return np.sqrt((values**2).mean(axis=tuple(range(1, values.ndim))))


def _deviation(sums: list[float]) -> float:
    count, total, squares = sums
    return math.sqrt(max(squares / count - (total / count) ** 2, 0.0)) if count else 0.0
