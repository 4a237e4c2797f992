"""Writing the layout of The Well, the collection of simulations for machine learning.

One HDF5 file: `dimensions` (time and the axes), `boundary_conditions`, `scalars`, and the fields by their tensor rank
in `t0_fields`, `t1_fields`, `t2_fields`, each (trajectory, time, *axes, *components) in float32, or in float64 where
float32 would lose the field. What does not vary with the trajectory or with time has no such axis, and flags say so.

References:
    R. Ohana et al., "The Well: a Large-Scale Collection of Diverse Physics Simulations for Machine Learning",
    NeurIPS 2024.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from datagen.equations.stored import constants, recipe_with_main_field, start_field
from datagen.errors import InputError
from datagen.geometry import Grid
from datagen.store.reader import Dataset
from datagen.store.writer import IDENTITY_VARIABLES, atomic_path

__all__ = ["export_well"]


@dataclass(frozen=True)
class _Field:
    """A field of The Well.

    Attributes:
        name: it has there.
        components: fields of the dataset: one of a scalar, one for each axis of a vector.
        dims: of each of them.
        start: the field that is its first frame, for pairs that become trajectories of two.
    """

    name: str
    components: tuple[str, ...]
    dims: tuple[str, ...]
    start: str = ""

    @property
    def rank(self) -> int:
        return int(len(self.components) > 1)

    @property
    def per_sample(self) -> bool:
        return "sample" in self.dims

    @property
    def has_time(self) -> bool:
        return "time" in self.dims or bool(self.start)


def export_well(data: Dataset, out: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write a dataset in the layout of The Well, one trajectory in memory at a time.

    Components of a declared vector, one for each axis, become a vector in `t1_fields`; all other fields are in
    `t0_fields`. Numbers of a sample become scalars. Pairs of this program's equations (Burgers' u0 and u) become
    trajectories of two frames, 0 and the final time.

    Args:
        data: an open dataset on a grid.
        out: the file to write.
        progress: called with (trajectories written, trajectories).

    Raises:
        InputError: the data are on a mesh or have no time, or the folder cannot be written to.
    """
    grid = data.geometry
    if not isinstance(grid, Grid):
        raise InputError(f"{data.path} is on a mesh; The Well's layout holds grids")
    fields = tuple(_fields(data, grid))
    if data.times is None or not any(each.has_time and each.per_sample for each in fields):
        raise InputError(f"{data.path} holds single states; The Well's layout holds trajectories")
    times = data.times if any("time" in each.dims for each in fields) else np.concatenate([[0.0], data.times])
    numbers = {each.name: each.value for each in constants(data)}
    with atomic_path(out) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            dataset_name=data.equation,
            grid_type="cartesian",
            n_spatial_dims=grid.dimension,
            n_trajectories=data.samples,
            simulation_parameters=list(numbers),
            **numbers,
        )
        _write_dimensions(file, grid, times)
        _write_boundaries(file, grid)
        _write_scalars(file, data, numbers)
        groups = [
            _group(file, f"t{rank}_fields", [each.name for each in fields if each.rank == rank]) for rank in range(3)
        ]
        own = []
        for field in fields:
            stored = _created(groups[field.rank], field, data, grid, len(times))
            if field.per_sample:
                own.append((field, stored))
            else:
                stored[...] = _values(data, field, None)
        for index in range(data.samples):
            for field, stored in own:
                stored[index] = _values(data, field, index)
            if progress:
                progress(index + 1, data.samples)


def _fields(data: Dataset, grid: Grid) -> Iterator[_Field]:
    recipe = recipe_with_main_field(data.equation)
    pair = (start_field(recipe), recipe.main_field) if recipe is not None else None
    if pair is None or not all(data.fields.get(name) == ("sample", *grid.names) for name in pair):
        pair = ("", "")
    done = {pair[0]}
    for name, dims in data.fields.items():
        if name in done:
            continue
        members = _vector(data, name, grid)
        done |= set(members)
        yield _Field(data.vector(name) if len(members) > 1 else name, members, dims, pair[0] if name == pair[1] else "")


