"""Own arrays as a dataset: what goes in comes out, and what does not fit is told."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from datagen.errors import InputError
from datagen.formats.netcdf import ArrayDescription, import_netcdf, save_dataset
from datagen.geometry import Grid
from datagen.store import open_dataset
from datagen.store.verify import verify
from kitipde.config import DataConfig
from kitipde.problem.problem import problem_of
from kitipde.problem.windows import load_windows

DESCRIPTION = ArrayDescription("advection", constants={"speed": 2.0})


def waves(points: int = 16, samples: int = 6) -> xarray.Dataset:
    """Translations of random waves on [0, 2)."""
    x = 2 * np.arange(points) / points
    shift = np.random.default_rng(0).uniform(size=(samples, 1))
    fields = {name: (("sample", "x"), np.sin(np.pi * (x - shift - t))) for name, t in (("u0", 0), ("u", 1))}
    return xarray.Dataset({**fields, "shift": ("sample", shift[:, 0])}, {"x": x})


def flows(points: int = 8, frames: int = 3) -> xarray.Dataset:
    """Frames on the unit square, the axes in an order that is not ours."""
    places = np.arange(points) / points
    values = np.random.default_rng(1).standard_normal((frames, points, points, 4))
    return xarray.Dataset(
        {"w": (("time", "y", "x", "sample"), values), "mask": (("y", "x"), np.outer(places, places**2))},
        {"time": np.arange(1.0, frames + 1), "x": places, "y": places},
    )


def test_fields_parameters_length_and_constants_come_back(tmp_path: Path) -> None:
    source, out = waves(), tmp_path / "waves.h5"
    save_dataset(source, out, DESCRIPTION)
    with open_dataset(out) as data:
        assert (data.equation, data.grid, data.samples) == ("advection", (16,), 6)
        assert data.geometry.axes[0].length == pytest.approx(2.0, rel=1e-12)
        assert data.attributes["speed"] == 2.0
        np.testing.assert_array_equal(data.read("u"), source["u"].to_numpy().astype("float32"))
        np.testing.assert_array_equal(data.parameter("shift"), source["shift"])
    assert verify(out).samples == 6


def test_axes_are_put_in_order_whatever_order_they_have(tmp_path: Path) -> None:
    source = flows()
    save_dataset(source, tmp_path / "flows.h5", DESCRIPTION)
    with open_dataset(tmp_path / "flows.h5") as data:
        assert data.fields["w"] == ("sample", "time", "x", "y")
        expected = source["w"].transpose("sample", "time", "x", "y").to_numpy().astype("float32")
        np.testing.assert_array_equal(data.read("w"), expected)
        np.testing.assert_array_equal(data.read("mask"), source["mask"].transpose("x", "y").astype("float32"))
        assert data.times is not None
        assert data.times.tolist() == [1.0, 2.0, 3.0]


def test_what_xarray_reads_of_a_data_set_of_ours_can_be_saved_again(tmp_path: Path) -> None:
    save_dataset(waves(), tmp_path / "a.h5", DESCRIPTION)
    with xarray.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as source:
        save_dataset(source.isel(sample=slice(3)), tmp_path / "b.h5", DESCRIPTION)
    with open_dataset(tmp_path / "b.h5") as data:
        assert data.samples == 3


def test_lazy_arrays_are_read_piece_by_piece(tmp_path: Path) -> None:
    save_dataset(waves().chunk({"sample": 2}), tmp_path / "lazy.h5", DESCRIPTION)
    save_dataset(waves(), tmp_path / "eager.h5", DESCRIPTION)
    with open_dataset(tmp_path / "lazy.h5") as lazy, open_dataset(tmp_path / "eager.h5") as eager:
        assert lazy.identity == eager.identity


def test_the_command_renames_and_chooses(kitipde, tmp_path: Path) -> None:
    waves().rename(sample="batch", x="lon", u="later").to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")
    rename = [word for pair in ("batch=sample", "lon=x", "later=u") for word in ("--rename", pair)]
    words = ["--equation", "advection", "--constant", "speed=2", "--variable", "u0", "--variable", "u", "--length", "2"]
    result = kitipde("import", "netcdf", tmp_path / "mine.nc", "--out", tmp_path / "mine.h5", *rename, *words)
    assert result.code == 0, result.err
    with open_dataset(tmp_path / "mine.h5") as data:
        assert set(data.fields) == {"u0", "u"}


def with_end_point() -> xarray.Dataset:
    return waves().assign_coords(x=np.linspace(0, 2, 16))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (waves().isel(sample=0), "sample and x are needed"),
        (waves().drop_vars("x"), "length of the domain is not known"),
        (waves().assign_coords(x=np.arange(16.0) ** 2), "not equally spaced"),
        (waves().rename(u="checksums", shift="seeds").assign(u=(("sample", "k"), np.zeros((6, 2)))), "variable 'u'"),
        (waves().assign(u=waves()["u"] * 1j), "complex"),
        (waves().assign(u=waves()["u"] * np.nan), "not finite"),
        (waves().assign(f=("x", np.full(16, np.nan))), "f holds values that are not finite"),
        (waves()[["shift"]].assign_coords(x=np.arange(4.0)), "no variable is a field"),
        (flows().drop_vars("time"), "no instants"),
        (flows().assign_coords(time=[1.0, 3.0, 2.0]), "time is not rising"),
        (waves().rename(u="cells"), "format uses itself"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(source, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        save_dataset(source, tmp_path / "no.h5", DESCRIPTION)
    assert not list(tmp_path.iterdir())


def test_windows_keep_the_origin_and_refuse_a_field_that_all_samples_share(tmp_path: Path) -> None:
    source = waves().assign(f=("x", np.ones(16)))
    save_dataset(source.assign_coords(x=source["x"] - 1), tmp_path / "d.h5", DESCRIPTION)
    pair, shared = (DataConfig(inputs=(name,), targets=("u",), input_frames=1, output_frames=1) for name in ("u0", "f"))
    with open_dataset(tmp_path / "d.h5") as data:
        windows = load_windows(data, pair, range(2), (8,))
        assert isinstance(windows.geometry, Grid)
        np.testing.assert_allclose(windows.geometry.axes[0].coordinates, np.arange(8) / 4 - 1)
        with pytest.raises(InputError, match=r"data\.inputs=f: all samples of .* share this field"):
            problem_of(shared, data)


def test_a_grid_with_its_end_point_is_told_from_the_length(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out the end point"):
        save_dataset(with_end_point(), tmp_path / "no.h5", ArrayDescription("advection", length=2.0))


@pytest.mark.parametrize("name", ["", "Two Words", "../up"])
def test_an_equation_has_a_simple_name(name: str) -> None:
    with pytest.raises(InputError, match="invalid equation"):
        ArrayDescription(name)


def test_a_file_that_is_not_netcdf_is_refused_in_a_line(kitipde, tmp_path: Path) -> None:
    savemat(tmp_path / "e.mat", {"u": np.zeros((3, 8))})
    (tmp_path / "text.nc").write_text("no data")
    (tmp_path / "cut.nc").write_bytes(b"CDF\x01")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["u"] = np.zeros((3, 8))
    lines = {
        "text.nc": "text.nc cannot be read as NetCDF: it is of another kind (allowed: NetCDF-3, NetCDF-4, HDF5 with "
        "dimension scales; `kitipde import mat` is for .mat files)\n",
        "e.mat": "e.mat cannot be read as NetCDF: it is of another kind",
        "cut.nc": "cut.nc cannot be read as NetCDF: ",
        "plain.h5": "kitipde: the dimensions sample and x are needed (found: u (phony_dim_0 of 3, phony_dim_1 of 8))\n",
        "none.nc": "no such file: ",
        ".": f"kitipde: {tmp_path} is a folder (allowed: a file)\n",
    }
    for name, line in lines.items():
        result = kitipde("import", "netcdf", tmp_path / name, "--out", tmp_path / "x.h5", "--equation", "advection")
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert line in result.err
    assert not (tmp_path / "x.h5").exists()


def test_shared_fields_and_fields_without_time_are_drawn(kitipde, tmp_path: Path) -> None:
    line = waves()
    line["a"] = ("x", np.linspace(0, 1, 16))
    save_dataset(line, tmp_path / "line.h5", ArrayDescription("burgers"))
    plane = flows(frames=1).isel(time=0, drop=True)
    save_dataset(plane, tmp_path / "plane.h5", DESCRIPTION)
    for name in ("line", "plane"):
        outcome = kitipde("info", tmp_path / f"{name}.h5", "--plot", tmp_path / f"{name}.png")
        assert outcome.code == 0, outcome.err
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    renamed = line.rename(u="velocity")
    save_dataset(renamed, tmp_path / "renamed.h5", ArrayDescription("burgers"))
    outcome = kitipde("export", "well", tmp_path / "renamed.h5", "--out", tmp_path / "well.h5")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "holds single states" in outcome.err


def test_a_data_set_of_ours_needs_no_import(tmp_path: Path) -> None:
    save_dataset(waves(), tmp_path / "a.h5", DESCRIPTION)
    with pytest.raises(InputError, match="already"):
        import_netcdf(tmp_path / "a.h5", tmp_path / "b.h5", DESCRIPTION)


def pdebench(path: Path, samples: int = 5, frames: int = 4, points: int = 8, instants: int = 4) -> np.ndarray:
    """The layout of PDEBench: no dimension scales, coordinates that are arrays like others."""
    values = np.random.default_rng(0).standard_normal((samples, frames, points)).astype("float32")
    with h5py.File(path, "w") as file:
        file["tensor"] = values
        file["x-coordinate"] = ((np.arange(points) + 0.5) / points).astype("float32")
        file["grid"] = np.zeros((points, 3))
        file["t-coordinate"] = (0.5 * np.arange(instants)).astype("float32")
    return values


def phony(path: Path) -> dict[str, str]:
    """What xarray calls the axes of `tensor`, by what they are."""
    with xarray.open_dataset(path, engine="h5netcdf", phony_dims="sort") as source:
        return dict(zip(("sample", "time", "x"), map(str, source["tensor"].dims), strict=True))


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.permutations([4, 6, 9]), extra=st.sampled_from([0, 1]))
def test_arrays_become_coordinates_by_their_new_name(tmp_path: Path, sizes: list[int], extra: int) -> None:
    path, out = tmp_path / "p.hdf5", tmp_path / "p.h5"
    samples, frames, points = sizes
    values = pdebench(path, samples, frames, points, frames + extra)
    names = {old: new for new, old in phony(path).items()} | {"x-coordinate": "x", "t-coordinate": "time"}
    told: list[str] = []
    import_netcdf(path, out, ArrayDescription("advection"), names, ("tensor",), remark=told.append)
    with open_dataset(out) as data:
        np.testing.assert_array_equal(data.read("tensor"), values)
        assert data.geometry.axes[0].length == pytest.approx(1.0, rel=1e-6)
        assert data.coordinates["x"][0] == pytest.approx(0.5 / points)
        assert data.times is not None
        np.testing.assert_allclose(data.times, 0.5 * np.arange(frames))
    said = f"t-coordinate has {frames + 1} instants for {frames} frames: the first {frames} are taken"
    assert (said in told) == bool(extra)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"x-coordinate": "time"}, "x-coordinate has 8 values, and time has 4 points"),
        ({"x-coordinate": "y"}, "cannot be the coordinate y, since no dimension has this name"),
        ({"x-coordinate": "sample"}, "only a dimension can be the samples"),
        ({"grid": "x"}, "grid has 2 axes, and the coordinate x has one"),
        ({"x-coordinate": "tensor"}, "the new name 'tensor' conflicts"),
    ],
)
def test_arrays_that_are_no_coordinates_are_named(tmp_path: Path, names: dict[str, str], told: str) -> None:
    path = tmp_path / "p.hdf5"
    pdebench(path)
    dims = {old: new for new, old in phony(path).items()}
    with pytest.raises(InputError, match=told):
        import_netcdf(path, tmp_path / "p.h5", ArrayDescription("advection"), dims | names)
    assert not (tmp_path / "p.h5").exists()


@pytest.mark.parametrize("name", ["seed", "checksum", "sample_status"])
def test_variables_with_names_of_the_format_are_refused_and_never_dropped(kitipde, tmp_path: Path, name: str) -> None:
    waves().rename(shift=name).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    words = ("import", "netcdf", tmp_path / "a.nc", "--out", tmp_path / "a.h5", "--equation", "advection")
    refused = kitipde(*words)
    assert refused.code == 2
    assert f"variable '{name}' has a name that the format uses itself: rename it (--rename {name}=OTHER)" in refused.err
    assert kitipde(*words, "--rename", f"{name}=mine").code == 0
    with open_dataset(tmp_path / "a.h5") as data:
        np.testing.assert_array_equal(data.parameter("mine"), waves()["shift"])
    assert kitipde(*words, "--overwrite", "--variable", "u").code == 0
