"""Grids of one to three axes, of any lengths, resolutions and boundaries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from jaxtyping import Float64

from datagen.errors import InputError
from datagen.geometry.axis import Axis, Method, Reduction

__all__ = ["Grid", "Resolution", "parse_resolution", "periodic_grid", "resolution_text"]

Resolution = tuple[int, ...]
"""Points along each axis, or one number for all of them."""


def parse_resolution(text: str | int) -> Resolution:
    """`64` is 64 points along every axis, `64x128` 64 along the first and 128 along the second.

    Raises:
        InputError: it is neither.
    """
    parts = str(text).lower().replace("×", "x").split("x")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"resolution '{text}' is none (allowed: a number such as 64, or one for each axis: 64x128)")
    return tuple(int(part) for part in parts)


def resolution_text(resolution: Sequence[int]) -> str:
    """`64` where all axes have as many points, else `64x128`."""
    return "x".join(map(str, resolution if len(set(resolution)) > 1 else resolution[:1]))


@dataclass(frozen=True, eq=False)
class Grid:
    """The product of one to three axes.

    Attributes:
        axes: in the order of a field's dimensions.

    Raises:
        InputError: no axis, more than three, or one name twice.
    """

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        if not 1 <= len(names) <= 3 or len(set(names)) < len(names):
            raise InputError(f"a grid has one to three axes of different names, not {len(names)} ({', '.join(names)})")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the axes: the dimensions of a field behind sample and time."""
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(axis.points for axis in self.axes)

    @property
    def points(self) -> int:
        """In all."""
        return prod(self.shape)

    @property
    def dimension(self) -> int:
        """Spatial axes."""
        return len(self.axes)

    @property
    def lengths(self) -> tuple[float, ...]:
        """L of each axis."""
        return tuple(axis.length for axis in self.axes)

    @property
    def periodic(self) -> bool:
        """Whether every axis is."""
        return all(axis.periodic for axis in self.axes)

    @property
    def uniform(self) -> bool:
        """Whether the points of every axis are equally spaced."""
        return all(axis.uniform for axis in self.axes)

    @cached_property
    def weights(self) -> Float64[np.ndarray, "*shape"]:
        """Quadrature weight of each point as a share of the whole: they sum to 1."""
        result = np.ones(())
        for axis in self.axes:
            result = np.multiply.outer(result, axis.weights / axis.length)
        return result

    @property
    def positions(self) -> Float64[np.ndarray, "*shape dimension"]:
        """Of each point."""
        return np.stack(np.meshgrid(*(axis.coordinates for axis in self.axes), indexing="ij"), axis=-1)

    def resolved(self, resolution: Sequence[int]) -> Resolution:
        """Points along each axis that a resolution means here.

        Raises:
            InputError: it has another number of axes.
        """
        if len(resolution) not in (1, self.dimension):
            raise InputError(
                f"resolution {'x'.join(map(str, resolution))} has {len(resolution)} axes, the grid "
                f"{' × '.join(map(str, self.shape))} has {self.dimension}"
            )
        return tuple(resolution) * self.dimension if len(resolution) == 1 else tuple(resolution)

    def reductions(self, resolution: Sequence[int], method: Method = "stride") -> tuple[Reduction, ...]:
        """How a field becomes one on a coarser grid, axis by axis.

        Raises:
            InputError: the grid does not give it.
        """
        wanted = self.resolved(resolution)
        return tuple(axis.reduction(points, method) for axis, points in zip(self.axes, wanted, strict=True))

    def coarsened(self, resolution: Sequence[int], method: Method = "stride") -> "Grid":
        """The grid of that resolution.

        Raises:
            InputError: this grid does not give it.
        """
        wanted = self.resolved(resolution)
        return Grid(tuple(axis.coarsened(points, method) for axis, points in zip(self.axes, wanted, strict=True)))

    def possible(self, wanted: Iterable[Sequence[int]], method: Method = "stride") -> tuple[Resolution, ...]:
        """Those of some resolutions that this grid gives, coarse ones first."""
        found: set[Resolution] = set()
        for resolution in wanted:
            try:
                self.reductions(resolution, method)
            except InputError:
                continue
            found.add(self.resolved(resolution))
        return tuple(sorted(found, key=lambda one: (prod(one), one)))


def periodic_grid(points: Sequence[int], lengths: Sequence[float], units: str = "1") -> Grid:
    """The grid x_j = jL/n of a periodic box that begins at the origin: what the solvers of this program use."""
    return Grid(
        tuple(
            Axis(name, length * np.arange(count) / count, (0.0, length), ("periodic", "periodic"), units)
            for name, count, length in zip("xyz", points, lengths, strict=False)
        )
    )
