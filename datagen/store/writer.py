"""Writing the format: NetCDF-4-compatible HDF5, whole files only, never in place.

HDF5 does not survive a crash while it writes. So every file is made under a temporary name in the folder where it will
stay, flushed to the disk and renamed: under its final name there is nothing or everything.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64

from datagen.errors import InputError
from datagen.files import real, reason, replacing
from datagen.geometry import Axis, Grid
from datagen.store.layout import Layout, Variable, role_of
from datagen.store.ugrid import CONVENTIONS as UGRID
from datagen.store.ugrid import mesh_values, mesh_variables

__all__ = [
    "BOUNDARY",
    "EXTENT",
    "FORMAT",
    "IDENTITY_VARIABLES",
    "PROBLEM",
    "ROLE",
    "TEXTS",
    "VECTOR",
    "as_array",
    "atomic_path",
    "checksum_of_texts",
    "identity_of",
    "is_bare_dimension",
    "merge_files",
    "sample_checksum",
    "write_file",
]

FORMAT = "kitipde dataset 2"
CONVENTIONS = "CF-1.11"
TEXTS = "texts_checksum"
"""The attribute with `checksum_of_texts`; files of earlier versions have none."""

BOUNDARY, EXTENT, PROBLEM, ROLE, VECTOR = "boundary", "extent", "problem", "role", "vector"
"""Attributes of axes, of the file, and of variables: see docs/format.md."""

IDENTITY_VARIABLES = ("seed", "sample_status", "checksum")
"""What every file keeps of every sample besides its equation's own variables."""

# A chunk is the least that HDF5 reads. Small samples share one, large ones are cut between frames.
_SHARED_CHUNK = 128 * 1024
_LARGEST_CHUNK = 1024 * 1024

# Beyond this a file is not put together in memory, where it would stand beside its values.
_LARGEST_IMAGE = 40 * 1024 * 1024

# Deflate level 1 after byte shuffling costs 45 MB/s and saves a third; Fletcher's sum finds a flipped bit at reading.
_FILTERS: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}

# How NetCDF-4 marks a scale that gives a dimension its length and holds no values.
_BARE_DIMENSION = "This is a netCDF dimension but not a netCDF variable."

# The object headers of this version and later carry checksums of their own.
_VERSION = ("v110", "v110")

