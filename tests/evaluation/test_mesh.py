"""Errors and forces on a mesh against formulas written out, and the whole way through the command line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datagen.equations.airfoil.air import DENSITY, PRESSURE, SOUND
from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.airfoil.o_grid import triangulated
from datagen.geometry import Mesh
from datagen.geometry.mesh import NODE_TYPES
from datagen.store import open_dataset
from datagen.store.writer import write_file
from kitipde.config import DataConfig
from kitipde.evaluation import METRICS, evaluate_runs
from kitipde.evaluation.metrics import Compared, measured, metric
from kitipde.evaluation.metrics.flow import Stream, force_coefficients, stream_of, table4, wall_of
from kitipde.evaluation.summary import estimate
from kitipde.problem.windows import load_windows
from tests.conftest import settings
from tests.data.mesh_files import RECIPE, write_mesh_data

REGION = np.array([True, False, True])
FIELDS = ("velocity_x", "velocity_y", "density", "pressure")
TRIANGLE = Mesh(
    np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), np.array([[0, 1, 2]], np.int32), np.zeros(3, np.int8)
)


def flow(
    prediction: torch.Tensor, truth: torch.Tensor, mesh: Mesh = TRIANGLE, region: np.ndarray | None = REGION
) -> Compared:
    """Flows [sample, frame, field, node], from the first true frame on."""
    return Compared(prediction, truth, truth[:, :1], mesh, FIELDS, FIELDS, region=region)


def squared(fields: Compared) -> torch.Tensor:
    """Of the momentum, of each sample and frame."""
    return measured(fields, [metric("momentum_rmse")])["momentum_squared_error"][..., 0]


def test_momentum_error_is_taken_in_the_region_alone_over_both_components() -> None:
    truth = torch.ones(1, 1, 4, 3)
    prediction = truth.clone()
    prediction[0, 0, 2, 0] = 2.0  # density doubled: both momenta wrong by 1
    prediction[0, 0, 0, 1] = 50.0  # outside of the region
    prediction[0, 0, 1, 2] = 4.0  # one momentum wrong by 3
    assert float(squared(flow(prediction, truth))) == pytest.approx((1 + 1 + 0 + 9) / 4)
    # Every node counts the same.
    found = measured(flow(prediction, truth), [metric("mse")])
    assert found["mse"][0, 0].tolist() == pytest.approx([49.0**2 / 3, 3.0, 1 / 3, 0.0])
    assert found["target_power"][0, 0].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_is_infinitely_wrong(bad: float) -> None:
    truth = torch.ones(3, 2, 4, 3)
    prediction = truth + 0.01
    prediction[1, 1, :, 0] = bad
    errors = squared(flow(prediction, truth))
    assert errors.isfinite().tolist() == [[True, True], [True, False], [True, True]]
    assert measured(flow(prediction, truth), [metric("mse")])["mse"][1, 1].tolist() == [float("inf")] * 4
    assert estimate(errors.mean(-1).numpy()[None]).diverged == 1
    mesh = triangulated(RECIPE.grid())
    stream = stream_at(mesh, torch.ones(1, 1, 4, len(mesh.x)))
    forces = force_coefficients(torch.full((1, 1, len(mesh.x)), bad), wall_of(mesh), stream)
    assert not any(each.isfinite().any() or each.isnan().any() for each in forces)


def test_table_4_takes_one_root_a_batch_of_sixteen() -> None:
    squares = np.random.default_rng(0).uniform(1, 100, (2, 20, 5))
    expected = [[np.sqrt(np.mean(part)) for part in (seed[:16], seed[16:])] for seed in squares]
    np.testing.assert_allclose(table4(squares.mean(-1)), expected)
    assert table4(np.full((1, 16), 9.0)).tolist() == [[3.0]]
    assert METRICS["table4_momentum_rmse"].finish is table4


def test_an_error_of_a_frame_means_what_that_of_a_rollout_does() -> None:
    """Samples and frames of very different size: a rollout of one frame has the error of that frame."""
    rng, mesh = np.random.default_rng(0), triangulated(RECIPE.grid())
    size = torch.from_numpy(10.0 ** rng.uniform(-3, 3, (5, 3, 4, 1)))
    truth, prediction = (size * torch.from_numpy(rng.uniform(0.1, 2, (5, 3, 4, len(mesh.x)))) for _ in range(2))
    every = [each for each in METRICS.values() if each.frame is not None and each.applies(mesh, FIELDS)]
    assert {"relative_l2", "momentum_rmse", "lift_rmse"} <= {each.name for each in every}
    found = measured(flow(prediction, truth, mesh, None), every)
    for each in every:
        assert each.frame is not None
        for frame in range(3):
            single = {name: values[:, [frame]] for name, values in found.items()}
            torch.testing.assert_close(each.rollout(single), each.frame(found)[:, frame], equal_nan=True)
    found["target_power"][2, 1, 3] = 0.0
    relative = METRICS["relative_l2"]
    assert relative.frame is not None
    assert relative.frame(found).isnan().sum() == 1
    assert relative.rollout(found).isfinite().all()


def stream_at(mesh: Mesh, given: torch.Tensor) -> Stream:
    """That of given frames which are the same at every node."""
    return stream_of(flow(given, given, mesh, None), np.full(len(mesh.x), True))


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
    stream = stream_at(mesh, torch.tensor([2.0, 0.0, 3.0, 5.0])[:, None].expand(1, 1, 4, len(mesh.x)))
    assert (float(stream.head), float(stream.pressure)) == (6.0, 5.0)
    pressure = torch.from_numpy(7.0 - 4.0 * mesh.y + 1.5 * mesh.x)[None, None]
    lift, drag = force_coefficients(pressure, wall, stream)
    assert float(lift) == pytest.approx(4.0 * area / 6.0)
    assert float(drag) == pytest.approx(-1.5 * area / 6.0)


def test_without_an_airfoil_there_are_no_forces() -> None:
    mesh = triangulated(RECIPE.grid())
    mesh.node_type[:] = 0
    stream = stream_at(mesh, torch.ones(2, 1, 4, len(mesh.x)))
    lift, drag = force_coefficients(torch.ones(2, 3, len(mesh.x)), wall_of(mesh), stream)
    assert torch.isnan(lift).all()
    assert torch.isnan(drag).all()


@pytest.fixture(scope="module")
def flow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight flows of the solver on 240 nodes, seven frames."""
    recipe = Airfoil(samples=8, around=24, layers=10, far=20.0, frames=7, interval=2e-4)
    path = tmp_path_factory.mktemp("flow") / "airfoil.h5"
    write_file(path, replace(recipe.layout(), config="{}"), np.arange(8), recipe.solve(range(8), "cpu"))
    return path


