"""Reading datasets: only what is asked for."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from jaxtyping import Float

from datagen.errors import DamagedError, InputError, UnreadableError, unknown
from datagen.files import LOCKED, is_locked
from datagen.geometry import Axis, Geometry, Grid, Mesh, Method
from datagen.geometry.axis import Reduction
from datagen.store.guard import check_heaps, guarded
from datagen.store.layout import DefaultProblem, Role, role_of
from datagen.store.ugrid import MESH_VARIABLES
from datagen.store.writer import (
    BOUNDARY,
    EXTENT,
    FORMAT,
    IDENTITY_VARIABLES,
    PROBLEM,
    ROLE,
    VECTOR,
    as_array,
    checksum_of_texts,
    dimensions,
    identifying_arrays,
    is_bare_dimension,
)

__all__ = ["Dataset", "open_dataset", "reading"]

# Evaluations are stored in folders named after it.
_IDENTITY = re.compile("[0-9a-f]{64}")

_FORMATS = ("kitipde dataset 1", FORMAT)
"""The first knew lines and squares only, periodic and of one `domain_length`."""

Selection = slice | Sequence[int]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what HDF5 says about a file that it cannot read into one line.

    Raises:
        UnreadableError: the file is locked.
        DamagedError: the file is truncated or damaged.
    """
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        if isinstance(error, InputError):
            raise
        if is_locked(error):
            raise UnreadableError(f"{path} {LOCKED}") from error
        text = " ".join(str(error).split())
        if "truncated file" in text:
            raise DamagedError(f"{path} is truncated: it was cut off while copied or written") from error
        raise DamagedError(f"{path} is damaged: {text}") from error


