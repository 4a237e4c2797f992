"""The grid of arrays with named dimensions: where their axes are, how long, periodic or bounded."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import xarray
from jaxtyping import Float64

from datagen.errors import InputError, unknown
from datagen.geometry import Axis, Grid
from datagen.geometry.axis import BOUNDARIES, Boundary

__all__ = ["SPACE", "boundaries", "found", "grid_of", "numbers", "one_boundary"]

SPACE = ("x", "y", "z")
"""Dimensions of space, in the order of a field's axes."""

# Places that were stored in float32 are right to about a tenth of this share of the domain.
_ROUNDING = 1e-6
# A length is given with some digits only; the end point of a grid of 8192 points is a share of 1e-4.
_DIGITS = 1e-5


class _Description(Protocol):
    @property
    def length(self) -> float | None: ...
    @property
    def boundary(self) -> Mapping[str, Boundary] | str: ...
    @property
    def extent(self) -> Mapping[str, tuple[float, float]]: ...


def boundaries(text: str) -> dict[str, Boundary] | Boundary:
    """`wall`, or `x=periodic,y=wall`.

    Raises:
        InputError: it is neither.
    """
    if "=" not in text:
        return one_boundary(text)
    parts = (part.partition("=") for part in text.split(","))
    return {axis.strip(): one_boundary(kind.strip()) for axis, _, kind in parts}


def one_boundary(kind: str) -> Boundary:
    """A word as what an end of an axis is.

    Raises:
        InputError: it is none.
    """
    for known in BOUNDARIES:
        if kind == known:
            return known
    raise unknown("boundary", kind, BOUNDARIES)


def grid_of(source: xarray.Dataset, description: _Description) -> Grid:
    """The grid of all fields.

    A periodic axis has equally spaced points x_0 + jL/n; its length is that of the description, or n steps. A bounded
    axis has the extent of the description, or goes from its first point to its last; without a coordinate its points
    are equally spaced, with both ends, over that extent or [0, length].

    Raises:
        InputError: an axis without coordinates of unknown length, coordinates that do not fit, no axis x.
    """
    names = [axis for axis in SPACE if axis in source.dims]
    if "sample" not in source.dims or "x" not in names:
        raise InputError(f"the dimensions sample and x are needed (found: {found(source)})")
    for name in ("sample", *names):
        if source.sizes[name] < 1:
            raise InputError(f"the dimension {name} is empty")
    kinds = description.boundary if isinstance(description.boundary, Mapping) else {}
    for name in (*kinds, *description.extent):
        if name not in names:
            raise unknown("axis", name, names)
    every = "periodic" if kinds else str(description.boundary)
    return Grid(tuple(_axis(source, name, one_boundary(kinds.get(name, every)), description) for name in names))


def _axis(source: xarray.Dataset, name: str, boundary: Boundary, description: _Description) -> Axis:
    units = str(source[name].attrs.get("units", "1")) if name in source.coords else "1"
    places = numbers(source, name) if name in source.coords else None
    if boundary == "periodic":
        return _period(name, source.sizes[name], places, description, units)
    ends = description.extent.get(name)
    if places is None:
        if ends is None and description.length is not None:
            ends = (0.0, description.length)
        if ends is None:
            raise InputError(
                f"the places along {name} are not known: give it a coordinate, or say its length or where it begins "
                "and ends"
            )
        places = np.linspace(*ends, source.sizes[name])
    if places.ndim != 1 or len(places) < 2 or not (np.diff(places) > 0).all():
        raise InputError(f"the coordinate {name} is not rising")
    return Axis(name, places, ends or (float(places[0]), float(places[-1])), (boundary, boundary), units)


def _period(
    name: str, points: int, places: Float64[np.ndarray, " points"] | None, description: _Description, units: str
) -> Axis:
    ends = description.extent.get(name)
    length = description.length if ends is None else ends[1] - ends[0]
    start = 0.0 if ends is None else ends[0]
    if places is not None:
        steps, start = np.diff(places), float(places[0])
        found = points * float(steps.mean()) if len(steps) else 0.0
        if not len(steps) or found <= 0 or np.ptp(steps) > _ROUNDING * found:
            raise InputError(
                f"the coordinate {name} is not equally spaced and rising, which a periodic grid is "
                f"(a bounded axis: --boundary {name}=wall)"
            )
        length = found if length is None else length
        if abs(found - length) > _DIGITS * length:
            raise InputError(_misfit(name, points, found, length))
    if length is None:
        raise InputError(f"the length of the domain is not known: give {name} a coordinate, or say the length")
    low = start if ends is None else ends[0]
    return Axis(name, start + length * np.arange(points) / points, (low, low + length), ("periodic", "periodic"), units)


def _misfit(axis: str, points: int, found: float, length: float) -> str:
    text = f"{points} steps along {axis} make {found:.6g}, not the length {length:.6g}"
    if np.isclose(found * (points - 1) / points, length, rtol=1e-4):
        return (
            f"{text}: leave out the end point of the grid, which on a periodic domain is the first one again "
            f"(--drop-endpoint {axis}; in Python source.isel({axis}=slice(-1)))"
        )
    return text


def found(source: xarray.Dataset) -> str:
    """The variables and their dimensions, in words."""
    return (
        "; ".join(
            f"{name} ({', '.join(f'{dim} of {size}' for dim, size in array.sizes.items())})"
            for name, array in source.data_vars.items()
        )
        or "nothing"
    )


def numbers(source: xarray.Dataset, name: str) -> Float64[np.ndarray, "..."]:
    """A coordinate's values.

    Raises:
        InputError: they are no finite numbers.
    """
    values = source[name].to_numpy()
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"the coordinate {name} holds {values.dtype} (allowed: finite numbers)")
    return values.astype(np.float64)
