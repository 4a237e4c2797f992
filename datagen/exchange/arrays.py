"""Anybody's arrays as a data set: what xarray can hold or open, checked and written in our format.

A problem is described by the names of its dimensions:

    sample   which solution; required
    time     the instants of the frames, for fields with several; needs a coordinate
    x, y     places on a uniform periodic grid of [0, L) or [0, L)², as many points along y as along x

A variable with `sample` and `x` is a field of each sample, one with `x` alone a field that all samples share, one with
`sample` alone a number of each (a viscosity). L is the number of points times their distance: a periodic grid leaves
the end point out, because it is the first one again.
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import h5py
import numpy as np
import xarray
from jaxtyping import Float64

from datagen.checks import a_file, finite, positive
from datagen.errors import InputError, unknown
from datagen.store.ingest import ingest
from datagen.store.layout import Coordinate, Layout, Variable
from datagen.store.mesh import MESH_VARIABLES
from datagen.store.writer import FORMAT, IDENTITY_VARIABLES

__all__ = ["ArrayDescription", "import_netcdf", "save_dataset"]

_SPACE = ("x", "y")
_DIMENSIONS = ("sample", "time", *_SPACE)
_RESERVED = ("title", "domain_length", "format", "config", "identity", "equation", "imported", "length", "Conventions")
# Places that were stored in float32 are right to about a tenth of this share of the domain.
_ROUNDING = 1e-6
# A length is given with some digits only; the end point of a grid of 8192 points is a share of 1e-4.
_DIGITS = 1e-5


@dataclass(frozen=True)
class ArrayDescription:
    """What arrays do not say about themselves.

    Attributes:
        equation: what they are solutions of, in one word such as "kuramoto-sivashinsky"; a run is evaluated on data of
            its own equation only.
        length: L; None: from the coordinate x.
        constants: numbers that hold for all samples, such as {"nu": 0.1}, kept as attributes of the file.
    """

    equation: str
    length: float | None = None
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.equation):
            raise InputError(
                f"equation '{self.equation}' is no name (allowed: small letters, digits and single hyphens)"
            )
        if self.length is not None:
            positive("length", self.length)
        for name, value in self.constants.items():
            if not name.isidentifier() or name in _RESERVED:
                raise InputError(
                    f"constant '{name}' cannot have this name (allowed: a word that the format does not use)"
                )
            finite(f"constant {name}", value)


def save_dataset(
    source: xarray.Dataset,
    out: Path | str,
    description: ArrayDescription,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write arrays as a data set that every command of the program takes.

    Samples are read piece by piece, so that lazy arrays may be larger than memory. Fields are stored in float32,
    numbers of a sample in float64.

    Args:
        source: variables with the dimensions `sample`, `time`, `x`, `y`, in any order.
        out: the file to make.
        description: what the arrays do not say.
        progress: called with (samples done, samples).

    Raises:
        InputError: dimensions, coordinates or variables that do not fit, values that are not finite, or a folder that
            cannot be written to.
    """
    source = source.drop_vars([name for name in IDENTITY_VARIABLES if name in source.variables])
    length = _length(source, description)
    grid = tuple(axis for axis in _SPACE if axis in source.dims)
    variables = tuple(_variable(str(name), array, grid) for name, array in source.data_vars.items())
    own = [variable for variable in variables if variable.per_sample and variable.is_field]
    if not own:
        raise InputError(
            f"no variable is a field of each sample, with the dimensions sample and x (found: {_found(source)})"
        )
    coordinates = (*_times(source), *_axes(source, length))
    layout = Layout(
        description.equation,
        json.dumps({"equation": description.equation, "imported": True, "length": length, **description.constants}),
        coordinates,
        variables,
        {"title": f"imported: {description.equation}", "domain_length": length, **description.constants},
        {variable.name: _values(source, variable) for variable in variables if not variable.per_sample},
    )
    per_sample = [variable for variable in variables if variable.per_sample]

    def read(samples: slice) -> dict[str, np.ndarray]:
        piece = source.isel(sample=samples)
        return {variable.name: _values(piece, variable) for variable in per_sample}

    ingest(Path(out), layout, source.sizes["sample"], read, progress)


