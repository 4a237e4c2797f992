"""The Well's layout, read as its own reader reads it: channels, boundaries, scalars."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

from datagen.errors import InputError
from datagen.formats.netcdf import ArrayDescription, save_dataset
from datagen.formats.well import export_well
from datagen.store import open_dataset
from tests import datasets


@pytest.fixture
def rectangle(tmp_path: Path) -> tuple[Path, Any]:
    path = datasets.rectangle_of_four_fields(tmp_path / "d.h5")
    with open_dataset(path) as data:
        export_well(data, tmp_path / "well.hdf5")
    return path, h5py.File(tmp_path / "well.hdf5")


def channels(file: Any, index: int) -> dict[str, np.ndarray]:
    """[time, *axes] of each channel of a trajectory, by the rules of the published reader."""
    axes = list(file["dimensions"].attrs["spatial_dims"])
    frames, shape = file["dimensions/time"].shape[-1], [file["dimensions"][axis].shape[-1] for axis in axes]
    result = {}
    for rank in (0, 1):
        group = file[f"t{rank}_fields"]
        for name in group.attrs["field_names"]:
            values, flags = group[name], group[name].attrs
            array = values[index] if flags["sample_varying"] else values[()]
            array = array if flags["time_varying"] else array[None]
            assert flags["dim_varying"].tolist() == [True] * len(axes)
            array = np.broadcast_to(array, (frames, *shape, *([len(axes)] * rank)))
            if rank:
                result |= {f"{name}_{axis}": array[..., place] for place, axis in enumerate(axes)}
            else:
                result[name] = array
    return result


def boundaries(file: Any) -> dict[str, list[str]]:
    """What is at the lower and the upper end of each axis."""
    axes = list(file["dimensions"].attrs["spatial_dims"])
    result = {axis: ["", ""] for axis in axes}
    for group in file["boundary_conditions"].values():
        (axis,) = group.attrs["associated_dims"]
        mask = group["mask"][()]
        for end in (0, -1):
            if mask[end]:
                result[axis][end] = group.attrs["bc_type"]
    return result


def test_fields_vectors_static_fields_and_parameters_arrive(rectangle: tuple[Path, Any]) -> None:
    path, file = rectangle
    with open_dataset(path) as data, file:
        assert list(file["t0_fields"].attrs["field_names"]) == ["density", "mask_height", "pressure"]
        assert list(file["t1_fields"].attrs["field_names"]) == ["velocity"]
        read = channels(file, 3)
        assert set(read) == set(data.fields)
        for name in data.fields:
            expected = data.read(name, [3])[0]
            np.testing.assert_array_equal(read[name], np.broadcast_to(expected, (8, 12, 16)), err_msg=name)
        assert not file["t0_fields/mask_height"].attrs["time_varying"]
        assert list(file["scalars"].attrs["field_names"]) == ["viscosity"]
        assert file["scalars/viscosity"].attrs["sample_varying"]
        np.testing.assert_allclose(file["scalars/viscosity"], data.parameter("viscosity"), rtol=1e-6)
        assert boundaries(file) == {"x": ["PERIODIC"] * 2, "y": ["WALL"] * 2}


def test_the_ends_of_an_axis_may_differ_and_bounded_axes_are_open_or_walls(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 5, 4, 6))
    source = xarray.Dataset(
        {"p": (("sample", "time", "x", "y", "z"), values)},
        {"time": [0.0, 1.0, 3.0], "x": np.arange(5.0) ** 2, "y": np.arange(4.0), "z": np.arange(6.0)},
    )
    save_dataset(source, tmp_path / "d.h5", ArrayDescription("own", boundary={"x": "open", "y": "wall"}))
    with open_dataset(tmp_path / "d.h5") as data:
        export_well(data, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert boundaries(file) == {"x": ["OPEN"] * 2, "y": ["WALL"] * 2, "z": ["PERIODIC"] * 2}
        np.testing.assert_array_equal(file["dimensions/x"], np.arange(5.0) ** 2)
        np.testing.assert_array_equal(channels(file, 1)["p"], values[1].astype("float32"))


def test_components_that_make_no_whole_vector_stay_scalars(tmp_path: Path) -> None:
    fields = {
        name: (("sample", "time", "x", "y"), np.random.default_rng(1).standard_normal((2, 2, 4, 6))) for name in "uvw"
    }
    source = xarray.Dataset(fields, {"time": [0.0, 1.0], "x": np.arange(4.0), "y": np.arange(6.0)})
    for name in "uvw":
        source[name].attrs["vector"] = "velocity"
    save_dataset(source, tmp_path / "d.h5", ArrayDescription("own", boundary="wall"))
    with open_dataset(tmp_path / "d.h5") as data:
        export_well(data, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert set(channels(file, 0)) == {"u", "v", "w"}


def test_single_states_are_no_trajectories(tmp_path: Path) -> None:
    with (
        open_dataset(datasets.bounded_line(tmp_path / "d.h5")) as data,
        pytest.raises(InputError, match="single states"),
    ):
        export_well(data, tmp_path / "w.h5")
