"""Arrays of `.mat` files, and of HDF5 files of the same names, with their axes in the order of whoever wrote them.

MATLAB writes two kinds of file: up to version 7 its own, from 7.3 on HDF5 in which all axes are reversed. An HDF5 file
is MATLAB's if it begins with its header, or if its arrays have the attributes that MATLAB gives them. The axes of any
other are in order.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from datagen.checks import a_file
from datagen.errors import InputError
from datagen.store.guard import guarded
from datagen.store.reader import reading

__all__ = ["Array", "Contents", "WithTime", "WithoutEndPoint", "contents_of"]

_HEADER = b"MATLAB 7.3 MAT-file"
_CLASS = "MATLAB_class"


class Array(Protocol):
    """What is asked of an array, in memory or in a file: a slice of its samples at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, samples: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        arrays: those asked for that are there.
        words: texts of those names, such as that of the equation.
        others: names of what was not asked for.
    """

    arrays: Mapping[str, Array]
    words: Mapping[str, str]
    others: tuple[str, ...]


class WithTime:
    """An array with a last axis of length one, which MATLAB drops."""

    def __init__(self, array: Array) -> None:
        self._array, self.shape, self.dtype = array, (*array.shape, 1), array.dtype

    def __getitem__(self, samples: Any) -> np.ndarray:
        return np.asarray(self._array[samples])[..., None]


class WithoutEndPoint:
    """An array without the last point along an axis."""

    def __init__(self, array: Array, axis: int) -> None:
        shape = list(array.shape)
        shape[axis] -= 1
        self._array, self._axis, self.shape, self.dtype = array, axis, tuple(shape), array.dtype

    def __getitem__(self, samples: Any) -> np.ndarray:
        values = np.asarray(self._array[samples])
        return values[(slice(None),) * self._axis + (slice(-1),)]


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
def contents_of(source: Path, names: Sequence[str]) -> Iterator[Contents]:
    """Open a file and find what is asked for.

    Args:
        source: a `.mat` file of any version, or another HDF5 file.
        names: of the arrays and texts that are wanted.

    Raises:
        InputError: no such file, one of another kind, or a damaged one; something in place of an array of real numbers.
    """
    a_file(source)
    if not h5py.is_hdf5(source):
        contents = _version_5(source, names)
        _refuse_others(source, contents.arrays)
        yield contents
        return
    with reading(source), h5py.File(source, "r") as file:
        # A dataset of ours, or netCDF.
        if "format" in file.attrs or "_NCProperties" in file.attrs:
            raise InputError(
                f"{source} is no .mat file: a dataset of kitipde needs no import, netCDF has `kitipde import netcdf`"
            )
        stored = {name: guarded(file, name, of_numbers=False) for name in names if name in file}
        with source.open("rb") as start:
            matlab = start.read(len(_HEADER)) == _HEADER
        matlab = matlab or any(_CLASS in array.attrs for array in stored.values())
        arrays: Mapping[str, Any] = {
            name: _Reversed(array) if matlab else array
            for name, array in stored.items()
            if array.attrs.get(_CLASS) != b"char"
        }
        _refuse_others(source, arrays)
        yield Contents(arrays, {}, tuple(name for name in map(str, file) if name not in names and name[:1] != "#"))


def _version_5(source: Path, names: Sequence[str]) -> Contents:
    from scipy.io import loadmat, whosmat

    try:
        with warnings.catch_warnings():
            # Of a name that is there twice the last one counts; what would be lost here is told.
            warnings.simplefilter("error")
            loaded = loadmat(source, variable_names=list(names))
            there = [name for name, _, _ in whosmat(source)]
    except Exception as error:  # whatever a damaged byte leads scipy to
        raise InputError(f"{source} cannot be read as a .mat file: {' '.join(str(error).split())}") from error
    found = {name: value for name, value in loaded.items() if not name.startswith("__")}
    words = {
        name: str(value.item())
        for name, value in found.items()
        if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size == 1 and name not in ("a", "u", "t")
    }
    arrays = {name: value for name, value in found.items() if name not in words}
    return Contents(arrays, words, tuple(name for name in there if name not in names))


def _refuse_others(source: Path, arrays: Mapping[str, Any]) -> None:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray | h5py.Dataset | _Reversed) or array.dtype.kind not in "iufb":
            raise InputError(f"{source}: {name} is not an array of real numbers")
