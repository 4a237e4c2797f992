"""One axis of a grid: where its points are, what its ends are, and what a coarser one of it is.

An axis covers its extent [a, b]. Each end is *periodic* (both or none), a *wall* or *open*. The points may include
either end, both or neither; they need not be equally spaced:

    both ends      x_j = a + jL/(n − 1)      nodes between two walls
    lower end      x_j = a + jL/n            a period, which ends where it begins; also bounded data that leave out b
    upper end      x_j = a + (j + 1)L/n
    cells          x_j = a + (j + ½)L/n      cell centres
    neither        x_j = a + (j + 1)L/(n + 1)  the inner nodes between two walls

The quadrature weight of a point is the part of the extent that is nearest to it.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from datagen.errors import InputError, unknown

__all__ = ["BOUNDARIES", "Axis", "Boundary", "Method", "Reduction"]

Boundary = Literal["periodic", "wall", "open"]
BOUNDARIES: tuple[Boundary, ...] = ("periodic", "wall", "open")

Method = Literal["stride", "spectral"]

# Coordinates that were stored in float32 are right to about a tenth of this share of the extent.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Reduction:
    """How values along one axis become those on fewer points.

    Attributes:
        points: that are left.
        stored: which points are read.
        group: of these, so many neighbours are averaged to one.
        spectral: whether the spectrum is truncated instead.
    """

    points: int
    stored: slice = field(default_factory=lambda: slice(None))
    group: int = 1
    spectral: bool = False

    def apply(self, values: Float[np.ndarray, "..."], axis: int) -> Float[np.ndarray, "..."]:
        """What was read through `stored`, reduced to `points` along an axis; of the same type."""
        if self.group > 1:
            shape = (*values.shape[:axis], self.points, self.group, *values.shape[axis + 1 :])
            return values.reshape(shape).mean(axis + 1, dtype=np.float64).astype(values.dtype)
        if not self.spectral or values.shape[axis] == self.points:
            return values
        spectrum = np.fft.rfft(values.astype(np.float64), axis=axis, norm="forward")
        # On an even grid the mode k = n/2 has no partner −k: half a mode is not a function, so it goes too.
        kept = [slice(None)] * values.ndim
        kept[axis] = slice(0, (self.points - 1) // 2 + 1)
        result = np.fft.irfft(spectrum[tuple(kept)], n=self.points, axis=axis, norm="forward")
        return result.astype(values.dtype)


@dataclass(frozen=True, eq=False)
class Axis:
    """A named axis.

    Attributes:
        name: "x", "y", "z" or another word.
        coordinates: of the points, strictly increasing, within the extent.
        extent: the two ends a < b.
        boundary: what the lower and the upper end are.
        units: of the coordinates.

    Raises:
        InputError: naming what does not fit.
    """

    name: str
    coordinates: Float64[np.ndarray, " points"]
    extent: tuple[float, float]
    boundary: tuple[Boundary, Boundary]
    units: str = "1"

    def __post_init__(self) -> None:
        points, (low, high) = np.asarray(self.coordinates), self.extent
        for kind in self.boundary:
            if kind not in BOUNDARIES:
                raise unknown(f"boundary of {self.name}", kind, BOUNDARIES)
        if self.boundary.count("periodic") == 1:
            raise InputError(f"axis {self.name} is periodic at one end (allowed: at both or at none)")
        if points.ndim != 1 or not len(points) or not np.isfinite(points).all() or not np.isfinite(self.extent).all():
            raise InputError(f"axis {self.name} needs one or more points, and ends, that are finite numbers")
        if not (np.diff(points) > 0).all():
            raise InputError(f"the coordinates of axis {self.name} do not rise")
        slack = _ROUNDING * (high - low)
        if not low < high or points[0] < low - slack or points[-1] > high + slack:
            raise InputError(
                f"axis {self.name} has points from {points[0]:g} to {points[-1]:g}, outside its extent "
                f"[{low:g}, {high:g}]"
            )
        if self.periodic and points[-1] >= high - slack and points[0] <= low + slack:
            raise InputError(
                f"axis {self.name} is periodic and has both its ends, {points[0]:g} and {points[-1]:g}, which are one "
                "point: leave out the last"
            )

    @property
    def points(self) -> int:
        """How many there are."""
        return len(self.coordinates)

    @property
    def length(self) -> float:
        """L = b − a."""
        return self.extent[1] - self.extent[0]

    @property
    def periodic(self) -> bool:
        """Whether it closes on itself."""
        return self.boundary[0] == "periodic"

    @cached_property
    def uniform(self) -> bool:
        """Whether the points are equally spaced; of a period, across its end too."""
        steps = np.diff(self.coordinates)
        if self.periodic:
            steps = np.append(steps, self.coordinates[0] + self.length - self.coordinates[-1])
        return not len(steps) or float(np.ptp(steps)) <= _ROUNDING * self.length

    @cached_property
    def weights(self) -> Float64[np.ndarray, " points"]:
        """Length of the part of the extent that is nearest to each point; they sum to L."""
        x, (low, high) = self.coordinates, self.extent
        if self.uniform and self.periodic:
            return np.full(self.points, self.length / self.points)
        between = (x[1:] + x[:-1]) / 2
        if not self.periodic:
            return np.diff(np.concatenate([[low], between, [high]]))
        across = (x[0] + x[-1] + self.length) / 2
        return np.diff(np.concatenate([[across - self.length], between, [across]]))

    @cached_property
    def has_ends(self) -> tuple[bool, bool]:
        """Whether the lower and the upper end are among the points."""
        slack = 10 * _ROUNDING * self.length
        (low, high), x = self.extent, self.coordinates
        return bool(abs(x[0] - low) <= slack), bool(abs(x[-1] - high) <= slack)

    @property
    def placement(self) -> tuple[float, float]:
        """o and m of equally spaced points x_j = a + (j + o) L/(n + m), the same on every coarser grid of the axis."""
        step = self.length if self.points == 1 else float(np.diff(self.coordinates).mean())
        if self.periodic:
            return 0.0, 0.0
        return round(2 * (self.coordinates[0] - self.extent[0]) / step) / 2, round(self.length / step - self.points)

    def coarsened(self, points: int, method: Method = "stride") -> "Axis":
        """The same axis with fewer points: see `reduction`.

        Raises:
            InputError: as `reduction`.
        """
        how = self.reduction(points, method)
        if how.spectral and points != self.points:
            places = self.coordinates[0] + self.length * np.arange(points) / points
        else:
            places = how.apply(self.coordinates[how.stored], 0)
        return replace(self, coordinates=places)

    def reduction(self, points: int, method: Method = "stride") -> Reduction:
        """How values on this axis become those on fewer points.

        "stride" takes every s-th point, the first and, if it is an end, the last among them; of cells, s neighbours are
        averaged. "spectral" keeps the modes |k| < points/2 of the trigonometric interpolant and evaluates them on the
        new points: no aliasing, and any smaller number is possible, on a uniform period only.

        Raises:
            InputError: an unknown method, or points that it cannot reach; the message lists those that it can.
        """
        if method not in ("stride", "spectral"):
            raise unknown("down-sampling method", method, ("stride", "spectral"))
        if not 1 <= points <= self.points:
            raise InputError(
                f"resolution {points} is not on a grid of {self.points} points (allowed: 1 to {self.points})"
            )
        if points == self.points:
            return Reduction(points)
        if method == "spectral":
            if not (self.periodic and self.uniform):
                raise InputError(
                    f"data.downsample=spectral needs equally spaced points of a period, which axis {self.name} has not "
                    "(allowed: stride)"
                )
            return Reduction(points, spectral=True)
        start, step = self._stride(points)
        if not step:
            possible = [str(fewer) for fewer in range(1, self.points + 1) if self._stride(fewer)[1]]
            raise InputError(
                f"resolution {points} does not divide the grid of {self.points} points (those that do: "
                f"{', '.join(possible)})"
            )
        return Reduction(points, group=step) if self._cells else Reduction(points, slice(start, None, step))

    @property
    def _cells(self) -> bool:
        """Whether the points are the centres of cells that fill a bounded extent."""
        lower, upper = self.coordinates[0] - self.extent[0], self.extent[1] - self.coordinates[-1]
        half = self.length / self.points / 2
        slack = 10 * _ROUNDING * self.length
        return not self.periodic and self.uniform and abs(lower - half) <= slack and abs(upper - half) <= slack

    def _stride(self, points: int) -> tuple[int, int]:
        """The first point and the step that leave so many; a step of 0 where none does."""
        lower, upper = self.has_ends
        first, stored, wanted = 0, self.points, points
        if not self.periodic and not self._cells:
            # What a step divides are the intervals between points, and those to the ends that are no points.
            if lower and upper:
                stored, wanted = stored - 1, points - 1
            elif not lower and not upper:
                stored, wanted = stored + 1, points + 1
        step = stored // wanted if wanted > 0 and stored % wanted == 0 else 0
        if points == 1 and wanted == 0:
            step = self.points
        if step and not self.periodic and not self._cells and not lower:
            first = step - 1
        return first, step