FLOW = DataConfig(inputs=FIELDS, targets=FIELDS, input_frames=4, output_frames=3, normalize="standard")


def test_lift_and_drag_of_the_true_pressure_are_the_solvers(flow_file: Path) -> None:
    with open_dataset(flow_file) as dataset:
        windows = load_windows(dataset, FLOW, range(8))
        stored = [dataset.parameter(f"{force}_coefficient")[:, 4:7] for force in ("lift", "drag")]
        mach, angle = dataset.parameter("mach"), np.deg2rad(dataset.parameter("aoa"))
    mesh = windows.geometry
    assert isinstance(mesh, Mesh)
    far = np.isin(mesh.node_type, (NODE_TYPES["inflow"], NODE_TYPES["outflow"]))
    fields = Compared(windows.targets, windows.targets, windows.inputs, mesh, FIELDS, FIELDS)
    stream = stream_of(fields, far)
    np.testing.assert_allclose(stream.pressure, PRESSURE, rtol=1e-6)
    np.testing.assert_allclose(stream.head, 0.5 * DENSITY * (mach * SOUND) ** 2, rtol=1e-5)
    np.testing.assert_allclose(stream.direction, np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-6)
    forces = force_coefficients(windows.targets[:, :, 3], wall_of(mesh), stream)
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
    (evaluation,) = evaluate_runs(runs[:1])
    with open_dataset(flow_file) as dataset:
        windows = load_windows(dataset, FLOW, range(5, 8))
    (stored,) = evaluate_runs(runs[:1])
    (low_x, high_x), (low_y, high_y) = evaluation.run.config.model.region
    x, y = windows.geometry.positions.T
    inside = (low_x < x) & (x < high_x) & (low_y < y) & (y < high_y)
    assert 0 < inside.sum() < len(inside)
    for row, replica in enumerate(evaluation.run.replicas):
        with torch.no_grad():
            prediction = replica.load_model()(windows.inputs, steps=3).double().numpy()
        truth = windows.targets.double().numpy()
        gap = prediction[:, :, :2] * prediction[:, :, 2:3] - truth[:, :, :2] * truth[:, :, 2:3]
        gap = gap[..., inside]
        rmse = np.sqrt(((prediction - truth) ** 2).mean((1, 3)))
        # The components of the velocity are one vector, which has one norm.
        power = (truth**2).mean((1, 3))
        parts = (slice(0, 2), slice(2, 3), slice(3, 4))
        ratios = [np.sqrt((rmse**2)[:, part].sum(1) / power[:, part].sum(1)) for part in parts]
        expected = {
            ("momentum_rmse", None): np.sqrt((gap**2).mean((1, 2, 3))),
            ("table4_momentum_rmse", None): [np.sqrt(np.mean(gap**2))],
            ("relative_l2", None): np.mean(ratios, axis=0),
            **{("rmse", name): rmse[:, place] for place, name in enumerate(FIELDS)},
            **{("relative_l2", name): (rmse / np.sqrt(power))[:, place] for place, name in enumerate(FIELDS)},
        }
        for (name, field), values in expected.items():
            found = evaluation.errors(name, evaluation.resolutions[0], field)
            np.testing.assert_allclose(found[row], values, rtol=1e-6, err_msg=name)
            np.testing.assert_array_equal(stored.errors(name, stored.resolutions[0], field), found)
    # A Fourier transform, and with it the H1 norm, is not defined here.
    assert not {"relative_h1", "band_low"} & {each.name for each in evaluation.defined}


