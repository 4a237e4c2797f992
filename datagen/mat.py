"""Reading and writing the `.mat` files in which the FNO data were published.

Arrays `a` (sample, x, (y)), the initial field, and `u`: (sample, x) for Burgers, or (sample, x, time) of several
instants, and (sample, x, y, time) for flows, with the instants in `t`. MATLAB writes two kinds of file: up to version
7 its own, from 7.3 on HDF5 with all axes reversed.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from datagen.checks import a_file, positive
from datagen.errors import InputError, unknown
from datagen.grids import line, square
from datagen.initial import initial_field, main_field
from datagen.store.guard import guarded
from datagen.store.ingest import ingest
from datagen.store.layout import AttributeValue, Coordinate, Layout, Variable
from datagen.store.reader import Dataset, reading
from datagen.store.writer import atomic_path

__all__ = ["MatDescription", "export_mat", "import_mat"]

_NAMES = {"burgers": "u", "navier-stokes": "vorticity", "heat": "temperature"}
_CONSTANTS = {"burgers": "nu", "navier-stokes": "nu", "heat": "alpha"}
_ARRAYS = ("a", "u", "t")
_LARGEST = 2**31 - 1
"""Bytes of one array that MATLAB's own format can hold."""


@dataclass(frozen=True)
class MatDescription:
    """What a `.mat` file does not say about itself.

    Attributes:
        equation: "burgers", "navier-stokes" or "heat"; empty: Burgers if `u` has one axis of space, else Navier–Stokes.
        constant: ν or α, or None if it is not known.
        length: L.
        final_time: time of `u` where it is of one instant and the file has no `t`.
    """

    equation: str = ""
    constant: float | None = None
    length: float = 1.0
    final_time: float = 1.0

    def __post_init__(self) -> None:
        if self.equation and self.equation not in _NAMES:
            raise unknown("equation", self.equation, _NAMES)
        if self.constant is not None:
            positive("nu", self.constant)
        positive("length", self.length)
        positive("final time", self.final_time)


def import_mat(
    source: Path, out: Path, description: MatDescription, progress: Callable[[int, int], None] | None = None
) -> None:
    """Turn a published `.mat` file into a data set.

    Args:
        source: the file.
        out: the data set to write.
        description: what the file does not say.
        progress: called with (samples done, samples).

    Raises:
        InputError: no such file, not a `.mat` file, arrays missing or of shapes that do not fit, values not finite.
    """
    with _arrays(source) as arrays:
        if "u" not in arrays:
            raise InputError(f"{source} has no array 'u' (expected: u, and a and t where there are any)")
        for array_name, array in arrays.items():
            if not isinstance(array, np.ndarray | _Reversed) or array.dtype.kind not in "iuf":
                raise InputError(f"{source}: {array_name} is not an array of real numbers")
        if description.equation != "burgers" and _lost_its_time(arrays):
            arrays = {name: _WithTime(array) if name == "u" else array for name, array in arrays.items()}
        shape, start = arrays["u"].shape, arrays.get("a")
        burgers = description.equation == "burgers" or (start is not None and len(start.shape) == 2)
        if 0 in shape or not (len(shape) in (2, 4) or (len(shape) == 3 and burgers)):
            raise InputError(
                f"{source}: u has the shape {shape} (expected: sample × x, or of Burgers, which --equation or "
                "the shape of a tells, sample × x × time, or sample × x × y × time)"
            )
        if start is not None and start.shape != shape[: 3 if len(shape) == 4 else 2]:
            raise InputError(f"{source}: a has the shape {start.shape}, which does not fit u's {shape}")
        layout = _layout(source, shape, arrays.get("t"), start is not None, description)
        names = [variable.name for variable in layout.variables]

        def read(samples: slice) -> dict[str, np.ndarray]:
            # What is too large for float32 becomes infinite, which is refused with its samples.
            with np.errstate(over="ignore"):
                values = np.asarray(arrays["u"][samples], np.float32)
                read = {names[0]: values if values.ndim == 2 else np.moveaxis(values, -1, 1)}
                if start is not None:
                    read[names[1]] = np.asarray(start[samples], np.float32)
            return read

        ingest(out, layout, shape[0], read, progress)


def export_mat(data: Dataset, out: Path) -> None:
    """Write `a`, `u` and `t` as MATLAB's version-5 format, time last.

    Args:
        data: an open data set on a regular grid.
        out: the file to write.

    Raises:
        InputError: an array above 2 GiB, which the format cannot hold; or the folder cannot be written to.
    """
    from scipy.io import savemat

    name = main_field(data)
    size = 4 * data.samples * int(np.prod(data.grid)) * (1 if data.times is None else len(data.times))
    if size > _LARGEST:
        raise InputError(f"u would have {size / 1e9:.1f} GB; a .mat file holds 2.1 GB (use `kitipde export well`)")
    values = data.read(name)
    if "time" in data.fields[name]:
        values = np.moveaxis(values, 1, -1)
    arrays: dict[str, Any] = {"u": values, "t": data.times if data.times is not None else np.zeros(0)}
    start = initial_field(data)
    if start is not None:
        arrays["a"] = start
    with atomic_path(out) as temporary, open(temporary, "wb") as file:
        savemat(file, arrays, do_compression=False)


