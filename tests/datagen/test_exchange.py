"""Data that come from others and go to others: values, axes and times arrive where they belong."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.errors import InputError
from datagen.formats.mat import MatDescription, export_mat, import_mat
from datagen.formats.well import export_well
from datagen.generation import generate as making
from datagen.generation.machine import Machine
from datagen.geometry import Grid
from datagen.store import open_dataset
from datagen.store.verify import verify

FLOW = NavierStokes(samples=3, resolution=16, solve_resolution=32, frames=4)


def _make(recipe: making.Recipe, path: Path) -> Path:
    machine = Machine("cpu", "cpu")
    work = making.plan(recipe, path, "cpu")
    making.generate(work, recipe, machine)
    making.join(work)
    return path


def _published(samples: int = 5) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0).standard_normal((samples, 8, 8, 6)).astype(np.float32)
    return {"a": numbers[..., 0] + 1, "u": numbers, "t": np.arange(1.0, 7.0)[None]}


def _write_version_5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    savemat(path, arrays)


def _write_version_73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")


@pytest.mark.parametrize("write", [_write_version_5, _write_version_73])
def test_a_published_flow_is_taken_over(tmp_path: Path, write) -> None:
    arrays = _published()
    write(tmp_path / "ns.mat", arrays)
    import_mat(tmp_path / "ns.mat", tmp_path / "ns.h5", MatDescription("navier-stokes", constant=1e-3))
    assert verify(tmp_path / "ns.h5").samples == 5
    with open_dataset(tmp_path / "ns.h5") as data:
        assert (data.equation, data.attributes["nu"]) == ("navier-stokes", 1e-3)
        assert isinstance(data.geometry, Grid)
        assert data.geometry.lengths == (1.0, 1.0)
        np.testing.assert_array_equal(data.read("vorticity"), np.moveaxis(arrays["u"], -1, 1))
        np.testing.assert_array_equal(data.read("initial_vorticity"), arrays["a"])
        assert data.times is not None
        assert data.times.tolist() == [1, 2, 3, 4, 5, 6]
        assert data.parameter("sample_status").tolist() == [1] * 5


@pytest.mark.parametrize("write", [_write_version_5, _write_version_73])
def test_published_burgers_pairs_are_taken_over(tmp_path: Path, write) -> None:
    a, u = np.random.default_rng(1).standard_normal((2, 4, 32)).astype(np.float32)
    write(tmp_path / "b.mat", {"a": a, "u": u})
    import_mat(tmp_path / "b.mat", tmp_path / "b.h5", MatDescription("burgers", constant=0.1, length=2 * np.pi))
    with open_dataset(tmp_path / "b.h5") as data:
        assert data.fields == {"u": ("sample", "x"), "u0": ("sample", "x")}
        np.testing.assert_array_equal(data.read("u0"), a)
        np.testing.assert_array_equal(data.read("u"), u)
        assert data.coordinates["x"][1] == 2 * np.pi / 32


def test_export_to_mat_and_back_is_the_same(tmp_path: Path) -> None:
    path = _make(FLOW, tmp_path / "ns.h5")
    with open_dataset(path) as data:
        export_mat(data, tmp_path / "ns.mat")
        truth = data.read("vorticity")
    arrays = loadmat(tmp_path / "ns.mat")
    np.testing.assert_array_equal(arrays["u"], np.moveaxis(truth, 1, -1))
    assert arrays["t"].ravel().tolist() == [1, 2, 3, 4]
    # The initial field is not stored; it is drawn again from the seed, on the grid that was solved on.
    np.testing.assert_array_equal(arrays["a"], FLOW.initial(range(3))[:, ::2, ::2].astype(np.float32))
    import_mat(tmp_path / "ns.mat", tmp_path / "back.h5", MatDescription())
    with open_dataset(tmp_path / "back.h5") as data:
        np.testing.assert_array_equal(data.read("vorticity"), truth)


@pytest.mark.parametrize("frames", [1, 3, 32])
def test_burgers_through_mat_and_back_is_the_same(tmp_path: Path, frames: int) -> None:
    recipe = Burgers(samples=3, resolution=32, solve_resolution=128, final_time=0.5, frames=frames)
    with open_dataset(_make(recipe, tmp_path / "b.h5")) as data:
        export_mat(data, tmp_path / "b.mat")
        truth = {name: data.read(name) for name in ("u0", "u")}
        dims, times = data.fields["u"], data.times
    import_mat(tmp_path / "b.mat", tmp_path / "back.h5", MatDescription(constant=0.1, length=2 * np.pi))
    with open_dataset(tmp_path / "back.h5") as data:
        assert (data.equation, data.fields["u"]) == ("burgers", dims)
        np.testing.assert_array_equal(data.times, times)
        for name, values in truth.items():
            np.testing.assert_array_equal(data.read(name), values)


def test_burgers_pairs_become_trajectories_of_two_frames(tmp_path: Path) -> None:
    path = _make(Burgers(samples=3, resolution=32, solve_resolution=128), tmp_path / "b.h5")
    with open_dataset(path) as data:
        export_well(data, tmp_path / "b.hdf5")
        start, end = data.read("u0"), data.read("u")
    with h5py.File(tmp_path / "b.hdf5") as file:
        stored = np.asarray(file["t0_fields/u"])
        np.testing.assert_array_equal(stored, np.stack([start, end], axis=1))
        assert np.asarray(file["dimensions/time"]).tolist() == [0, 1]
        assert float(np.asarray(file["scalars/nu"])) == pytest.approx(0.1)


def test_the_wells_layout_names_every_field_dimension_and_boundary(tmp_path: Path) -> None:
    path = _make(Heat(samples=2, resolution=16, frames=3), tmp_path / "heat.h5")
    with open_dataset(path) as data:
        export_well(data, tmp_path / "heat.hdf5")
        truth, source = data.read("temperature"), data.read("source")
    with h5py.File(tmp_path / "heat.hdf5") as file:
        assert file.attrs["n_trajectories"] == 2
        assert file.attrs["n_spatial_dims"] == 2
        assert list(file["dimensions"].attrs["spatial_dims"]) == ["x", "y"]
        for rank in range(3):
            group = file[f"t{rank}_fields"]
            assert isinstance(group, h5py.Group)
            assert sorted(group) == sorted(group.attrs["field_names"])
        for axis in "xy":
            assert file[f"boundary_conditions/{axis}_periodic"].attrs["bc_type"] == "PERIODIC"
        np.testing.assert_array_equal(np.asarray(file["t0_fields/temperature"]), truth)
        np.testing.assert_array_equal(np.asarray(file["t0_fields/source"]), source)
        assert not file["t0_fields/source"].attrs["time_varying"]


@pytest.mark.parametrize("write", [_write_version_5, _write_version_73])
@pytest.mark.parametrize("without", ["a", "t", "nothing"])
def test_a_flow_of_one_frame_has_lost_its_last_axis(tmp_path: Path, write, without: str) -> None:
    whole = _published()
    arrays = {"a": whole["a"], "u": whole["u"][..., 0], "t": np.array([[3.0]])}
    write(tmp_path / "ns.mat", {name: array for name, array in arrays.items() if name != without})
    import_mat(tmp_path / "ns.mat", tmp_path / "ns.h5", MatDescription("navier-stokes"))
    with open_dataset(tmp_path / "ns.h5") as data:
        np.testing.assert_array_equal(data.read("vorticity")[:, 0], arrays["u"])
        assert data.times is not None
        assert data.times.tolist() == [1.0 if without == "t" else 3.0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 8))}, "has no array 'u'"),
        ({"u": np.zeros((2, 8, 8))}, r"u has the shape \(2, 8, 8\)"),
        ({"u": np.zeros((2, 8, 4, 3))}, "8 × 4 points .expected: a square"),
        (
            {"u": np.zeros((2, 8, 8, 3)), "t": np.arange(4.0)},
            "t has 4 values that do not fit the 3 frames",
        ),
        ({"u": np.zeros((2, 8, 8, 3)), "a": np.zeros((3, 8, 8))}, "a has the shape"),
        ({"u": np.full((2, 8, 8, 3), np.nan)}, "vorticity of samples 0, 1 holds values that are not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    savemat(tmp_path / "x.mat", arrays)
    with pytest.raises(InputError, match=message):
        import_mat(tmp_path / "x.mat", tmp_path / "x.h5", MatDescription("navier-stokes"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["x.mat"]


def test_damaged_mat_files_are_refused_in_one_line(tmp_path: Path) -> None:
    arrays = {name: array for name, array in _published(3).items() if name != "t"}
    for number, write in enumerate((_write_version_5, _write_version_73)):
        path = tmp_path / f"{number}.mat"
        write(path, arrays)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(InputError) as caught:
            import_mat(path, tmp_path / "x.h5", MatDescription("navier-stokes"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.h5").exists()


def test_our_own_files_are_no_mat_files(tmp_path: Path) -> None:
    path = _make(Burgers(samples=4, resolution=32, solve_resolution=64), tmp_path / "b.h5")
    with pytest.raises(InputError, match=r"is no \.mat file: a dataset of kitipde needs no import"):
        import_mat(path, tmp_path / "x.h5", MatDescription())


def test_a_flow_of_one_instant_is_at_the_time_that_is_given(tmp_path: Path) -> None:
    whole = _published()
    savemat(tmp_path / "ns.mat", {"a": whole["a"], "u": whole["u"][..., 0]})
    import_mat(tmp_path / "ns.mat", tmp_path / "ns.h5", MatDescription("navier-stokes", final_time=10.0))
    with open_dataset(tmp_path / "ns.h5") as data:
        assert data.times is not None
        assert data.times.tolist() == [10.0]


def test_wrong_descriptions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="invalid equation"):
        MatDescription(equation="Burgers' equation")
    savemat(tmp_path / "b.mat", {"u": np.zeros((2, 8))})
    with pytest.raises(InputError, match="not one of heat"):
        import_mat(tmp_path / "b.mat", tmp_path / "b.h5", MatDescription(equation="heat"))


def test_export_of_what_the_format_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _make(replace(FLOW, samples=1), tmp_path / "ns.h5")
    monkeypatch.setattr("datagen.formats.mat._LARGEST", 1000)
    with open_dataset(path) as data, pytest.raises(InputError, match="use `kitipde export well`"):
        export_mat(data, tmp_path / "ns.mat")