_BOOKKEEPING = (
    Variable("seed", ("sample",), "1", "seed of the sample's random numbers", "int64"),
    Variable(
        "sample_status",
        ("sample",),
        "1",
        "how the sample was made",
        "int8",
        {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "solved imported"},
    ),
    Variable("checksum", ("sample",), "1", "first 63 bits of the SHA-256 of the sample's values", "int64"),
)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` when the block ends well, and is removed when it does not.

    Folders are made; a symbolic link stays, and what it leads to is written.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    try:
        real(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason(error)}") from error


def write_file(
    path: Path, layout: Layout, seeds: Int64[np.ndarray, " n"], values: Mapping[str, np.ndarray], status: int = 0
) -> None:
    """Write a file that fits into memory.

    Args:
        path: final name; written under a temporary one first.
        layout: what the file holds.
        seeds: the seed of each sample.
        values: for each per-sample variable of the layout, an array with one entry for each seed.
        status: how they were made: 0 solved, 1 imported.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    rounded = {one.name: np.asarray(values[one.name], one.dtype) for one in layout.variables if one.per_sample}
    sums = [sample_checksum({name: array[row] for name, array in rounded.items()}) for row in range(len(seeds))]
    records = {
        "seed": seeds,
        "sample_status": np.full(len(seeds), status, dtype=np.int8),
        "checksum": np.array(sums, dtype=np.int64),
        **rounded,
    }
    if sum(array.nbytes for array in records.values()) > _LARGEST_IMAGE:
        with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=_VERSION) as file:
            _fill(file, layout, records)
        return
    # In memory first: a disk that fills up then shows as an error of `write`, not as one inside HDF5's own cache.
    with h5py.File("in memory", "w", driver="core", backing_store=False, libver=_VERSION) as file:
        _fill(file, layout, records)
        file.flush()
        image = file.id.get_file_image()
    with atomic_path(path) as temporary, open(temporary, "wb") as target:
        target.write(image)


def _fill(file: h5py.File, layout: Layout, records: Mapping[str, np.ndarray]) -> None:
    _create(file, layout, len(records["seed"]))
    for name, array in records.items():
        as_array(file, name)[...] = array
    _seal(file, layout)


def merge_files(
    parts: Sequence[Path], path: Path, layout: Layout, progress: Callable[[int, int], None] | None = None
) -> None:
    """Join files of one layout, in the order given, into one of any size, a sample at a time.

    Args:
        parts: files made by `write_file` with this layout.
        path: final name.
        layout: what each part and the whole hold.
        progress: called with (parts joined, parts).

    Raises:
        InputError: a part is of other settings or version, the folder cannot be written to, or the disk is full.
    """
    counts = []
    for part in parts:
        with h5py.File(part, "r") as source:
            if source.attrs.get("config") != layout.config:
                raise InputError(f"{part} was made with other settings than those of {path.name}: remove it")
            for one in layout.variables:
                if one.per_sample and one.name not in source:
                    raise InputError(f"{part} has no {one.name}: it was made by another version; remove it")
                if one.per_sample and as_array(source, one.name).dtype != np.dtype(one.dtype):
                    raise InputError(f"{part} has {one.name} in other numbers than {one.dtype}; remove it")
            counts.append(len(as_array(source, "checksum")))
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=_VERSION) as target:
        _create(target, layout, sum(counts))
        first = 0
        for number, (part, count) in enumerate(zip(parts, counts, strict=True)):
            with h5py.File(part, "r") as source:
                for variable in (*_BOOKKEEPING, *layout.variables):
                    if variable.per_sample:
                        _copy(as_array(source, variable.name), as_array(target, variable.name), first)
            first += count
            if progress:
                progress(number + 1, len(parts))
        _seal(target, layout)


def sample_checksum(values: Mapping[str, np.ndarray]) -> int:
    """The first 63 bits of SHA-256 over one sample's stored values, variable after variable in alphabetical order."""
    digest = hashlib.sha256()
    for name in sorted(values):
        digest.update(name.encode())
        digest.update(_bytes(values[name]))
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def _seal(file: h5py.File, layout: Layout) -> None:
    """What tells later whether anything has changed."""
    file.attrs["identity"] = identity_of(layout.config, identifying_arrays(file))
    file.attrs[TEXTS] = checksum_of_texts(file)


def checksum_of_texts(file: h5py.File) -> str:
    """SHA-256 of all attributes that are text, of the file and its arrays: HDF5 keeps them without a sum of its own."""
    digest = hashlib.sha256()
    for name, item in (("", file), *sorted(file.items())):
        for key, value in sorted(item.attrs.items()):
            if isinstance(value, str) and key != TEXTS:
                digest.update(json.dumps([name, key, value]).encode())
    return digest.hexdigest()


def identity_of(config: str, arrays: Mapping[str, np.ndarray]) -> str:
    """What the content is, whatever the file is called: SHA-256 over the settings and the named arrays.

    Args:
        config: the settings.
        arrays: coordinates, seeds, checksums of the samples, and what all samples share.
    """
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(_bytes(arrays[name]))
    return digest.hexdigest()


def identifying_arrays(file: h5py.File) -> dict[str, np.ndarray]:
    """All of a file but the samples' values, which their checksums stand for."""
    arrays = {str(name): as_array(file, str(name)) for name in file}
    return {
        name: np.asarray(array[()])
        for name, array in arrays.items()
        if (name in IDENTITY_VARIABLES or "sample" not in dimensions(array)) and not is_bare_dimension(array)
    }


def _create(file: h5py.File, layout: Layout, samples: int) -> None:
    file.attrs.update(
        {
            "Conventions": CONVENTIONS if isinstance(layout.geometry, Grid) else UGRID,
            "format": FORMAT,
            "equation": layout.equation,
            "config": layout.config,
            **layout.attributes,
        }
    )
    if layout.problem is not None:
        file.attrs[PROBLEM] = json.dumps(asdict(layout.problem))
    index = file.create_dataset("sample", data=np.arange(samples, dtype=np.int64), maxshape=(None,), chunks=(4096,))
    index.attrs.update({"units": "1", "long_name": "index of the sample"})
    index.make_scale("sample")
    for axis in layout.geometry.axes if isinstance(layout.geometry, Grid) else ():
        _create_axis(file, axis)
    for coordinate in layout.coordinates:
        # A checksum needs chunks, and chunks need an axis.
        checked = {"fletcher32": True, "chunks": coordinate.values.shape} if coordinate.values.ndim else {}
        dataset = file.create_dataset(coordinate.name, data=np.asarray(coordinate.values, np.float64), **checked)
        dataset.attrs.update({"units": coordinate.units, "long_name": coordinate.long_name, "axis": coordinate.axis})
        if coordinate.values.ndim:
            dataset.make_scale(coordinate.name)
    for name, length in layout.dimensions.items():
        file.create_dataset(name, shape=(length,), dtype="int8").make_scale(f"{_BARE_DIMENSION}{length:10d}")
    for variable in (*_BOOKKEEPING, *_of_geometry(layout), *layout.variables):
        _create_variable(file, variable, layout, samples)


def _create_axis(file: h5py.File, axis: Axis) -> None:
    dataset = file.create_dataset(
        axis.name, data=np.asarray(axis.coordinates, np.float64), fletcher32=True, chunks=(axis.points,)
    )
    dataset.attrs.update(
        {
            "units": axis.units,
            "long_name": "position",
            "axis": axis.name.upper() if axis.name in ("x", "y", "z") else "",
            EXTENT: np.asarray(axis.extent, np.float64),
            BOUNDARY: " ".join(axis.boundary),
        }
    )
    dataset.make_scale(axis.name)


def _of_geometry(layout: Layout) -> tuple[Variable, ...]:
    return () if isinstance(layout.geometry, Grid) else mesh_variables()


def _create_variable(file: h5py.File, variable: Variable, layout: Layout, samples: int) -> None:
    shape = tuple(samples if name == "sample" else layout.sizes[name] for name in variable.dims)
    largest = tuple(None if name == "sample" else size for name, size in zip(variable.dims, shape, strict=True))
    # A filter needs chunks, and chunks need an axis.
    stored = {"maxshape": largest, "chunks": _chunks(variable, shape), **_FILTERS} if shape else {}
    dataset = file.create_dataset(variable.name, shape=shape, dtype=variable.dtype, **stored)
    single = [one.name for one in layout.coordinates if one.values.ndim == 0]
    role = None if variable in _BOOKKEEPING else variable.role or role_of(variable.dims)
    words = {"units": variable.units, "long_name": variable.long_name, ROLE: role or "", VECTOR: variable.vector}
    attributes = {**words, **variable.extra}
    if single and variable.is_field:
        attributes.setdefault("coordinates", " ".join(single))
    dataset.attrs.update({name: value for name, value in attributes.items() if not _is_empty(value)})
    for axis, name in enumerate(variable.dims):
        dataset.dims[axis].attach_scale(as_array(file, name))
    fixed = layout.shared if isinstance(layout.geometry, Grid) else {**layout.shared, **mesh_values(layout.geometry)}
    if variable.name in fixed:
        dataset[...] = fixed[variable.name]


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value


def _chunks(variable: Variable, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not variable.per_sample:
        return shape
    itemsize = np.dtype(variable.dtype).itemsize
    sample = int(np.prod(shape[1:], dtype=np.int64)) * itemsize
    if sample <= _SHARED_CHUNK:
        return (max(1, min(4096, _SHARED_CHUNK // sample)), *shape[1:])
    if variable.dims[1] != "time":
        return (1, *shape[1:])
    frame = sample // shape[1]
    return (1, max(1, min(shape[1], _LARGEST_CHUNK // frame)), *shape[2:])


def _copy(source: h5py.Dataset, target: h5py.Dataset, first: int) -> None:
    """Put the source's samples into the target from index `first` on."""
    if source.chunks is None or source.chunks[0] != 1:
        target[first : first + len(source)] = source[...]
        return
    # One sample a chunk: its compressed bytes can go over as they are.
    for index in range(source.id.get_num_chunks()):
        offset = source.id.get_chunk_info(index).chunk_offset
        mask, data = source.id.read_direct_chunk(offset)
        target.id.write_direct_chunk((offset[0] + first, *offset[1:]), data, mask)


def as_array(file: h5py.File, name: str) -> h5py.Dataset:
    """An array of an open file.

    Raises:
        OSError: a group or a type stands in its place.
    """
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise OSError(f"'{name}' is not an array")
    return item


def dimensions(array: h5py.Dataset) -> tuple[str, ...]:
    """The names of an array's dimensions; none of a coordinate's own."""
    return tuple(str(dimension[0].name).rsplit("/", 1)[-1] for dimension in array.dims if len(dimension))


def is_bare_dimension(array: h5py.Dataset) -> bool:
    """Whether an array stands for the length of a dimension only."""
    name = array.attrs.get("NAME", b"")
    return (name if isinstance(name, bytes) else str(name).encode()).startswith(_BARE_DIMENSION.encode())


def _bytes(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
