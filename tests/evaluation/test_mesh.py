"""Errors and forces on a mesh against formulas written out, and the whole way through the command line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from kitipde.evaluation.mesh import evaluate_mesh_runs
from kitipde.evaluation.mesh_metrics import flow_errors, force_coefficients, stream_of, table4, wall_of
from kitipde.evaluation.mesh_records import MESH_METRICS, MeshEvaluation
from kitipde.problem.mesh import load_mesh_windows

from datagen.equations.airfoil.air import DENSITY, PRESSURE, SOUND
from datagen.equations.airfoil.o_grid import triangulated
from datagen.store import open_dataset
from kitipde.config import DataConfig
from kitipde.evaluation.summary import estimate
from tests.conftest import settings
from tests.data.mesh_files import RECIPE, write_mesh_data

REGION = torch.tensor([True, False, True])


def test_momentum_error_is_taken_in_the_region_alone_over_both_components() -> None:
    truth = torch.ones(1, 1, 3, 4)
    prediction = truth.clone()
    prediction[0, 0, 0, 2] = 2.0  # density doubled: both momenta wrong by 1
    prediction[0, 0, 1, 0] = 50.0  # outside of the region
    prediction[0, 0, 2, 1] = 4.0  # one momentum wrong by 3
    errors = flow_errors(prediction, truth, REGION)
    assert float(errors.momentum) == pytest.approx((1 + 1 + 0 + 9) / 4)
    assert errors.squared[0, 0].tolist() == pytest.approx([49.0**2 / 3, 3.0, 1 / 3, 0.0])
    assert errors.power[0, 0].tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_is_infinitely_wrong(bad: float) -> None:
    truth = torch.ones(3, 2, 3, 4)
    prediction = truth + 0.01
    prediction[1, 1, 0] = bad
    errors = flow_errors(prediction, truth, REGION)
    assert errors.momentum.isfinite().tolist() == [[True, True], [True, False], [True, True]]
    assert errors.squared[1, 1].tolist() == [float("inf")] * 4
    assert estimate(errors.momentum.mean(-1).numpy()[None]).diverged == 1
    mesh = triangulated(RECIPE.grid())
    stream = stream_of(torch.ones(1, len(mesh.x), 4), torch.full((len(mesh.x),), 2))
    forces = force_coefficients(torch.full((1, 1, len(mesh.x)), bad), wall_of(mesh), stream)
    assert not any(each.isfinite().any() or each.isnan().any() for each in forces)


def test_table_4_takes_one_root_a_batch_of_sixteen() -> None:
    squared = np.random.default_rng(0).uniform(1, 100, (2, 20, 5))
    expected = [[np.sqrt(np.mean(part)) for part in (seed[:16], seed[16:])] for seed in squared]
    np.testing.assert_allclose(table4(squared), expected)
    assert table4(np.full((1, 16, 3), 9.0)).tolist() == [[3.0]]


@pytest.mark.parametrize("name", ["relative_l2", "momentum_rmse"])
def test_an_error_of_a_frame_means_what_that_of_a_rollout_does(name: str) -> None:
    """Samples of very different size: of one frame the figure's number is the table's."""
    rng = np.random.default_rng(0)
    dims, shape = ("seed", "sample", "time", "field"), (2, 5, 3, 4)
    size = 10.0 ** rng.uniform(-3, 3, shape)
    metrics = xr.Dataset(
        {
            "squared_error": (dims, size * rng.uniform(0.1, 2, shape)),
            "power": (dims, size),
            "momentum_squared_error": (dims[:3], size[..., 0]),
        },
        coords={"seed": [0, 1]},
    )
    whole = MeshEvaluation(None, "A", None, metrics, None)
    for frame in range(3):
        single = replace(whole, metrics=metrics.isel(time=[frame]))
        np.testing.assert_allclose(single.against_time(name)[:, 0], single.errors(name).mean(1))
        np.testing.assert_allclose(whole.against_time(name)[:, frame], single.against_time(name)[:, 0])
    metrics["power"][:, 2, 1, 3] = 0.0
    assert np.isfinite(whole.against_time(name)).all()


def test_the_wall_is_closed_and_has_the_length_of_the_airfoil() -> None:
    wall = wall_of(triangulated(RECIPE.grid()))
    assert len(wall.edges) == RECIPE.around
    np.testing.assert_allclose(wall.normals.sum(0), 0, atol=1e-12)
    assert 2.0 < float(wall.normals.norm(dim=1).sum()) < 2.1


def test_a_linear_pressure_lifts_by_its_gradient_times_the_area() -> None:
    """F = ∮ p n ds, n out of the fluid and so into the body: −∇p times the area inside the contour."""
    mesh = triangulated(RECIPE.grid())
    wall = wall_of(mesh)
    x, y = mesh.x[: RECIPE.around], mesh.y[: RECIPE.around]
    area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    nodes = torch.zeros(1, len(mesh.x), 4)
    nodes[..., 0], nodes[..., 2], nodes[..., 3] = 2.0, 3.0, 5.0
    stream = stream_of(nodes, torch.full((len(mesh.x),), 2))
    assert (float(stream.head), float(stream.pressure)) == (6.0, 5.0)
    pressure = torch.from_numpy(7.0 - 4.0 * mesh.y + 1.5 * mesh.x)[None, None]
    lift, drag = force_coefficients(pressure, wall, stream)
    assert float(lift) == pytest.approx(4.0 * area / 6.0)
    assert float(drag) == pytest.approx(-1.5 * area / 6.0)


def test_without_an_airfoil_there_are_no_forces() -> None:
    mesh = triangulated(RECIPE.grid())
    mesh.node_type[:] = 0
    nodes = torch.ones(2, len(mesh.x), 4)
    stream = stream_of(nodes, torch.full((len(mesh.x),), 2))
    lift, drag = force_coefficients(torch.ones(2, 3, len(mesh.x)), wall_of(mesh), stream)
    assert torch.isnan(lift).all()
    assert torch.isnan(drag).all()


@pytest.fixture(scope="module")
def flow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight flows of the solver on 240 nodes, seven frames."""
    from datagen.equations.airfoil.cases import Airfoil
    from datagen.store.writer import write_file

    recipe = Airfoil(samples=8, around=24, layers=10, far=20.0, frames=7, interval=2e-4)
    path = tmp_path_factory.mktemp("flow") / "airfoil.h5"
    from dataclasses import replace

    write_file(path, replace(recipe.layout(), config="{}"), np.arange(8), recipe.solve(range(8), "cpu"))
    return path