def open_dataset(path: str | Path) -> "Dataset":
    """Open a dataset for reading; use it as a context manager.

    Raises:
        InputError: no such file, not an HDF5 file, not one of ours, truncated, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no such file: {path}")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a dataset")
    try:
        recognised = h5py.is_hdf5(path)
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not recognised:
        raise InputError(f"{path} is not an HDF5 file, so not a dataset of ours (`kitipde import` reads other formats)")
    with reading(path):
        check_heaps(path)
        file = h5py.File(path, "r")
    try:
        return Dataset(path, file)
    except BaseException:
        file.close()
        raise


def recipe_of(config: Mapping[str, Any], identity: str) -> str:
    """SHA-256 of the settings that made a dataset but the device; its identity if no generator made it.

    The same recipe gives the same samples up to rounding: another processor, another device or another version of a
    library may round a last bit otherwise, which gives a file of another identity.
    """
    if not {"seed", "samples"} <= config.keys():
        return identity
    settings = {name: value for name, value in config.items() if name != "device"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class Dataset:
    """An open dataset.

    Attributes:
        path: where it is.
        equation: "burgers", "navier-stokes", "heat", "airfoil", ….
        attributes: everything the file says about itself.
        config: the settings that made it.
        identity: SHA-256 of settings and samples: two files with the same identity hold the same data.
        samples: how many.
        geometry: the grid or mesh that the fields live on.
        coordinates: values along each dimension but `sample`.
        times: instants of the frames, or None for a file without time.
        fields: dimensions of every function of space, by name.
        parameters: names of what is one number a sample (or one a frame): seed, viscosity, steps, ….
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        with reading(path):
            self.attributes: Mapping[str, Any] = {name: _plain(value) for name, value in file.attrs.items()}
        stamp = str(self.attributes.get("format", ""))
        if stamp not in _FORMATS:
            what = f"of the format '{stamp}'" if stamp.startswith("kitipde") else "HDF5, but not a dataset of ours"
            raise InputError(
                f"{path} is {what} (this version reads {' and '.join(_FORMATS)}; `kitipde import` reads other formats)"
            )
        with reading(path):
            self._read_identity()
            arrays = {str(name): guarded(file, str(name)) for name in file}
            self._dims = {name: dimensions(item) for name, item in arrays.items() if not _is_dimension(item)}
            self.coordinates = {
                name: np.asarray(item[()]) for name, item in arrays.items() if _is_coordinate(item) and name != "sample"
            }
            self.samples = len(self.variable("sample"))
            self.geometry: Geometry = self._read_mesh() if "mesh" in self._dims else self._read_grid()
            self.times = np.atleast_1d(self.coordinates["time"]) if "time" in self.coordinates else None
            self._sizes = {name: len(values) for name, values in self.coordinates.items() if np.ndim(values)}
            self._sizes.update(zip(self.geometry.names, self.geometry.shape, strict=True))
            own = MESH_VARIABLES if isinstance(self.geometry, Mesh) else ()
            space = set(self.geometry.names)
            self.fields = {name: dims for name, dims in self._dims.items() if set(dims) & space and name not in own}
            self.parameters = tuple(name for name in self._dims if name not in self.fields and name not in own)
            if not self.fields or any(name not in self._dims for name in IDENTITY_VARIABLES):
                raise KeyError("variables are missing")
            self._check_shapes()

    def _read_identity(self) -> None:
        self.equation = str(self.attributes["equation"])
        self.identity = str(self.attributes["identity"])
        self.config: Mapping[str, Any] = json.loads(self.attributes["config"])
        if not _IDENTITY.fullmatch(self.identity):
            raise ValueError(f"its identity '{self.identity[:80]}' is no SHA-256 sum")
        if not isinstance(self.config, dict):
            raise ValueError("its settings are not a mapping")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def read(
        self,
        name: str,
        samples: Selection = slice(None),
        frames: slice | None = None,
        resolution: Sequence[int] | None = None,
        downsample: Method = "stride",
    ) -> Float[np.ndarray, "..."]:
        """Values of a field, one sample after the other, so that no more than the result is ever in memory.

        They are in float32 or, if they are stored so, in float64.

        Args:
            name: one of `fields`.
            samples: which, in any order, negative ones from the end. Has no effect on a field all samples share.
            frames: which instants, of a field that has several.
            resolution: points along each axis, or one for all, `(64,)`; None for the stored grid.
            downsample: "stride" (every s-th point; of cells, averages) or "spectral" (truncation).

        Returns:
            [n, (time,) *grid], or [(time,) *grid] of a field that all samples share; in float32, or in float64 for a
            field that is stored so.

        Raises:
            InputError: an unknown field, a sample that does not exist, a resolution the grid cannot give, damage.
        """
        if name not in self.fields:
            raise unknown("field", name, self.fields)
        dims = self.fields[name]
        reductions = self._reductions(resolution, downsample)
        stored = self.variable(name)
        where: list[slice] = [slice(None)] * (len(dims) - len(reductions))
        if frames is not None:
            if "time" not in dims:
                raise InputError(f"{name} has no time axis to take frames from")
            where[dims.index("time")] = frames
        where += [each.stored for each in reductions]

        def values(*selection: int | slice) -> np.ndarray:
            with reading(self.path):
                array = np.asarray(stored[selection], self.dtype(name))
            for axis, each in enumerate(reductions, start=array.ndim - len(reductions)):
                array = each.apply(array, axis)
            return array

        if dims[0] != "sample":
            return values(*where)
        indices = self._indices(samples)
        result = None
        for row, index in enumerate(indices):
            one = values(index, *where[1:])
            if result is None:
                result = np.empty((len(indices), *one.shape), one.dtype)
            result[row] = one
        return result if result is not None else self._nothing(name, frames, tuple(each.points for each in reductions))

    def dtype(self, name: str) -> np.dtype:
        """The numbers in which a field is read: float64 where it is stored so because float32 would lose it."""
        return np.dtype(np.float64 if self.variable(name).dtype == np.float64 else np.float32)

    @property
    def seams(self) -> Mapping[str, str]:
        """What is notable about the border of an axis that is taken as periodic ("u jumps by …"), by the axis."""
        return {
            axis: str(self.attributes[f"seam_{axis}"]) for axis in self.coordinates if f"seam_{axis}" in self.attributes
        }

    @property
    def grid(self) -> tuple[int, ...]:
        """Points along each axis; of a mesh, the number of its nodes."""
        return self.geometry.shape

    @property
    def mesh(self) -> Mesh | None:
        """The mesh that the fields live on, or None on a grid."""
        return self.geometry if isinstance(self.geometry, Mesh) else None

    @property
    def problem(self) -> DefaultProblem | None:
        """What is learnt from it by default, if the file says so."""
        if PROBLEM not in self.attributes:
            return None
        with reading(self.path):
            told: Any = json.loads(self.attributes[PROBLEM])
            for key, value in told.items():
                told[key] = tuple(value) if isinstance(value, list) else value
            return DefaultProblem(**told)

    def dimensions(self, name: str) -> tuple[str, ...]:
        """Of a field or parameter.

        Raises:
            InputError: there is no such variable.
        """
        if name not in self._dims:
            raise unknown("variable", name, self._dims)
        return self._dims[name]

    def role(self, name: str) -> Role:
        """What a variable is for, as the file or its dimensions say."""
        return self.description(name).get(ROLE) or role_of(self._dims[name])

    def vector(self, name: str) -> str:
        """The vector that a field is a component of; empty if it is none."""
        return str(self.description(name).get(VECTOR, ""))

    def parameter(self, name: str) -> np.ndarray:
        """A number a sample, as stored: its seed, its viscosity, the steps it took.

        Raises:
            InputError: an unknown name, or damage.
        """
        if name not in self.parameters:
            raise unknown("parameter", name, self.parameters)
        with reading(self.path):
            return np.asarray(self.variable(name)[()])

    @property
    def sample_variables(self) -> tuple[str, ...]:
        """What a sample consists of: the variables that its checksum covers."""
        return tuple(
            name for name, dims in self._dims.items() if dims[:1] == ("sample",) and name not in IDENTITY_VARIABLES
        )

    def variable(self, name: str) -> h5py.Dataset:
        """The stored array itself, for those who read it chunk by chunk."""
        return as_array(self._file, name)

    @property
    def recipe(self) -> str:
        """What it was made from: see `recipe_of`."""
        return recipe_of(self.config, self.identity)

    def identifying_arrays(self) -> dict[str, np.ndarray]:
        """What `identity` is computed from, besides the settings."""
        return identifying_arrays(self._file)

    def checksum_of_texts(self) -> str:
        """What `verify` compares with the file's own."""
        return checksum_of_texts(self._file)

    def description(self, name: str) -> Mapping[str, Any]:
        """The attributes of a coordinate, field or parameter: its units, its long name."""
        if name not in self._file:
            raise unknown("variable", name, self._file)
        with reading(self.path):
            hidden = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")
            return {key: _plain(value) for key, value in self._file[name].attrs.items() if key not in hidden}

    def _check_shapes(self) -> None:
        for name, value in self.attributes.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"its attribute '{name}' is {value}")
        if not all(np.isfinite(values).all() for values in self.coordinates.values()):
            raise ValueError("its coordinates are not finite")
        sizes = {**self._sizes, "sample": self.samples}
        for name in (*self.fields, *self.parameters):
            shape = self.variable(name).shape
            expected = tuple(sizes.get(dim) for dim in self._dims[name])
            if shape != expected and (name in self.fields or None not in expected):
                raise ValueError(f"'{name}' has the shape {shape}, its dimensions {expected}")

    def _read_grid(self) -> Grid:
        names = [name for name, values in self.coordinates.items() if name != "time" and np.ndim(values)]
        # Fields have their dimensions in the order of the axes, HDF5 lists names in that of the alphabet.
        order = next((dims for dims in self._dims.values() if set(names) <= set(dims)), tuple(names))
        return Grid(tuple(self._read_axis(name) for name in sorted(names, key=order.index)))

    def _read_axis(self, name: str) -> Axis:
        values, about = self.coordinates[name], self.description(name)
        units = str(about.get("units", "1"))
        if BOUNDARY not in about:
            start, length = float(values[0]), float(self.attributes["domain_length"])
            return Axis(name, values, (start, start + length), ("periodic", "periodic"), units)
        low, high = (float(end) for end in about[EXTENT])
        lower, upper = str(about[BOUNDARY]).split()
        return Axis(name, values, (low, high), (lower, upper), units)  # pyright: ignore[reportArgumentType]

    def _read_mesh(self) -> Mesh:
        x, y, cells, kinds = (np.asarray(self.variable(name)[()]) for name in MESH_VARIABLES[1:])
        return Mesh(x.astype(np.float64), y.astype(np.float64), cells.astype(np.int32), kinds.astype(np.int8))

    def _reductions(self, resolution: Sequence[int] | None, method: Method) -> tuple[Reduction, ...]:
        return self.geometry.reductions(self.grid if resolution is None else resolution, method)

    def _indices(self, samples: Selection) -> list[int]:
        if isinstance(samples, slice):
            return list(range(*samples.indices(self.samples)))
        indices = [int(index) for index in samples]
        for index in indices:
            if not -self.samples <= index < self.samples:
                raise InputError(f"{self.path} has no sample {index} (allowed: 0 to {self.samples - 1})")
        return [index % self.samples for index in indices]

    def _nothing(self, name: str, frames: slice | None, grid: tuple[int, ...]) -> np.ndarray:
        shape = [0]
        if "time" in self.fields[name]:
            shape.append(len(range(self._sizes["time"])[frames or slice(None)]))
        return np.empty((*shape, *grid), self.dtype(name))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_coordinate(item: Any) -> bool:
    return "axis" in item.attrs or item.name == "/sample"


def _is_dimension(item: Any) -> bool:
    return _is_coordinate(item) or is_bare_dimension(item)
