""".mat files and HDF5 files of the same names: axes by whoever wrote them, equations by what tells them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from datagen.errors import InputError
from datagen.formats.mat import MatDescription, import_mat
from datagen.formats.netcdf import ArrayDescription, save_dataset
from datagen.geometry import Grid
from datagen.store import open_dataset
from tests import datasets

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Nov 30 2026"


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def hdf5(path: Path, arrays: dict[str, np.ndarray], header: bool = False, classes: bool = False) -> None:
    """Axes reversed, as MATLAB has them, if the file says in either way that it is MATLAB's."""
    with h5py.File(path, "w", userblock_size=512 if header else 0) as file:
        for name, array in arrays.items():
            file[name] = array.T if header or classes else array
            if classes:
                file[name].attrs["MATLAB_class"] = np.bytes_("single")
    if header:
        with path.open("r+b") as file:
            file.write(HEADER)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.permutations([5, 7, 9]), header=st.booleans(), classes=st.booleans(), frames=st.booleans())
def test_axes_of_hdf5_are_reversed_only_where_matlab_wrote_it(
    tmp_path: Path, sizes: list[int], header: bool, classes: bool, frames: bool
) -> None:
    path, out = tmp_path / "a.mat", tmp_path / "a.h5"
    a, u = numbers(*sizes[:2]), numbers(*(sizes if frames else sizes[:2]))
    hdf5(path, {"a": a, "u": u}, header, classes)
    import_mat(path, out, MatDescription("burgers"))
    with open_dataset(out) as data:
        np.testing.assert_array_equal(data.read("u0"), a)
        np.testing.assert_array_equal(data.read("u"), np.moveaxis(u, -1, 1) if frames else u)


@pytest.mark.parametrize("shape", [(6, 9, 9), (6, 9)])
def test_a_and_u_are_of_no_equation_until_one_is_given(kitipde, tmp_path: Path, shape: tuple[int, ...]) -> None:
    savemat(tmp_path / "d.mat", {"a": numbers(*shape), "u": numbers(*shape), "extra": np.zeros(3)})
    words = ("import", "mat", tmp_path / "d.mat", "--out", tmp_path / "d.h5")
    refused = kitipde(*words)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"a {shape} and u {shape} can be of any equation; say which with --equation NAME" in refused.err
    done = kitipde(*words, "--equation", "darcy")
    assert done.code == 0
    assert "left out: extra" in done.err
    with open_dataset(tmp_path / "d.h5") as data:
        assert (data.equation, data.times, set(data.fields)) == ("darcy", None, {"a", "u"})
        np.testing.assert_array_equal(data.read("a"), numbers(*shape))


def test_arrays_of_darcys_flow_are_known_by_their_names(tmp_path: Path) -> None:
    arrays = {"coeff": np.where(numbers(6, 9, 9) > 0, 12.0, 3.0), "sol": numbers(6, 9, 9)}
    savemat(tmp_path / "d.mat", arrays)
    import_mat(tmp_path / "d.mat", tmp_path / "d.h5", MatDescription())
    with open_dataset(tmp_path / "d.h5") as data:
        assert (data.equation, set(data.fields)) == ("darcy", {"coeff", "sol"})
        np.testing.assert_array_equal(data.read("coeff"), arrays["coeff"])
    with pytest.raises(InputError, match="of Darcy's flow"):
        import_mat(tmp_path / "d.mat", tmp_path / "e.h5", MatDescription("heat"))


@pytest.mark.parametrize(
    ("name", "shape", "equation"),
    [
        ("burgers_data_R10.mat", (6, 9), "burgers"),
        ("ns_V1e-3_N5000_T50.mat", (6, 9, 9, 4), "navier-stokes"),
        ("NavierStokes_V1e-5_N1200_T20.mat", (6, 9, 9, 4), "navier-stokes"),
    ],
)
def test_published_files_are_known_by_their_names(tmp_path: Path, name: str, shape: tuple, equation: str) -> None:
    savemat(tmp_path / name, {"u": numbers(*shape)})
    told: list[str] = []
    import_mat(tmp_path / name, tmp_path / "d.h5", MatDescription(), remark=told.append)
    assert f"taken as {equation}, by the name of the file (--equation NAME says otherwise)" in told
    with open_dataset(tmp_path / "d.h5") as data:
        assert data.equation == equation


