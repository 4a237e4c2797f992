"""`kitipde predict`: what networks say to inputs without solutions, in a file that every command reads."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import h5netcdf  # noqa: F401  what xarray opens the file with
import numpy as np
import pytest
import torch
import xarray as xr

import kitipde as library
from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.formats.netcdf import ArrayDescription, save_dataset
from kitipde.errors import InputError
from kitipde.evaluation.predict import _instants, predict
from kitipde.models.weights import pack_weights, unpack_weights
from kitipde.runs import Run, open_run
from tests.evaluation.conftest import train_tiny, write_line_data, write_plane_data

PLANE = "data: {input_frames: 2, output_frames: 3, resolution: 8, test: 2}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def line(folder: Path) -> Run:
    return train_tiny(write_line_data(folder / "line.h5"), folder / "line", "training: {seeds: 3}")


@pytest.fixture(scope="module")
def plane(folder: Path) -> Run:
    return train_tiny(write_plane_data(folder / "plane.h5"), folder / "plane", PLANE)


def inputs_alone(path: Path, samples: int = 5, points: int = 64) -> Path:
    """Initial fields without solutions, on a grid that nobody trained on."""
    values = np.random.default_rng(1).normal(size=(samples, points))
    source = xr.Dataset({"u0": (("sample", "x"), values, {"units": "m s-1"})}, {"x": np.arange(points) / points})
    save_dataset(source, path, ArrayDescription("burgers"))
    return path


def test_mean_and_spread_over_the_networks_of_inputs_without_solutions(kitipde, line: Run, tmp_path: Path) -> None:
    data, out = inputs_alone(tmp_path / "new.h5"), tmp_path / "predicted.h5"
    outcome = kitipde("predict", line.path, "--data", data, "--out", out)
    assert outcome.code == 0, outcome.err
    with xr.open_dataset(data) as source, xr.open_dataset(out) as found:
        u0 = torch.from_numpy(source["u0"].values)[:, None, None]
        with torch.no_grad():
            each = np.stack([library.load(line.path, seed)(u0)[:, 0, 0].double().numpy() for seed in range(3)])
        np.testing.assert_allclose(found["u"], each.mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found["u_spread"], each.std(0, ddof=1), rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(found["x"], source["x"])
        assert (found["u"].dims, found["u"].attrs["units"]) == (("sample", "x"), "m s-1")
    assert kitipde("info", out, "--verify", "--plot", tmp_path / "plot.png").code == 0
    predict(line.path, data, tmp_path / "one.h5", seed=2)
    with xr.open_dataset(tmp_path / "one.h5") as alone:
        np.testing.assert_array_equal(alone["u"], each[2].astype(np.float32))
        assert "u_spread" not in alone


def test_a_coarser_grid_is_that_of_evaluation(line: Run, tmp_path: Path) -> None:
    data = inputs_alone(tmp_path / "new.h5")
    predict(line.path, data, tmp_path / "coarse.h5", seed=0, resolution=(16,))
    with xr.open_dataset(data) as source, xr.open_dataset(tmp_path / "coarse.h5") as found:
        with torch.no_grad():
            u0 = torch.from_numpy(source["u0"].values[:, None, None, ::4].copy())
            expected = library.load(line.path, 0)(u0)[:, 0, 0]
        np.testing.assert_array_equal(found["u"], expected)
        assert found.sizes["x"] == 16


def test_frames_follow_the_given_ones_and_go_on_beyond_the_file(plane: Run, tmp_path: Path) -> None:
    data = write_plane_data(tmp_path / "new.h5", samples=3)
    predict(plane.path, data, tmp_path / "longer.h5", frames=6)
    with xr.open_dataset(data) as source, xr.open_dataset(tmp_path / "longer.h5") as found:
        with torch.no_grad():
            given = torch.from_numpy(source["vorticity"].values[:, :2, None])
            expected = library.rollout(library.load(plane.path), given, 6)[:, :, 0]
        np.testing.assert_array_equal(found["vorticity"], expected)
        assert found["time"].values.tolist() == [2, 3, 4, 5, 6, 7]
        assert found["vorticity"].attrs["units"] == source["vorticity"].attrs["units"]


@pytest.mark.parametrize(
    ("settings", "expected", "told"),
    [
        ({"equation": "heat", **asdict(Heat(interval=0.5))}, [0.5, 1.0, 1.5], 0),
        ({"equation": "burgers", **asdict(Burgers(frames=5))}, [0.2, 0.4, 0.6], 0),
        ({"imported": "b.mat"}, [1.0, 2.0, 3.0], 1),
    ],
)
def test_frames_after_a_single_one_are_as_far_apart_as_in_training(
    plane: Run, settings: dict, expected: list[float], told: int
) -> None:
    run, remarks = replace(plane, facts=replace(plane.facts, dataset_config=settings)), []
    assert _instants(run, None, 3, remarks.append) == pytest.approx(expected)
    assert len(remarks) == told


def test_what_cannot_be_predicted_is_told_in_a_line(kitipde, line: Run, plane: Run, tmp_path: Path) -> None:
    data = inputs_alone(tmp_path / "new.h5")
    flow = write_plane_data(tmp_path / "flow.h5", samples=2, frames=1)
    cases = {
        "holds burgers, but": (plane.path, "--data", data),
        "has 1 frames of vorticity, but": (plane.path, "--data", flow),
        "unknown seed of": (line.path, "--data", data, "--seed", 7),
        "predicts fields without time": (line.path, "--data", data, "--frames", 2),
        "resolution": (line.path, "--data", data, "--resolution", 48),
        "no such file": (line.path, "--data", tmp_path / "nothing.h5"),
        "is not a run folder": (tmp_path, "--data", data),
    }
    for words, arguments in cases.items():
        outcome = kitipde("predict", *arguments, "--out", tmp_path / "out.h5")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert words in outcome.err
    outcome = kitipde("predict", line.path, "--data", data, "--out", data, "--overwrite")
    assert (outcome.code, "the file that is read" in outcome.err) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.h5", "new.h5"]


def test_predictions_that_are_not_finite_are_refused(line: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(line.path, copy)
    weights = open_run(copy).replicas[1].best_path
    far = {name: tensor * 1e30 for name, tensor in unpack_weights(weights.read_bytes()).items()}
    weights.write_bytes(pack_weights(far))
    with pytest.raises(InputError, match="u of samples 0, 1, 2, 3, 4 holds values that are not finite"):
        predict(copy, inputs_alone(tmp_path / "new.h5"), tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_the_version_is_told(kitipde) -> None:
    outcome = kitipde("--version")
    assert (outcome.code, outcome.out.strip()) == (0, library.__version__)
