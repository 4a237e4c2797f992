"""Anybody's arrays as a dataset: what xarray can hold or open, checked and written in our format.

A problem is described by the names of its dimensions:

    sample   which solution; required
    time     the instants of the frames, for fields with several; needs a coordinate
    x, y, z  places along one to three axes of a grid, of any lengths and numbers of points

A variable with `sample` and all axes is a field of each sample, one with the axes alone a field that all samples share,
one with `sample` alone a number of each (a viscosity). Where some fields have time, those without are static. Axes are
taken as periodic unless the description says otherwise. The length of a period is the number of points times their
distance: it leaves the end point out, because that is the first one again. Data that have it are refused by their
values (`datagen.formats.seams`), and fields that float32 cannot hold are stored in float64
(`datagen.formats.precision`). A bounded axis keeps its end points, and need not be equally spaced.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import h5py
import numpy as np
import xarray

from datagen.checks import a_file, an_equation, finite, positive
from datagen.errors import InputError, UnreadableError, unknown
from datagen.files import LOCKED, is_locked
from datagen.formats.axes import SPACE, found, grid_of, numbers
from datagen.formats.renaming import renamed
from datagen.formats.survey import few_of, refuse_other_end_point, surveyed
from datagen.geometry import Grid
from datagen.geometry.axis import Boundary
from datagen.store.ingest import ingest
from datagen.store.layout import Coordinate, DefaultProblem, Layout, Variable
from datagen.store.ugrid import MESH_VARIABLES
from datagen.store.writer import IDENTITY_VARIABLES

__all__ = ["ArrayDescription", "import_netcdf", "save_dataset"]

_DIMENSIONS = ("sample", "time", *SPACE)
_RESERVED = (
    *("title", "domain_length", "format", "config", "identity", "equation", "imported", "length", "Conventions"),
    *("lengths", "boundary", "problem"),
)
_MOST_FRAMES = 10
"""Frames that are predicted by default."""

_A = {
    "input": "an input, which has the dimensions sample and x",
    "target": "a target, which has the dimensions sample and x",
    "static field": "a static field, which has the dimension x and not time",
    "parameter": "a parameter, which has the dimension sample alone",
}


def warn(text: str) -> None:
    """What a person should know, as a warning of Python."""
    warnings.warn(text.removeprefix("warning: "), UserWarning, stacklevel=4)


@dataclass(frozen=True)
class ArrayDescription:
    """What arrays do not say about themselves.

    Attributes:
        equation: what they are solutions of, in one word such as "kuramoto-sivashinsky"; a run is evaluated on data of
            its own equation only.
        length: of each periodic axis, and of bounded ones without a coordinate; None: from the coordinates.
        constants: numbers that hold for all samples, such as {"nu": 0.1}, kept as attributes of the file.
        boundary: what the ends of all axes are, or of each by its name (periodic where it is not named): "periodic",
            "wall" or "open".
        extent: the two ends of an axis by its name, where they are not its first and last point.
        inputs: fields that are given, of the problem that is learnt by default; none for no default.
        targets: fields that are predicted.
        static: fields constant in time that are given too.
        parameters: numbers of a sample that are given too.
    """

    equation: str
    length: float | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    boundary: Mapping[str, Boundary] | Boundary = "periodic"
    extent: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        an_equation(self.equation)
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
    remark: Callable[[str], None] = warn,
) -> None:
    """Write arrays as a dataset that every command of the program takes.

    Samples are read piece by piece, so that lazy arrays may be larger than memory. Fields are stored in float32, or in
    float64 where float32 would lose their deviations; numbers of a sample in float64.

    Args:
        source: variables with the dimensions `sample`, `time`, `x`, `y`, `z`, in any order.
        out: the file to make.
        description: what the arrays do not say.
        progress: called with (samples done, samples).
        remark: called with what the user should know, such as a field that jumps across the border; by default a
            warning.

    Raises:
        InputError: dimensions, coordinates or variables that do not fit, a grid that has the end point of its period,
            values that are not finite, or a folder that cannot be written to.
    """
    if str(source.attrs.get("format", "")).startswith("kitipde dataset"):
        # Taken from a dataset of ours: a new one counts for itself.
        source = source.drop_vars([name for name in IDENTITY_VARIABLES if name in source.variables])
    grid = grid_of(source, description)
    timed = any("time" in array.dims for array in source.data_vars.values())
    variables = tuple(
        _variable(str(name), array, grid.names, timed or name in description.static)
        for name, array in source.data_vars.items()
    )
    own = [variable for variable in variables if variable.per_sample and variable.is_field]
    if not own:
        raise InputError(
            f"no variable is a field of each sample, with the dimensions sample and x (found: {found(source)})"
        )
    settings = {"equation": description.equation, "imported": True, **_sides(grid), **description.constants}
    layout = Layout(
        description.equation,
        json.dumps(settings),
        grid,
        variables,
        {"title": f"imported: {description.equation}", **description.constants},
        tuple(_times(source)),
        {variable.name: _values(source, variable) for variable in variables if not variable.per_sample},
        _problem(description, source),
    )
    per_sample = [variable for variable in variables if variable.per_sample]

    def read(samples: slice) -> dict[str, np.ndarray]:
        piece = source.isel(sample=samples)
        return {variable.name: _values(piece, variable) for variable in per_sample}

    samples = source.sizes["sample"]
    ingest(Path(out), surveyed(layout, samples, read, remark), samples, read, progress)


def import_netcdf(
    path: Path,
    out: Path,
    description: ArrayDescription,
    names: Mapping[str, str] | None = None,
    variables: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
    remark: Callable[[str], None] = warn,
    drop_endpoint: tuple[str, ...] = (),
) -> None:
    """Turn a NetCDF file into a dataset.

    Args:
        path: NetCDF-3, NetCDF-4, or HDF5.
        out: the file to make.
        description: what the file does not say.
        names: what its dimensions and variables are to be called, by the names they have. A variable that gets the name
            of a dimension becomes its coordinate.
        variables: which are taken, by their new names; empty: all.
        progress: called with (samples done, samples).
        remark: called with what the user should know; by default a warning.
        drop_endpoint: axes ("x", "y") whose last point repeats the first and is left out.

    Raises:
        InputError: no such file, not NetCDF, unknown names, or what `save_dataset` refuses.
    """
    a_file(path)
    with _opened(path) as source:
        if str(source.attrs.get("format", "")).startswith("kitipde dataset"):
            raise InputError(f"{path} is a dataset of ours already: nothing has to be imported")
        source = renamed(source, names or {}, path, remark)
        for name in variables:
            if name not in source.data_vars:
                raise unknown(f"variable in {path}", name, map(str, source.data_vars))
        source = source[list(variables)] if variables else source
        for axis in drop_endpoint:
            source = _without_end_point(source, axis)
        save_dataset(source, out, description, progress, remark)


def _without_end_point(source: xarray.Dataset, axis: str) -> xarray.Dataset:
    if axis not in source.dims or axis not in SPACE or "sample" not in source.dims:
        raise InputError(f"--drop-endpoint {axis}: the data have no axis of this name (found: {found(source)})")
    few = source.isel(sample=few_of(source.sizes["sample"]))
    along = {
        str(name): (array.transpose("sample", ...).to_numpy(), array.transpose("sample", ...).dims.index(axis))
        for name, array in few.data_vars.items()
        if {"sample", axis} <= set(array.dims)
    }
    refuse_other_end_point(axis, along)
    return source.isel({axis: slice(-1)})


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
        if is_locked(error):
            raise UnreadableError(f"{path} {LOCKED}") from error
        if not known:
            raise InputError(
                f"{path} cannot be read as NetCDF: it is of another kind "
                "(allowed: NetCDF-3, NetCDF-4, HDF5 with dimension scales; `kitipde import mat` is for .mat files)"
            ) from error
        raise InputError(f"{path} cannot be read as NetCDF: {shorten(str(error), 200, placeholder=' …')}") from error


def _sides(grid: Grid) -> dict[str, object]:
    """The grid in the settings of the file."""
    lengths = list(grid.lengths)
    sides: dict[str, object] = {"length": lengths[0]} if len(set(lengths)) == 1 else {"lengths": lengths}
    if not grid.periodic:
        sides["boundary"] = [" ".join(axis.boundary) for axis in grid.axes]
    return sides


def _problem(description: ArrayDescription, source: xarray.Dataset) -> DefaultProblem | None:
    """The problem that the description names."""
    given, wanted, d = description.inputs, description.targets, description
    if not (given or wanted or d.static or d.parameters):
        return None
    if not (given and wanted):
        raise InputError("a default problem needs its inputs and its targets")
    for what, names in (("input", given), ("target", wanted), ("static field", d.static), ("parameter", d.parameters)):
        for name in names:
            if name not in source.data_vars:
                raise unknown(what, name, map(str, source.data_vars))
            dims = {str(one) for one in source[name].dims}
            fits = {"static field": "x" in dims and "time" not in dims, "parameter": dims == {"sample"}}
            if not fits.get(what, {"sample", "x"} <= dims):
                raise InputError(f"{name} cannot be {_A[what]}: its dimensions are {', '.join(sorted(dims))}")
    frames = source.sizes["time"] - 1 if all("time" in source[name].dims for name in wanted) else 1
    return DefaultProblem(given, wanted, d.static, d.parameters, 1, max(1, min(frames, _MOST_FRAMES)))


def _variable(name: str, array: xarray.DataArray, grid: tuple[str, ...], timed: bool) -> Variable:
    dims = tuple(one for one in _DIMENSIONS if one in array.dims)
    space = tuple(one for one in dims if one in SPACE)
    is_field = bool(space) and space == grid and ("sample" in dims or "time" not in dims)
    if len(dims) != array.ndim or not (is_field or dims == ("sample",)):
        places = ", ".join(grid)
        raise InputError(
            f"variable '{name}' has the dimensions ({', '.join(map(str, array.dims))}); "
            f"allowed here: (sample), ({places}), (sample, {places}) and (sample, time, {places})"
        )
    if name in MESH_VARIABLES or name in _DIMENSIONS or name in IDENTITY_VARIABLES:
        raise InputError(
            f"variable '{name}' has a name that the format uses itself: rename it (--rename {name}=OTHER), or choose "
            "those to take (--variable)"
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"variable '{name}' is of the type {array.dtype} (allowed: real numbers)")
    units, words = (str(array.attrs.get(key, default)) for key, default in (("units", "1"), ("long_name", name)))
    role = None
    if space:
        role = "mask" if array.dtype.kind == "b" else "static" if timed and "time" not in dims else None
    numbers = "float32" if space else "float64"
    return Variable(name, dims, units, words, numbers, role=role, vector=str(array.attrs.get("vector", "")))


def _values(source: xarray.Dataset, variable: Variable) -> np.ndarray:
    return source[variable.name].transpose(*variable.dims).to_numpy()


def _times(source: xarray.Dataset) -> list[Coordinate]:
    if "time" not in source.coords:
        if "time" in source.dims:
            raise InputError("the frames have no instants: give the dimension time a coordinate")
        return []
    instants = numbers(source, "time")
    if instants.ndim > 1 or not (np.diff(np.atleast_1d(instants)) > 0).all():
        raise InputError("the coordinate time is not rising")
    return [Coordinate("time", instants, str(source["time"].attrs.get("units", "1")), "time", "T")]
