"""Writing the layout of The Well, the collection of simulations for machine learning.

One HDF5 file: `dimensions` (time, x, y), `boundary_conditions`, `scalars`, and the fields by their tensor rank in
`t0_fields`, `t1_fields`, `t2_fields`, each (trajectory, time, x, y) in float32, or in float64 where float32 would lose
the field.

References:
    R. Ohana et al., "The Well: a Large-Scale Collection of Diverse Physics Simulations for Machine Learning",
    NeurIPS 2024.
"""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from datagen.equations.stored import constants, main_field
from datagen.errors import InputError
from datagen.geometry import Grid
from datagen.store.reader import Dataset
from datagen.store.writer import atomic_path

__all__ = ["export_well"]


def export_well(data: Dataset, out: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write a data set in the layout of The Well, one trajectory in memory at a time.

    Burgers' pairs become trajectories of two frames, 0 and the final time.

    Args:
        data: an open data set on a regular grid.
        out: the file to write.
        progress: called with (trajectories written, trajectories).

    Raises:
        InputError: the data have no time, or the folder cannot be written to.
    """
    name = main_field(data)
    pairs = "time" not in data.fields[name]
    if data.times is None or (pairs and "u0" not in data.fields):
        raise InputError(f"{data.path} holds single states, The Well's layout trajectories")
    times = np.concatenate([[0.0], data.times]) if pairs else data.times
    axes = [axis for axis in data.fields[name] if axis not in ("sample", "time")]
    numbers = {each.name: each.value for each in constants(data)}
    with atomic_path(out) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            dataset_name=data.equation,
            grid_type="cartesian",
            n_spatial_dims=len(axes),
            n_trajectories=data.samples,
            simulation_parameters=list(numbers),
            **numbers,
        )
        _dimensions(file, data, axes, times)
        _boundaries(file, data)
        _scalars(file, numbers)
        fields = _fields(file, [name, *(["source"] if "source" in data.fields else [])], [], [])
        shape = (data.samples, len(times), *data.grid)
        stored = fields.create_dataset(name, shape, data.dtype(name), chunks=(1, 1, *data.grid))
        stored.attrs.update(dim_varying=[True] * len(axes), sample_varying=True, time_varying=True)
        for index in range(data.samples):
            values = data.read(name, [index])[0]
            stored[index] = np.stack([data.read("u0", [index])[0], values]) if pairs else values
            if progress:
                progress(index + 1, data.samples)
        if "source" in data.fields:
            source = fields.create_dataset("source", data=data.read("source"))
            source.attrs.update(dim_varying=[True] * len(axes), sample_varying=False, time_varying=False)


def _dimensions(file: h5py.File, data: Dataset, axes: list[str], times: np.ndarray) -> None:
    group = file.create_group("dimensions")
    group.attrs["spatial_dims"] = axes
    group.create_dataset("time", data=times.astype(np.float32)).attrs["sample_varying"] = False
    for axis in axes:
        values = group.create_dataset(axis, data=data.coordinates[axis].astype(np.float32))
        values.attrs.update(sample_varying=False, time_varying=False)


def _boundaries(file: h5py.File, data: Dataset) -> None:
    """A group for each axis whose two ends are alike, or else for each of its ends."""
    assert isinstance(data.geometry, Grid)
    group = file.create_group("boundary_conditions")
    for axis in data.geometry.axes:
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


def _scalars(file: h5py.File, constants: dict[str, float]) -> None:
    group = file.create_group("scalars")
    group.attrs["field_names"] = list(constants)
    for name, value in constants.items():
        group.create_dataset(name, data=np.float32(value)).attrs.update(sample_varying=False, time_varying=False)


def _fields(file: h5py.File, *names_by_rank: list[str]) -> h5py.Group:
    for rank, names in enumerate(names_by_rank):
        group = file.create_group(f"t{rank}_fields")
        group.attrs["field_names"] = np.array(names, dtype=h5py.string_dtype())
    scalars = file["t0_fields"]
    assert isinstance(scalars, h5py.Group)
    return scalars