def _vector(data: Dataset, name: str, grid: Grid) -> tuple[str, ...]:
    """The components of the field's vector in the order of the axes; the field alone if it is none of a whole one."""
    dims = data.fields[name]
    vector = data.vector(name)
    members = [other for other, own in data.fields.items() if vector and data.vector(other) == vector and own == dims]
    if grid.dimension == 1 or len(members) != grid.dimension or (vector in data.fields and vector not in members):
        return (name,)
    by_axis = [[member for member in members if member.endswith(axis)] for axis in grid.names]
    return tuple(own[0] for own in by_axis) if all(len(own) == 1 for own in by_axis) else tuple(members)


def _created(group: h5py.Group, field: _Field, data: Dataset, grid: Grid, frames: int) -> h5py.Dataset:
    shape = (
        *((data.samples,) if field.per_sample else ()),
        *((frames,) if field.has_time else ()),
        *grid.shape,
        *((len(field.components),) if field.rank else ()),
    )
    single = (1,) * (field.per_sample + field.has_time)
    dtype = np.result_type(*(data.dtype(name) for name in field.components))
    stored = group.create_dataset(field.name, shape, dtype, chunks=(*single, *shape[len(single) :]))
    stored.attrs.update(
        dim_varying=[True] * grid.dimension, sample_varying=field.per_sample, time_varying=field.has_time
    )
    return stored


def _values(data: Dataset, field: _Field, index: int | None) -> Float[np.ndarray, "..."]:
    """Of one trajectory, or what all share."""

    def read(name: str) -> np.ndarray:
        return data.read(name) if index is None else data.read(name, [index])[0]

    values = [np.stack([read(field.start), read(name)]) if field.start else read(name) for name in field.components]
    return np.stack(values, axis=-1) if field.rank else values[0]


def _write_dimensions(file: h5py.File, grid: Grid, times: np.ndarray) -> None:
    group = file.create_group("dimensions")
    group.attrs["spatial_dims"] = list(grid.names)
    group.create_dataset("time", data=times.astype(np.float32)).attrs["sample_varying"] = False
    for axis in grid.axes:
        values = group.create_dataset(axis.name, data=axis.coordinates.astype(np.float32))
        values.attrs.update(sample_varying=False, time_varying=False)


def _write_boundaries(file: h5py.File, grid: Grid) -> None:
    """A group for each axis whose two ends are alike, or else for each of its ends."""
    group = file.create_group("boundary_conditions")
    for axis in grid.axes:
        lower, upper = axis.boundary
        ends = [(f"{axis.name}_{lower}", lower, [0, -1])]
        if lower != upper:
            ends = [(f"{axis.name}_lower_{lower}", lower, [0]), (f"{axis.name}_upper_{upper}", upper, [-1])]
        for name, kind, places in ends:
            mask = np.zeros(axis.points, dtype=bool)
            mask[places] = True
            boundary = group.create_group(name)
            boundary.attrs.update(
                associated_dims=[axis.name], bc_type=kind.upper(), sample_varying=False, time_varying=False
            )
            boundary.attrs["associated_fields"] = np.array([], dtype=h5py.string_dtype())
            boundary.create_dataset("mask", data=mask)


def _write_scalars(file: h5py.File, data: Dataset, constants: dict[str, float]) -> None:
    """Constants of the equation, and the numbers of each sample."""
    own = [
        name
        for name in data.parameters
        if data.dimensions(name) == ("sample",) and name not in (*IDENTITY_VARIABLES, *constants)
    ]
    group = _group(file, "scalars", [*constants, *own])
    for name, value in constants.items():
        group.create_dataset(name, data=np.float32(value)).attrs.update(sample_varying=False, time_varying=False)
    for name in own:
        values = group.create_dataset(name, data=data.parameter(name).astype(np.float32))
        values.attrs.update(sample_varying=True, time_varying=False)


def _group(file: h5py.File, name: str, members: list[str]) -> h5py.Group:
    group = file.create_group(name)
    group.attrs["field_names"] = np.array(members, dtype=h5py.string_dtype())
    return group
