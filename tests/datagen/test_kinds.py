"""Arrays of every kind of grid as datasets: lengths, ends, roles, vectors, default problems, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import xarray

from datagen.errors import InputError
from datagen.formats.netcdf import ArrayDescription, save_dataset
from datagen.geometry import Grid
from datagen.store import open_dataset
from datagen.store.layout import DefaultProblem
from tests import datasets


def arrays(shape: tuple[int, ...], places: bool = True, **more: tuple[str, ...]) -> xarray.Dataset:
    """Random `u` of 3 samples and 4 instants, and other variables of the dimensions that are named."""
    space = "xyz"[: len(shape)]
    sizes = {"sample": 3, "time": 4, **dict(zip(space, shape, strict=True))}
    random = np.random.default_rng(0)
    variables = {
        name: (dims, random.standard_normal([sizes[one] for one in dims]))
        for name, dims in {"u": ("sample", "time", *space), **more}.items()
    }
    coordinates = {"time": np.arange(4.0)} | {axis: np.arange(float(sizes[axis])) for axis in space if places}
    return xarray.Dataset(variables, coordinates)


def test_the_command_takes_a_rectangle_of_four_fields(kitipde, tmp_path: Path) -> None:
    x, y, time = np.arange(64) / 32, np.linspace(0, 1, 128), np.arange(5.0)
    values = np.random.default_rng(0).standard_normal((4, 3, 5, 64, 128))
    fields = {name: (("sample", "time", "x", "y"), values[row]) for row, name in enumerate(("p", "rho", "u", "v"))}
    numbers = {"height": (("sample", "x", "y"), values[0, :, 0]), "nu": ("sample", [1.0, 2.0, 3.0])}
    source = xarray.Dataset({**fields, **numbers}, {"time": time, "x": ("x", x, {"units": "m"}), "y": y})
    for name in "uv":
        source[name].attrs["vector"] = "velocity"
    source.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    words = ("import", "netcdf", tmp_path / "a.nc", "--out", tmp_path / "a.h5", "--equation", "flow", "--boundary")
    named = ("--inputs", "p,rho,u,v", "--targets", "u,v", "--static", "height", "--parameters", "nu")
    done = kitipde(*words, "x=open,y=wall", *named)
    assert (done.code, "periodic" in done.err) == (0, False), done.err
    with open_dataset(tmp_path / "a.h5") as data:
        assert isinstance(data.geometry, Grid)
        assert (data.grid, [axis.boundary[0] for axis in data.geometry.axes]) == ((64, 128), ["open", "wall"])
        assert data.geometry.axes[0].units == "m"
        assert (data.role("height"), data.role("nu"), data.vector("v")) == ("static", "parameter", "velocity")
        assert data.problem == DefaultProblem(("p", "rho", "u", "v"), ("u", "v"), ("height",), ("nu",), 1, 4)
        np.testing.assert_array_equal(data.read("rho"), values[1].astype("float32"))
        assert data.read("rho", resolution=(22, 128)).shape == (3, 5, 22, 128)


def test_a_default_is_said_and_ends_can_be_given(kitipde, tmp_path: Path) -> None:
    values = np.sin(2 * np.pi * (np.arange(8) + 0.5) / 8) * np.arange(1, 4)[:, None]
    xarray.Dataset({"u": (("sample", "x"), values)}, {"x": (np.arange(8) + 0.5) / 4}).to_netcdf(tmp_path / "a.nc")
    words = ("import", "netcdf", tmp_path / "a.nc", "--out", tmp_path / "a.h5", "--overwrite", "--equation", "own")
    assert "all axes are taken as periodic (--boundary" in kitipde(*words).err
    assert kitipde(*words, "--boundary", "wall", "--extent", "x=0:2").code == 0
    with open_dataset(tmp_path / "a.h5") as data:
        assert isinstance(data.geometry, Grid)
        (axis,) = data.geometry.axes
        assert (axis.extent, axis.has_ends, axis.coarsened(4).coordinates.tolist()) == (
            (0, 2),
            (False, False),
            [0.25, 0.75, 1.25, 1.75],
        )
    for option, told in (("x=0", "names no two ends"), ("y=0:1", "unknown axis 'y'"), ("x=0:one", "extent of x")):
        refused = kitipde(*words, "--boundary", "wall", "--extent", option)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert told in refused.err


def test_bounded_axes_keep_their_ends_and_may_be_uneven(tmp_path: Path) -> None:
    source = arrays((5, 6, 7)).assign_coords(y=np.arange(6.0) ** 2)
    save_dataset(source, tmp_path / "a.h5", ArrayDescription("own", boundary={"x": "wall", "y": "wall", "z": "open"}))
    with open_dataset(tmp_path / "a.h5") as data:
        assert isinstance(data.geometry, Grid)
        assert data.geometry.lengths == (4, 25, 6)
        assert [axis.uniform for axis in data.geometry.axes] == [True, False, True]
        assert all(axis.has_ends == (True, True) for axis in data.geometry.axes)
        assert not data.seams
    flat = arrays((5,), places=False)
    save_dataset(flat, tmp_path / "b.h5", ArrayDescription("own", length=2.0, boundary="wall"))
    with open_dataset(tmp_path / "b.h5") as data:
        np.testing.assert_array_equal(data.coordinates["x"], [0, 0.5, 1, 1.5, 2])


def test_axes_of_a_period_have_lengths_of_their_own(tmp_path: Path) -> None:
    source = arrays((8, 6)).assign_coords(y=np.arange(6.0) / 3)
    save_dataset(source, tmp_path / "a.h5", ArrayDescription("own"))
    with open_dataset(tmp_path / "a.h5") as data:
        assert isinstance(data.geometry, Grid)
        assert data.geometry.lengths == pytest.approx((8, 2))


def test_a_field_without_time_is_static_where_others_have_it_or_where_it_is_said(tmp_path: Path) -> None:
    own = {"height": ("sample", "x"), "hill": ("x",), "nu": ("sample",)}
    save_dataset(arrays((5,), True, **own), tmp_path / "a.h5", ArrayDescription("own", boundary="wall"))
    with open_dataset(tmp_path / "a.h5") as data:
        assert {name: data.role(name) for name in (*own, "u")} == {
            "height": "static",
            "hill": "static",
            "nu": "parameter",
            "u": "field",
        }
        assert data.problem is None
    pairs = xarray.Dataset({name: (("sample", "x"), np.ones((3, 5)) + np.arange(5)) for name in ("a", "b", "c")})
    told = ArrayDescription("own", length=1.0, boundary="wall", inputs=("a",), targets=("c",), static=("b",))
    save_dataset(pairs, tmp_path / "b.h5", told)
    with open_dataset(tmp_path / "b.h5") as data:
        assert [data.role(name) for name in ("a", "b", "c")] == ["field", "static", "field"]
        assert data.problem == DefaultProblem(("a",), ("c",), ("b",))


@pytest.mark.parametrize(
    ("description", "told"),
    [
        (ArrayDescription("own", boundary={"q": "wall"}), "unknown axis 'q'"),
        (ArrayDescription("own", boundary="walls"), "unknown boundary 'walls'"),  # pyright: ignore[reportArgumentType]
        (ArrayDescription("own", extent={"x": (1.0, 9.0)}, boundary="wall"), "outside its extent"),
        (ArrayDescription("own", boundary="wall", inputs=("u",)), "needs its inputs and its targets"),
        (ArrayDescription("own", boundary="wall", inputs=("u",), targets=("w",)), "unknown target 'w'"),
        (
            ArrayDescription("own", boundary="wall", inputs=("u",), targets=("u",), parameters=("height",)),
            "height cannot be a parameter",
        ),
        (
            ArrayDescription("own", boundary="wall", inputs=("u",), targets=("u",), static=("nu",)),
            "nu cannot be a static field",
        ),
        (ArrayDescription("own", boundary="wall", inputs=("nu",), targets=("u",)), "nu cannot be an input"),
    ],
)
def test_what_does_not_fit_is_named(description: ArrayDescription, told: str, tmp_path: Path) -> None:
    source = arrays((5,), True, height=("sample", "x"), nu=("sample",))
    with pytest.raises(InputError, match=told):
        save_dataset(source, tmp_path / "a.h5", description)
    assert not list(tmp_path.iterdir())


def test_a_dataset_is_saved_again_with_its_vectors(tmp_path: Path) -> None:
    path = datasets.rectangle_of_four_fields(tmp_path / "a.h5")
    with xarray.open_dataset(path, engine="h5netcdf") as source:
        save_dataset(source, tmp_path / "b.h5", ArrayDescription("channel-waves", boundary={"y": "wall"}))
    with open_dataset(path) as one, open_dataset(tmp_path / "b.h5") as other:
        assert one.identity == other.identity
        assert other.vector("velocity_x") == "velocity"