def import_netcdf(
    path: Path,
    out: Path,
    description: ArrayDescription,
    names: Mapping[str, str] | None = None,
    variables: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Turn a NetCDF file into a data set.

    Args:
        path: NetCDF-3, NetCDF-4, or HDF5 with dimension scales.
        out: the file to make.
        description: what the file does not say.
        names: what its dimensions and variables are to be called, by the names they have.
        variables: which are taken, by their new names; empty: all.
        progress: called with (samples done, samples).

    Raises:
        InputError: no such file, not NetCDF, unknown names, or what `save_dataset` refuses.
    """
    a_file(path)
    with _opened(path) as source:
        if str(source.attrs.get("format", "")) == FORMAT:
            raise InputError(f"{path} is a data set of ours already: nothing has to be imported")
        known = {str(name) for name in (*source.variables, *source.dims)}
        for old in names or {}:
            if old not in known:
                raise unknown(f"name in {path}", old, known)
        try:
            source = source.rename(dict(names or {}))
        except ValueError as error:
            raise InputError(f"{path}: {' '.join(str(error).split())}") from error
        for name in variables:
            if name not in source.data_vars:
                raise unknown(f"variable in {path}", name, map(str, source.data_vars))
        save_dataset(source[list(variables)] if variables else source, out, description, progress)


def _opened(path: Path) -> xarray.Dataset:
    try:
        with warnings.catch_warnings():
            # Of dimensions without a scale: what they lack is told with the names that stand for them.
            warnings.filterwarnings("ignore", message=".*phony_dims")
            # Without decoding: "days since" would turn instants into dates.
            return xarray.open_dataset(path, decode_times=False)
    except Exception as error:  # each of xarray's readers has errors of its own
        with open(path, "rb") as file:
            known = file.read(3).startswith((b"CDF", b"\x1f\x8b")) or h5py.is_hdf5(path)
        if not known:
            raise InputError(
                f"{path} cannot be read as NetCDF: it is of another kind "
                "(allowed: NetCDF-3, NetCDF-4, HDF5 with dimension scales; `kitipde import mat` is for .mat files)"
            ) from error
        raise InputError(f"{path} cannot be read as NetCDF: {shorten(str(error), 200, placeholder=' …')}") from error


def _variable(name: str, array: xarray.DataArray, grid: tuple[str, ...]) -> Variable:
    dims = tuple(one for one in _DIMENSIONS if one in array.dims)
    space = tuple(one for one in dims if one in _SPACE)
    is_field = bool(space) and space == grid and ("sample" in dims or "time" not in dims)
    if len(dims) != array.ndim or not (is_field or dims == ("sample",)):
        places = ", ".join(grid)
        raise InputError(
            f"variable '{name}' has the dimensions ({', '.join(map(str, array.dims))}); "
            f"allowed here: (sample), ({places}), (sample, {places}) and (sample, time, {places})"
        )
    if name in MESH_VARIABLES or name in _DIMENSIONS:
        raise InputError(f"variable '{name}' has a name that the format uses itself: rename it")
    if array.dtype.kind not in "fiub":
        raise InputError(f"variable '{name}' is of the type {array.dtype} (allowed: real numbers)")
    units, words = (str(array.attrs.get(key, default)) for key, default in (("units", "1"), ("long_name", name)))
    return Variable(name, dims, units, words, "float32" if space else "float64")


def _values(source: xarray.Dataset, variable: Variable) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is then refused by name
        return source[variable.name].transpose(*variable.dims).to_numpy().astype(variable.dtype)


def _length(source: xarray.Dataset, description: ArrayDescription) -> float:
    """L from the description, or from the steps of x; both must agree."""
    if "sample" not in source.dims or "x" not in source.dims:
        raise InputError(f"the dimensions sample and x are needed (found: {_found(source)})")
    for name in ("sample", "x"):
        if source.sizes[name] < 1:
            raise InputError(f"the dimension {name} is empty")
    points = source.sizes["x"]
    if source.sizes.get("y", points) != points:
        raise InputError(f"the grid has {points} points along x and {source.sizes['y']} along y (allowed: a square)")
    length = description.length
    for axis in _SPACE:
        if axis not in source.coords or axis not in source.dims:
            continue
        steps = np.diff(_numbers(source, axis))
        found = points * float(steps.mean()) if len(steps) else 0.0
        if not len(steps) or found <= 0 or np.ptp(steps) > _ROUNDING * found:
            raise InputError(f"the coordinate {axis} is not equally spaced and rising, which a periodic grid is")
        length = found if length is None else length
        if abs(found - length) > _DIGITS * length:
            raise InputError(_misfit(axis, points, found, length))
    if length is None:
        raise InputError("the length of the domain is not known: give x a coordinate, or say the length")
    return length


def _misfit(axis: str, points: int, found: float, length: float) -> str:
    text = f"{points} steps along {axis} make {found:.6g}, not the length {length:.6g}"
    if np.isclose(found * (points - 1) / points, length, rtol=1e-4):
        return f"{text}: leave out the end point of the grid, which on a periodic domain is the first one again"
    return text


def _axes(source: xarray.Dataset, length: float) -> list[Coordinate]:
    axes = []
    for axis in _SPACE:
        if axis in source.dims:
            points = source.sizes[axis]
            start = float(_numbers(source, axis)[0]) if axis in source.coords else 0.0
            places = start + length * np.arange(points) / points
            units = str(source[axis].attrs.get("units", "1")) if axis in source.coords else "1"
            axes.append(Coordinate(axis, places, units, "position", axis.upper()))
    return axes


def _times(source: xarray.Dataset) -> list[Coordinate]:
    if "time" not in source.coords:
        if "time" in source.dims:
            raise InputError("the frames have no instants: give the dimension time a coordinate")
        return []
    instants = _numbers(source, "time")
    if instants.ndim > 1 or not (np.diff(np.atleast_1d(instants)) > 0).all():
        raise InputError("the coordinate time is not rising")
    return [Coordinate("time", instants, str(source["time"].attrs.get("units", "1")), "time", "T")]


def _numbers(source: xarray.Dataset, name: str) -> Float64[np.ndarray, "..."]:
    values = source[name].to_numpy()
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"the coordinate {name} holds {values.dtype} (allowed: finite numbers)")
    return values.astype(np.float64)


def _found(source: xarray.Dataset) -> str:
    return (
        "; ".join(f"{name} ({', '.join(map(str, array.dims))})" for name, array in source.data_vars.items())
        or "nothing"
    )