def test_lift_errors_are_those_of_predicted_pressure_against_the_stored_coefficients(runs, flow_file: Path) -> None:
    (evaluation,) = evaluate_runs(runs[:1])
    with open_dataset(flow_file) as dataset:
        windows = load_windows(dataset, FLOW, range(5, 8))
        stored = dataset.parameter("lift_coefficient")[5:8, 4:7]
    with torch.no_grad():
        prediction = evaluation.run.replicas[0].load_model()(windows.inputs, steps=3)
    fields = replace(flow(prediction, windows.targets, windows.geometry), inputs=windows.inputs, region=None)
    lift = measured(fields, [metric("lift_rmse")])["lift"][..., 0].numpy()
    assert np.abs(lift - stored).min() > 0
    np.testing.assert_allclose(evaluation.metrics["lift_rmse"][0, 0], np.abs(lift - stored), rtol=1e-4)
    found = evaluation.errors("lift_rmse", evaluation.resolutions[0])[0]
    np.testing.assert_allclose(found, np.sqrt(np.mean((lift - stored) ** 2, -1)), rtol=1e-4)


def test_the_table_and_json(runs, kitipde) -> None:
    result = kitipde("evaluate", *runs)
    assert result.code == 0, result.err
    here = [each for each in METRICS.values() if each.applies(TRIANGLE, FIELDS)]
    # A mean over fields of different units would be no number; of each field the table has its RMSE.
    for name in (*(each.title for each in here if each.units == "1" or not each.by_field), "RMSE of pressure"):
        assert name in result.out
    rows = json.loads(kitipde("evaluate", *runs, "--json").out)
    assert [row["label"] for row in rows] == ["vanilla", "kiti"]
    assert [row["cost"]["parameters"] for row in rows] == [1_370_116, 1_370_116]
    assert all(row[each.name]["mean"] is not None for row in rows for each in here)
    assert all(row["fields"][name]["rmse"]["mean"] > 0 for row in rows for name in FIELDS)


def test_figures_are_written_on_request(runs, kitipde) -> None:
    result = kitipde("evaluate", *runs, "--maps")
    assert result.code == 0, result.err
    written = [Path(path) for path in re.findall(r"^wrote (.*) \(.*\)$", result.err, re.M)]
    assert {path.suffix for path in written} == {".png", ".pdf", ".gif"}
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize("metric", ["relative_l2", "momentum_rmse", "lift_rmse"])
@pytest.mark.parametrize("field", [None, "pressure"])
def test_two_runs_are_compared_by_seed(runs, kitipde, metric: str, field: str | None) -> None:
    result = kitipde("compare", *runs, "--metric", metric, "--json", *(() if field is None else ("--field", field)))
    if field is not None and not METRICS[metric].by_field:
        assert result.code == 2
        assert "together, it is no error of pressure alone" in result.err
        return
    assert result.code == 0, result.err
    document = json.loads(result.out)
    first, second = (one.errors(metric, one.resolutions[0], field) for one in evaluate_runs(runs))
    assert document["result"]["ratio"] == pytest.approx(second.mean() / first.mean())
    assert document["result"]["paired"]
    assert (document["resolution"], document["points"], document["field"]) == (240, "nodes", field)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("evaluate", "A", "--resolutions", "64"),
            "resolution 64: a mesh has its 240 nodes and no other resolution; leave it out",
        ),
        (("evaluate", "A", "--frames", "9"), "has 7 frames"),
        (("compare", "A", "B", "--metric", "momentum_rms"), "did you mean 'momentum_rmse'?"),
        (("compare", "A", "B", "--metric", "table4_momentum_rmse"), "needs at least 2"),
        (
            ("compare", "A", "B", "--resolution", "64"),
            "resolution 64: a mesh has its 240 nodes and no other resolution; leave it out",
        ),
        (("compare", "A", "B", "--field", "pressur"), "did you mean 'pressure'?"),
        (("evaluate", "A", "--data", "OTHER"), "has another mesh (192 nodes)"),
    ],
)
def test_a_mistake_is_one_line(runs, kitipde, tmp_path: Path, words, message: str) -> None:
    places = {"A": runs[0], "B": runs[1], "OTHER": tmp_path / "other.h5"}
    if "OTHER" in words:
        write_mesh_data(places["OTHER"], 2, recipe=replace(RECIPE, layers=8))
    result = kitipde(*(places.get(word, word) for word in words))
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err
