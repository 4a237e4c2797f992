"""The report and the gallery of runs on a mesh and of several fields between walls."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from datagen.geometry import Grid
from datagen.store import Coordinate, Layout, Variable
from datagen.store.layout import DefaultProblem
from datagen.store.writer import write_file
from kitipde.config.load import read_config, resolve_config
from kitipde.evaluation import evaluate_runs
from kitipde.reporting.flows import force_figure
from kitipde.reporting.gallery import write_gallery
from kitipde.reporting.report import write_report
from kitipde.runs import Run, open_run
from kitipde.training.run import start_run, train
from tests.data.mesh_files import write_mesh_data
from tests.evaluation.conftest import no_progress, train_tiny


@pytest.fixture(scope="module")
def mesh_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("mesh")
    data = write_mesh_data(folder / "mesh.h5", samples=6)
    tiny = ("data.output_frames=3", "training.epochs=1", "training.batch_size=2", "training.curriculum_frames=3")
    run = start_run(resolve_config(read_config("oformer-airfoil"), [*tiny, f"data.path={data}"]), folder / "flow")
    train(run, no_progress, lambda text: None)
    return open_run(run.path)


@pytest.fixture
def channel_run(rectangle: Grid, tmp_path: Path) -> Run:
    """A speed and a pressure between walls, three frames from one."""
    x, y = np.moveaxis(rectangle.positions, -1, 0)
    shift = 0.1 * np.arange(4)[:, None, None] + np.arange(10).reshape(-1, 1, 1, 1)
    speed = np.sin(np.pi * (x - shift)) * np.sin(np.pi * y)
    layout = Layout(
        equation="channel",
        config="{}",
        geometry=rectangle,
        coordinates=(Coordinate("time", np.arange(4.0), units="1", long_name="time", axis="T"),),
        variables=(
            Variable("speed", ("sample", "time", "x", "y"), "m s-1", "speed"),
            Variable("pressure", ("sample", "time", "x", "y"), "Pa", "pressure"),
        ),
        attributes={},
        problem=DefaultProblem(("speed", "pressure"), ("speed", "pressure"), output_frames=3),
    )
    write_file(tmp_path / "channel.h5", layout, np.arange(10), {"speed": speed, "pressure": 1e5 + 100 * speed})
    return train_tiny(tmp_path / "channel.h5", tmp_path / "channel", "data: {normalize: standard}")


def headings(page: str) -> set[str]:
    """Names of the tables' columns."""
    cells = re.findall(r"<th[^>]*>(?:<button[^>]*>)?([^<]*)", unescape(page))
    return {cell.replace("\u00a0", " ") for cell in cells}


def test_a_report_on_a_mesh_has_the_errors_of_the_flow_and_none_of_grids(mesh_run: Run, tmp_path: Path):
    page = write_report([mesh_run.path], tmp_path / "flow.html").read_text(encoding="utf-8")
    found = headings(page)
    assert {"relative L2", "momentum RMSE, region [kg/(m² s)]", "RMSE of the lift coefficient"} <= found
    assert not {"relative H1", "modes 0–4"} & found
    assert "wavenumber" not in unescape(page).replace("by wavenumber (RMSE", "")
    assert "surroundings of the airfoil" in page
    assert "240 nodes" in page


def test_the_gallery_of_a_flow_has_forces_and_frames_of_each_field(mesh_run: Run):
    written = {path.name for path in write_gallery(evaluate_runs([mesh_run.path]))}
    assert {"flow-error-against-time.png", "error-against-time.png"} <= written
    assert any(re.fullmatch(r"forces-sample-\d+\.png", name) for name in written)
    assert any(re.fullmatch(r"frames-sample-\d+-pressure\.png", name) for name in written)
    assert "spectrum.png" not in written


def test_predicted_forces_err_by_what_the_metric_says(mesh_run: Run):
    (evaluation,) = evaluate_runs([mesh_run.path])
    truth, predicted = force_figure([evaluation]).axes[0].lines
    gap = np.abs(np.asarray(predicted.get_ydata()) - np.asarray(truth.get_ydata()))
    found = evaluation.metrics["lift_rmse"].isel(seed=0, resolution=0, sample=0).values
    np.testing.assert_allclose(gap, found, rtol=1e-3)


def test_a_report_of_several_fields_has_a_table_and_figures_of_each(channel_run: Run, tmp_path: Path):
    page = write_report([channel_run.path], tmp_path / "channel.html").read_text(encoding="utf-8")
    text = unescape(page)
    assert "speed [m\u00a0s\u20111]" in text
    assert "pressure [Pa]" in text
    assert {"field", "relative H1", "RMSE"} <= headings(page)
    assert "modes 0–4" not in headings(page)
    assert "Field speed of the first test sample" in text
    assert "16 × 9 points" in text