def _layout(
    source: Path, shape: tuple[int, ...], instants: Any, with_start: bool, description: MatDescription
) -> Layout:
    flat, points = len(shape) < 4, shape[1]
    equation = description.equation or ("burgers" if flat else "navier-stokes")
    if flat != (equation == "burgers"):
        raise InputError(f"{source}: u has the shape {shape}, which is not one of {equation}")
    name, constant = _NAMES[equation], _CONSTANTS[equation]
    attributes: dict[str, AttributeValue] = {
        "title": f"imported from {source.name}",
        "domain_length": description.length,
        **({} if description.constant is None else {constant: description.constant}),
    }
    config = {"equation": equation, "imported": source.name, "length": description.length}
    if description.constant is not None:
        config[constant] = description.constant
    pair = len(shape) == 2
    if pair and instants is not None and 0 in instants.shape:
        instants = None
    times = _instants(source, instants, 1 if pair else shape[-1], description.final_time)
    time = Coordinate("time", times[0] if pair else times, "1", "time since the initial condition", "T")
    if flat:
        coordinates = (time, line(points, description.length))
        variables = [Variable("u", ("sample", "x") if pair else ("sample", "time", "x"), "1", "velocity")]
        start = Variable("u0", ("sample", "x"), "1", "velocity at the start", extra={"coordinates": ""})
    else:
        if shape[1] != shape[2]:
            raise InputError(f"{source}: u is {shape[1]} × {shape[2]} points (expected: a square)")
        coordinates = (
            time,
            *square(shape[1], description.length),
        )
        variables = [Variable(name, ("sample", "time", "x", "y"), "1", name)]
        start = Variable(f"initial_{name}", ("sample", "x", "y"), "1", f"{name} at the start")
    if with_start:
        variables.append(start)
    return Layout(equation, json.dumps(config, sort_keys=True), coordinates, tuple(variables), attributes)


def _instants(source: Path, instants: Any, frames: int, final_time: float) -> Float[np.ndarray, " frames"]:
    if instants is None:
        return np.array([final_time]) if frames == 1 else np.arange(1.0, frames + 1)
    values = np.asarray(instants[...], np.float64).ravel()
    if len(values) != frames or not np.isfinite(values).all() or not (np.diff(values) > 0).all():
        raise InputError(f"{source}: t has {len(values)} values that do not fit the {frames} frames of u")
    return values


def _lost_its_time(arrays: dict[str, Any]) -> bool:
    """Whether u is sample × x × y of one frame: MATLAB drops an axis of length one from the end."""
    u, start, instants = arrays["u"], arrays.get("a"), arrays.get("t")
    if len(u.shape) != 3 or u.shape[1] != u.shape[2]:
        return False
    told = (start is not None and start.shape == u.shape, instants is not None and math.prod(instants.shape) == 1)
    # One of them is needed, and the other may not contradict it.
    return told[0] if instants is None else told[1] and (start is None or told[0])


class _WithTime:
    """An array with the last axis, of length one, that it has lost."""

    def __init__(self, array: Any) -> None:
        self._array, self.shape, self.dtype = array, (*array.shape, 1), array.dtype

    def __getitem__(self, samples: Any) -> np.ndarray:
        return np.asarray(self._array[samples])[..., None]


class _Reversed:
    """An array of a version-7.3 file, with its axes in the order in which MATLAB shows them."""

    def __init__(self, stored: h5py.Dataset) -> None:
        self._stored = stored
        self.shape, self.dtype = tuple(reversed(stored.shape)), stored.dtype

    def __getitem__(self, samples: Any) -> np.ndarray:
        if samples is ...:
            return np.asarray(self._stored[...]).T
        return np.asarray(self._stored[..., samples]).T


@contextmanager
def _arrays(source: Path) -> Iterator[dict[str, Any]]:
    a_file(source)
    if not h5py.is_hdf5(source):
        yield _version_5(source)
        return
    with reading(source), h5py.File(source, "r") as file:
        # Ours, and netCDF: their axes are in order, those of MATLAB are not.
        if "format" in file.attrs or "_NCProperties" in file.attrs:
            raise InputError(
                f"{source} is no .mat file: a data set of kitipde needs no import, netCDF has `kitipde import netcdf`"
            )
        names = [name for name in _ARRAYS if name in file]
        yield {name: _Reversed(guarded(file, name, of_numbers=False)) for name in names}


def _version_5(source: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            # Of a name that is there twice the last one counts; what would be lost here is told.
            warnings.simplefilter("error")
            loaded = loadmat(source, variable_names=list(_ARRAYS))
    except Exception as error:  # whatever a damaged byte leads scipy to
        raise InputError(f"{source} cannot be read as a .mat file: {' '.join(str(error).split())}") from error
    return {name: array for name, array in loaded.items() if not name.startswith("__")}
