"""What imports see before they write: fields that float32 would lose, repeated end points, jumps across a border."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datagen.equations.recipe import Recipe
from datagen.errors import InputError
from datagen.formats.mat import export_mat
from datagen.formats.netcdf import ArrayDescription, import_netcdf, save_dataset
from datagen.formats.precision import Precision
from datagen.formats.seams import Seam
from datagen.formats.well import export_well
from datagen.generation import generate as making
from datagen.generation.machine import Machine
from datagen.geometry import Grid, periodic_grid
from datagen.inspection.statistics import field_statistics
from datagen.store import Layout, Variable, open_dataset
from datagen.store.verify import verify
from datagen.store.writer import write_file
from kitipde.config import DataConfig
from kitipde.problem.windows import load_windows

DESCRIPTION = ArrayDescription("waves", length=1.0)
files = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def smooth(points: int, samples: int, dtype: str = "float64", kind: str = "periodic") -> np.ndarray:
    """Random smooth fields of unit size on [0, 1], both ends included, by what they do at the ends."""
    numbers = np.random.default_rng(points)
    x = np.linspace(0, 1, points)
    modes = np.arange(1, 6)[:, None]
    weights = numbers.standard_normal((samples, 5)) / modes[:, 0] ** 2
    phases = numbers.uniform(0, 2 * np.pi, (samples, 5, 1))
    waves = {
        "periodic": np.sin(2 * np.pi * modes * x + phases),
        "zero at walls": np.sin(np.pi * modes * x) + 0 * phases,
        "insulated walls": np.cos(np.pi * modes * x) + 0 * phases,
        "even": np.cos(2 * np.pi * modes * (np.arange(points) + 0.5) / points) + 0 * phases,
    }[kind]
    return np.einsum("sm,smx->sx", weights, waves).astype(dtype)


def saved(path: Path, **fields: np.ndarray) -> list[str]:
    """Write fields of (sample, [time,] x[, y]) and return what was remarked."""
    names = {2: ("sample", "x"), 3: ("sample", "x", "y"), 4: ("sample", "time", "x", "y")}
    source = xarray.Dataset({name: (names[values.ndim], values) for name, values in fields.items()})
    if "time" in source.dims:
        source = source.assign_coords(time=np.arange(1.0, source.sizes["time"] + 1))
    told: list[str] = []
    save_dataset(source, path, DESCRIPTION, remark=told.append)
    return told


# --- precision


@files
@given(
    amplitude=st.floats(-60, 60).map(lambda power: 10.0**power),
    offset=st.sampled_from([0.0, 1.0, 1e3, 1e5, 1e8, 1e12]),
    per_sample=st.booleans(),
    dtype=st.sampled_from(["float64", "float32", "float16", "int64"]),
)
def test_the_deviations_of_a_field_survive_on_every_scale(
    tmp_path: Path, amplitude: float, offset: float, per_sample: bool, dtype: str
) -> None:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        shift = offset * (np.arange(6)[:, None] if per_sample else 1)
        values = (amplitude * (smooth(32, 6)[:, :-1] + shift)).astype(dtype)
    assume(np.isfinite(values).all() and (dtype != "int64" or amplitude * max(offset, 1) < 1e18))
    saved(tmp_path / "d.h5", u=values)
    with open_dataset(tmp_path / "d.h5") as data:
        read = data.read("u")
        assert read.dtype == data.dtype("u") == data.variable("u").dtype
        assert (read.dtype == np.float64) <= (dtype in ("float64", "int64"))
        exact, stored = (
            each - each.mean(-1, keepdims=True) for each in (values.astype("float64"), read.astype("float64"))
        )
        scale = float(np.abs(exact).max()) or 1.0
        assert np.sqrt((((stored - exact) / scale) ** 2).mean()) <= 1.1e-5 * (exact / scale).std()
    assert verify(tmp_path / "d.h5").samples == 6


@pytest.mark.parametrize(
    ("values", "wide"),
    [
        (smooth(32, 6), False),
        (smooth(32, 6) + 100.0, False),
        (smooth(32, 6) + 1e5, True),
        (smooth(32, 6) * 1e-30, False),
        (smooth(32, 6) * 1e-39, True),
        (smooth(32, 6) * 1e39, True),
        # A tail that vanishes, and what is constant up to the last digit, are no reason.
        (np.exp(-((np.arange(600.0) - 300) ** 2) / 50) * np.arange(1, 7)[:, None], False),
        (np.full((6, 32), 0.1) * np.arange(1, 7)[:, None] * (1 + 2e-16 * np.arange(32)), False),
        (np.zeros((6, 32)), False),
    ],
)
def test_float64_is_for_what_float32_loses_only(values: np.ndarray, wide: bool) -> None:
    precision = Precision(frames=False)
    for sample in values:
        precision.add(sample[None])
    assert bool(precision.verdict()) == wide


def test_what_is_stored_in_float64_is_told_shown_and_exported(kitipde, tmp_path: Path) -> None:
    pressure = 101325 + 1e-3 * smooth(32, 12)[:, :-1]
    source = xarray.Dataset(
        {"u0": (("sample", "x"), pressure), "u": (("sample", "x"), pressure)}, {"x": np.arange(31) / 31}
    )
    source.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    done = kitipde("import", "netcdf", tmp_path / "a.nc", "--out", tmp_path / "a.h5", "--equation", "burgers")
    assert done.code == 0
    assert "u is stored in float64: rounding to float32 would change it by " in done.err
    shown = kitipde("info", tmp_path / "a.h5", "--verify")
    assert "stored in float64" in shown.out
    assert '"dtype": "float64"' in kitipde("info", tmp_path / "a.h5", "--json").out
    with open_dataset(tmp_path / "a.h5") as data:
        statistics = field_statistics(data, "u")
        assert statistics.deviation == pytest.approx(pressure.std(), rel=1e-6)
        export_mat(data, tmp_path / "a.mat")
        with pytest.raises(InputError, match="single states"):
            export_well(data, tmp_path / "a.hdf5")
        spectral = data.read("u", resolution=(15,), downsample="spectral")
    assert spectral.dtype == np.float64
    assert np.ptp(spectral - 101325) > 1e-4
    back = kitipde("import", "mat", tmp_path / "a.mat", "--out", tmp_path / "b.h5")
    assert back.code == 0, back.err
    with open_dataset(tmp_path / "b.h5") as data:
        np.testing.assert_array_equal(data.read("u"), pressure)


def _own_layout(grid: tuple[int, ...], lengths: tuple[float, ...], dtype: str = "float64") -> Layout:
    names = ("x", "y", "z")[: len(grid)]
    variables = (Variable("p", ("sample", *names), "1", "p", dtype), Variable("q", ("sample", *names), "1", "q", dtype))
    return Layout("own", "", periodic_grid(grid, lengths), variables, {})


def _own(grid: tuple[int, ...], lengths: tuple[float, ...], dtype: str = "float64", seed: int = 0) -> Any:
    @dataclass(frozen=True)
    class Own(Recipe):
        equation: ClassVar[str] = "own"
        samples: int = 2

        def layout(self) -> Layout:
            return _own_layout(grid, lengths, dtype)

        def solve(self, indices, device: str) -> dict[str, np.ndarray]:
            values = np.stack([np.random.default_rng(index).standard_normal(grid) for index in indices])
            return {"p": 1e6 + 1e-3 * values, "q": values}

    return Own(seed=seed)


def _make(recipe: Any, path: Path) -> Path:
    work = making.plan(recipe, path, "cpu")
    making.generate(work, recipe, Machine("cpu", "cpu"))
    making.join(work)
    return path


def test_a_recipe_may_declare_float64(tmp_path: Path) -> None:
    recipe = _own((16,), (1.0,))
    path = _make(recipe, tmp_path / "own.h5")
    assert verify(path).samples == 2
    with open_dataset(path) as data:
        np.testing.assert_array_equal(data.read("p"), recipe.solve(range(2), "cpu")["p"])


# --- seams


@given(
    points=st.integers(24, 300),
    # Of three samples one sharp bend can be the median: then nothing is said.
    samples=st.integers(4, 8),
    dtype=st.sampled_from(["float64", "float32"]),
    scale=st.sampled_from([1e-200, 1e-30, 1.0, 1e30, 1e200]),
    offset=st.sampled_from([0.0, 10.0]),
)
@settings(deadline=None, max_examples=40)
def test_an_end_point_is_seen_where_it_repeats_the_first_one_and_nowhere_else(
    points: int, samples: int, dtype: str, scale: float, offset: float
) -> None:
    assume(dtype == "float64" or 1e-37 < scale < 1e37)
    kinds = ("periodic", "zero at walls", "insulated walls", "even")
    found = {}
    for kind in kinds:
        seam = Seam(1, float(np.finfo(dtype).eps))
        seam.add((scale * (offset + smooth(points, samples, "float64", kind))).astype(dtype))
        found[kind] = seam
    assert {kind for kind in kinds if found[kind].repeats} == {"periodic"}
    assert found["insulated walls"].jump > 4
    without = Seam(1, float(np.finfo(dtype).eps))
    without.add((scale * (offset + smooth(points, samples)[:, :-1])).astype(dtype))
    assert not without.undecided
    assert not without.text()


@pytest.mark.parametrize("place", [1, 2])
def test_an_end_point_is_refused_in_every_importer_and_dropped_on_demand(kitipde, tmp_path: Path, place: int) -> None:
    from scipy.io import savemat

    flow = np.einsum("sx,sy->sxy", smooth(21, 5), smooth(21, 5, kind="periodic"))
    kept = np.delete(np.delete(flow, -1, 1), -1, 2)
    u = flow if place == 1 else np.delete(flow, -1, 1)
    u = np.delete(u, -1, 2) if place == 1 else u
    axis = "xy"[place - 1]
    xarray.Dataset({"u": (("sample", "x", "y"), flow)}).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    savemat(tmp_path / "f.mat", {"u": flow})
    for words in (("netcdf", tmp_path / "f.nc", "--length", 1), ("mat", tmp_path / "f.mat")):
        common = ("import", *words, "--equation", "darcy", "--out", tmp_path / "d.h5")
        refused = kitipde(*common, "--drop-endpoint", "y" if axis == "x" else "x")
        assert refused.code == 2
        assert "repeats the first one" in refused.err or "square" in refused.err
        refused = kitipde(*common)
        assert refused.code == 2
        assert "kitipde: the last point along x repeats the first one in every sample (of u)" in refused.err
        assert "--drop-endpoint x" in refused.err
        assert not (tmp_path / "d.h5").exists()
        done = kitipde(*common, "--drop-endpoint", "x", "--drop-endpoint", "y")
        assert done.code == 0, done.err
        with open_dataset(tmp_path / "d.h5") as data:
            assert isinstance(data.geometry, Grid)
            assert (data.grid, data.geometry.lengths) == ((20, 20), (1.0, 1.0))
            np.testing.assert_array_equal(data.read("u"), kept.astype("float32"))
        refused = kitipde(*common, "--overwrite", "--drop-endpoint", "z")
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        (tmp_path / "d.h5").unlink()


def test_a_point_that_is_not_the_first_one_again_is_not_dropped(tmp_path: Path) -> None:
    xarray.Dataset({"u": (("sample", "x"), smooth(20, 4)[:, :-1])}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"does not repeat the first one .u differs there."):
        import_netcdf(tmp_path / "a.nc", tmp_path / "a.h5", DESCRIPTION, drop_endpoint=("x",))


def test_one_field_without_the_end_point_speaks_for_all(tmp_path: Path) -> None:
    assert not saved(tmp_path / "d.h5", u=smooth(33, 5)[:, :-1], v=smooth(32, 5, kind="even"))
    with pytest.raises(InputError, match="of u"):
        saved(tmp_path / "e.h5", u=smooth(32, 100), v=smooth(32, 100, kind="zero at walls"))


@pytest.mark.parametrize("kind", ["insulated walls", "zero at walls"])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_jump_or_a_kink_at_the_border_is_reported_with_its_size_and_kept(
    kitipde, tmp_path: Path, kind: str, axis: str
) -> None:
    walls, waves = smooth(40, 5, kind=kind), smooth(41, 5)[:, :-1]
    both = (walls, waves) if axis == "x" else (waves, walls)
    (told,) = saved(tmp_path / "d.h5", u=np.einsum("sx,sy->sxy", *both))
    what = {"insulated walls": "u jumps by ", "zero at walls": "u bends "}[kind]
    assert told.startswith(f"warning: across the border of {axis} {what}")
    with open_dataset(tmp_path / "d.h5") as data:
        assert list(data.seams) == [axis]
        assert data.seams[axis].startswith(what)
    assert f"border of {axis}" in kitipde("info", tmp_path / "d.h5").out


def test_from_python_a_jump_is_a_warning(tmp_path: Path) -> None:
    source = xarray.Dataset({"u": (("sample", "x"), smooth(40, 5, kind="insulated walls"))})
    with pytest.warns(UserWarning, match="across the border of x u jumps by"):
        save_dataset(source, tmp_path / "d.h5", DESCRIPTION)


# --- values that are not finite


@files
@given(
    where=st.sets(st.integers(0, 299), min_size=1, max_size=8),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_the_samples_that_are_not_finite_are_named(tmp_path: Path, where: set[int], value: float, dtype: str) -> None:
    values = smooth(20, 300, dtype)[:, :-1]
    values[sorted(where), 3] = value
    numbers = sorted(where)
    listed = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
    with pytest.raises(InputError) as caught:
        saved(tmp_path / "d.h5", u=values)
    # A few samples are looked at first: of several bad ones they name those among them.
    text = str(caught.value)
    assert text == f"u of sample{'s' * (len(numbers) > 1)} {listed} holds values that are not finite" or (
        text.startswith("u of sample ") and int(text.split()[3]) in where
    )
    assert not list(tmp_path.glob("d.h5*"))


# --- axes of different lengths and numbers of points


def _own_file(path: Path, grid: tuple[int, ...], lengths: tuple[float, ...], samples: int = 3) -> Path:
    layout = replace(_own_layout(grid, lengths, "float32"), config="{}")
    write_file(path, layout, np.arange(samples), {name: np.ones((samples, *grid)) for name in "pq"})
    return path


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    grid=st.lists(st.sampled_from([4, 6, 8]), min_size=1, max_size=3).map(tuple),
    lengths=st.lists(st.sampled_from([1.0, 2.0]), min_size=3, max_size=3).map(tuple),
)
def test_unequal_axes_are_read_and_learnt_from(tmp_path: Path, grid: tuple, lengths: tuple) -> None:
    lengths, names = lengths[: len(grid)], DataConfig(inputs=("p",), targets=("q",), input_frames=1, output_frames=1)
    with open_dataset(_own_file(tmp_path / "own.h5", grid, lengths)) as data:
        assert data.read("q").shape == (3, *grid)
        assert isinstance(data.geometry, Grid)
        assert data.geometry.lengths == lengths
        windows = load_windows(data, names, range(2))
        assert windows.inputs.shape == (2, 1, 1, *grid)
        half = load_windows(data, names, range(2), tuple(points // 2 for points in grid))
        assert half.targets.shape == (2, 1, 1, *(points // 2 for points in grid))


@pytest.mark.parametrize(
    ("grid", "lengths"), [((4, 6), (1.0, 1.0)), ((6, 6), (1.0, 2.0)), ((4, 4, 4), (1.0, 1.0, 1.0))]
)
def test_commands_describe_and_draw_unequal_axes(
    kitipde, tmp_path: Path, grid: tuple[int, ...], lengths: tuple[float, ...]
) -> None:
    path = _own_file(tmp_path / "own.h5", grid, lengths, 12)
    shown = kitipde("info", path, "--plot", tmp_path / "p.png")
    assert shown.code == 0, shown.err
    assert " × ".join(map(str, grid)) in shown.out
    for axis, length in zip("xyz", lengths, strict=False):
        assert f"0 to {length:g}, periodic" in shown.out, axis
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_a_dataset_seed_that_could_repeat_samples_of_another_is_refused(tmp_path: Path) -> None:
    assert making.plan(_own((8,), (1.0,), seed=2**32 - 1), tmp_path / "d.h5", "cpu").parts.samples == 2
    with pytest.raises(InputError, match=r"seed 4294967296 is too large .allowed: up to 4294967295"):
        making.plan(_own((8,), (1.0,), seed=2**32), tmp_path / "d.h5", "cpu")