FLOW = DataConfig(input="flow", target="flow", input_frames=4, output_frames=3, normalize="standard")


def test_lift_and_drag_of_the_true_pressure_are_the_solvers(flow_file: Path) -> None:
    with open_dataset(flow_file) as dataset:
        windows = load_mesh_windows(dataset, FLOW, range(8))
        stored = [dataset.parameter(f"{force}_coefficient")[:, 4:7] for force in ("lift", "drag")]
        mach, angle = dataset.parameter("mach"), np.deg2rad(dataset.parameter("aoa"))
    stream = stream_of(windows.inputs[:, 0], windows.node_type)
    np.testing.assert_allclose(stream.pressure, PRESSURE, rtol=1e-6)
    np.testing.assert_allclose(stream.head, 0.5 * DENSITY * (mach * SOUND) ** 2, rtol=1e-5)
    np.testing.assert_allclose(stream.direction, np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-6)
    forces = force_coefficients(windows.targets[..., 3], wall_of(windows.mesh), stream)
    for found, expected in zip(forces, stored, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)


TINY = ("data.output_frames=3", "training.epochs=2", "training.batch_size=3", "training.curriculum_frames=2")


@pytest.fixture(scope="module")
def runs(flow_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Vanilla and KITI, two seeds each, made by the command."""
    from kitipde.cli import app

    folder = tmp_path_factory.mktemp("runs")
    for name, flag in (("vanilla", "--no-kiti"), ("kiti", "--kiti")):
        # Three test samples; the configuration is the equation's own.
        options = settings(*TINY, "data.test=3", "data.validation=1")
        words = ["train", "oformer", flag, "--data", flow_file, "--seeds", 2, "--out", folder / name, *options]
        app([str(word) for word in words], standalone_mode=False)
    return folder / "vanilla", folder / "kiti"


def test_every_error_is_its_formula(runs, flow_file: Path) -> None:
    (evaluation,) = evaluate_mesh_runs(runs[:1])
    with open_dataset(flow_file) as dataset:
        windows = load_mesh_windows(dataset, FLOW, range(5, 8))
    (stored,) = evaluate_mesh_runs(runs[:1])
    inside = windows.region.numpy()
    for row, replica in enumerate(evaluation.run.replicas):
        with torch.no_grad():
            prediction = replica.load_model()(windows.inputs, 3).double().numpy()
        truth = windows.targets.double().numpy()
        expected = {name: [] for name in MESH_METRICS}
        for u, t in zip(prediction, truth, strict=True):
            gap = u[:, inside, :2] * u[:, inside, 2:3] - t[:, inside, :2] * t[:, inside, 2:3]
            expected["momentum_rmse"].append(np.sqrt(np.mean(gap**2)))
            for channel, name in enumerate(("velocity_x", "velocity_y", "density", "pressure")):
                expected[f"rmse_{name}"].append(np.sqrt(np.mean((u - t)[..., channel] ** 2)))
            ratios = [np.linalg.norm((u - t)[..., c]) / np.linalg.norm(t[..., c]) for c in range(4)]
            expected["relative_l2"].append(np.mean(ratios))
        gap = (prediction[..., :2] * prediction[..., 2:3] - truth[..., :2] * truth[..., 2:3])[:, :, inside]
        expected["table4_momentum_rmse"] = [np.sqrt(np.mean(gap**2))]
        for name, values in expected.items():
            if values:
                np.testing.assert_allclose(evaluation.errors(name)[row], values, rtol=1e-6, err_msg=name)
                np.testing.assert_array_equal(stored.errors(name), evaluation.errors(name))


def test_lift_errors_are_those_of_predicted_pressure_against_the_stored_coefficients(runs, flow_file: Path) -> None:
    (evaluation,) = evaluate_mesh_runs(runs[:1])
    with open_dataset(flow_file) as dataset:
        stored = dataset.parameter("lift_coefficient")[5:8, 4:7]
    np.testing.assert_allclose(evaluation.metrics["true_lift"], stored, rtol=1e-6)
    lift = evaluation.metrics["lift"].values
    np.testing.assert_allclose(evaluation.errors("lift_rmse"), np.sqrt(np.mean((lift - stored) ** 2, -1)), rtol=1e-6)


def test_the_table_json_and_figures(runs, kitipde) -> None:
    result = kitipde("evaluate", *runs, "--maps")
    assert result.code == 0, result.err
    assert all(metric.title in result.out for metric, _ in MESH_METRICS.values())
    written = [Path(path) for path in re.findall(r"^wrote (.*) \(.*\)$", result.err, re.M)]
    assert {path.suffix for path in written} == {".png", ".pdf"}
    assert all(path.stat().st_size > 1000 for path in written)
    rows = json.loads(kitipde("evaluate", *runs, "--json").out)
    assert [row["label"] for row in rows] == ["vanilla", "kiti"]
    assert [row["cost"]["parameters"] for row in rows] == [1_370_116, 1_370_116]
    assert all(row["errors"][name]["mean"] > 0 for row in rows for name in MESH_METRICS)


@pytest.mark.parametrize("metric", ["relative_l2", "momentum_rmse", "lift_rmse"])
def test_two_runs_are_compared_by_seed(runs, kitipde, metric: str) -> None:
    result = kitipde("compare", *runs, "--metric", metric, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    first, second = (one.errors(metric) for one in evaluate_mesh_runs(runs))
    assert document["result"]["ratio"] == pytest.approx(second.mean() / first.mean())
    assert document["result"]["paired"]
    assert (document["resolution"], document["points"]) == (240, "nodes")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "A", "--resolutions", "64"), "--resolutions 64: runs on a mesh"),
        (("evaluate", "A", "--frames", "9"), "has 7 frames"),
        (("compare", "A", "B", "--metric", "momentum_rms"), "did you mean 'momentum_rmse'?"),
        (("compare", "A", "B", "--metric", "table4_momentum_rmse"), "needs at least 2"),
        (("compare", "A", "B", "--resolution", "64"), "--resolution 64"),
        (("report", "A"), "runs on a mesh have no report: see `kitipde evaluate"),
        (("evaluate", "A", "--data", "OTHER"), "has another mesh (192 nodes)"),
    ],
)
def test_a_mistake_is_one_line(runs, kitipde, tmp_path: Path, words, message: str) -> None:
    from dataclasses import replace

    places = {"A": runs[0], "B": runs[1], "OTHER": tmp_path / "other.h5"}
    if "OTHER" in words:
        write_mesh_data(places["OTHER"], 2, recipe=replace(RECIPE, layers=8))
    result = kitipde(*(places.get(word, word) for word in words))
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err