@pytest.mark.parametrize(
    ("arrays", "dims"),
    [
        ({"u": (6, 9)}, ("sample", "x")),
        ({"u": (6, 9, 9)}, ("sample", "x", "y")),
        ({"u": (6, 9, 9), "a": (6, 9)}, ("sample", "time", "x")),
        ({"u": (6, 9, 9), "a": (6, 9, 9)}, ("sample", "x", "y")),
        ({"u": (6, 9, 4), "a": (6, 9)}, ("sample", "time", "x")),
        ({"u": (6, 9, 4), "t": (1, 4)}, ("sample", "time", "x")),
        ({"u": (6, 9, 9, 4)}, ("sample", "time", "x", "y")),
        ({"u": (6, 9, 4)}, "whose last axis could be y or time"),
        ({"u": (6, 9, 4), "a": (6, 9, 4)}, "9 × 4 points .expected: a square"),
        ({"u": (6,)}, "expected: sample × x"),
    ],
)
def test_the_last_axis_is_time_where_the_other_arrays_tell(tmp_path: Path, arrays: dict, dims: object) -> None:
    filled = {name: np.arange(1.0, shape[1] + 1) if name == "t" else numbers(*shape) for name, shape in arrays.items()}
    hdf5(tmp_path / "w.h5", filled)
    if isinstance(dims, str):
        with pytest.raises(InputError, match=dims):
            import_mat(tmp_path / "w.h5", tmp_path / "d.h5", MatDescription("wave"))
        return
    import_mat(tmp_path / "w.h5", tmp_path / "d.h5", MatDescription("wave"))
    with open_dataset(tmp_path / "d.h5") as data:
        assert data.fields["u"] == dims


def test_a_name_close_to_one_of_ours_is_remarked(tmp_path: Path) -> None:
    savemat(tmp_path / "d.mat", {"u": numbers(6, 9)})
    told: list[str] = []
    import_mat(tmp_path / "d.mat", tmp_path / "d.h5", MatDescription("burger"), remark=told.append)
    assert "did you mean 'burgers'?" in told[0]


def test_a_square_may_have_walls_which_are_among_its_points(kitipde, tmp_path: Path) -> None:
    savemat(tmp_path / "d.mat", {"coeff": numbers(6, 9, 9), "sol": numbers(6, 9, 9)})
    words = ("import", "mat", tmp_path / "d.mat", "--out", tmp_path / "d.h5", "--length", "2")
    assert "allowed: open, periodic, wall" in kitipde(*words, "--boundary", "walls").err
    done = kitipde(*words, "--boundary", "wall")
    assert (done.code, "border" in done.err) == (0, False)
    with open_dataset(tmp_path / "d.h5") as data:
        assert isinstance(data.geometry, Grid)
        for axis in data.geometry.axes:
            assert (axis.boundary, axis.extent, axis.has_ends) == (("wall", "wall"), (0, 2), (True, True))


def test_what_a_mat_file_cannot_hold_is_refused_in_one_line(kitipde, tmp_path: Path) -> None:
    def export(path: Path) -> str:
        outcome = kitipde("export", "mat", path, "--out", tmp_path / "d.mat", "--overwrite")
        assert (outcome.code, outcome.err.count("\n")) in ((0, 1), (2, 1), (0, 0))
        return outcome.err

    rectangle = datasets.rectangle_of_four_fields(tmp_path / "rectangle.h5")
    assert "is on 12 × 16 points of a box 2 × 1; a .mat file holds a line or a square" in export(rectangle)
    assert "16 × 16 × 16 points" in export(datasets.box(tmp_path / "box.h5"))
    fields = {name: (("sample", "x"), numbers(4, 8)) for name in "uvw"}
    save_dataset(xarray.Dataset(fields), tmp_path / "three.h5", ArrayDescription("own", length=1.0))
    assert "has 3 fields (u, v, w); a .mat file holds one" in export(tmp_path / "three.h5")
    line = datasets.bounded_line(tmp_path / "line.h5")
    export(line)
    arrays = loadmat(tmp_path / "d.mat")
    with open_dataset(line) as data:
        np.testing.assert_array_equal(arrays["a"], data.read("u0"))
        np.testing.assert_array_equal(arrays["u"], data.read("u"))
