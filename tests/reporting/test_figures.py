"""Figures show the data they are given, with units, on shared scales."""

import io
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from datagen.geometry import Grid, periodic_grid
from kitipde.evaluation import evaluate_runs
from kitipde.evaluation.records import Examples
from kitipde.reporting.curves import collision_figure, loss_figure, resolution_figure, resolution_matrix_figure
from kitipde.reporting.fields import Predicted, animation, frames_figure, sample_figure
from kitipde.reporting.gallery import write_gallery
from kitipde.reporting.report import build_page, render
from kitipde.reporting.style import COLOURS, png
from kitipde.reporting.sweeps import contour_figure
from kitipde.runs import Run
from tests.data.mesh_files import RECIPE

SQUARE = periodic_grid((8, 8), (1.0, 1.0))


@pytest.fixture
def plane() -> tuple[list[Predicted], Examples]:
    """Two models; the second errs by -0.5 at one corner of the last frame."""
    x = np.arange(8) / 8
    truth = np.sin(2 * np.pi * x)[None, :, None] * np.ones((3, 8, 8)) * np.arange(1, 4)[:, None, None]
    truth = truth[:, None]
    wrong = truth.copy()
    wrong[2, 0, 7, 0] -= 0.5
    names, times = ("vorticity",), np.array([1.0, 2.0, 3.0])
    examples = Examples(0, (4,), truth[None, :1], truth[None], truth[None], SQUARE, times, names, names, ("s-1",))
    return [Predicted("A", truth, truth, 0), Predicted("B", truth, wrong, 0)], examples


def test_maps_of_a_field_share_one_scale_and_errors_another(plane: tuple[list[Predicted], Examples]):
    figure = frames_figure(*plane)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    scales = {image.get_clim() for image in images}
    assert len(images) == 5 * 3
    assert len(scales) == 2
    (errors,) = [scale for scale in scales if scale[0] == 0.0]
    assert errors[1] == pytest.approx(0.5)
    (fields,) = scales - {errors}
    assert fields == pytest.approx((-3.0, 3.0))


def test_maps_have_x_to_the_right_and_y_upwards(plane: tuple[list[Predicted], Examples]):
    figure = frames_figure(*plane)
    last = [axes.images[0] for axes in figure.axes if axes.images][-1]
    shown = np.asarray(last.get_array())
    # The error sits at the last x and the first y: the rightmost column, and with origin below the lowest row.
    assert shown[0, 7] == pytest.approx(0.5)
    assert last.origin == "lower"


def test_colour_bars_name_the_field_and_its_units(plane: tuple[list[Predicted], Examples]):
    labels = {axes.get_ylabel() for axes in frames_figure(*plane).axes}
    assert {"vorticity [s-1]", "absolute error [s-1]"} <= labels


def test_lines_show_truth_prediction_and_absolute_error():
    line = periodic_grid((16,), (1.0,))
    truth = np.sin(2 * np.pi * line.axes[0].coordinates)[None, None]
    examples = Examples(0, (0,), truth[None], truth[None], truth[None], line, None, ("u0",), ("u",), ("m/s",))
    top, bottom = frames_figure([Predicted("A", truth, truth - 0.25, 0)], examples).axes
    np.testing.assert_allclose(top.lines[0].get_ydata(), truth[0, 0])
    np.testing.assert_allclose(top.lines[1].get_ydata(), truth[0, 0] - 0.25)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), 0.25)
    assert top.get_ylabel() == "u [m/s]"


def test_an_animation_has_a_picture_for_each_frame(plane: tuple[list[Predicted], Examples]):
    with Image.open(io.BytesIO(animation(*plane))) as picture:
        assert picture.n_frames == 3
        assert picture.info["duration"] == 200


def titles(figure) -> list[str]:
    return [axes.get_title().replace("\n", ", ") for axes in figure.axes if axes.get_visible() and axes.get_title()]


def test_a_single_field_has_a_row_per_model_with_its_input(plane: tuple[list[Predicted], Examples]):
    row = ["input: vorticity, last given frame", "truth: vorticity [s-1], t = 3"]
    assert titles(sample_figure(*plane)) == [
        *(*row, "prediction: A", "absolute error"),
        *(*row, "prediction: B", "absolute error"),
    ]


def test_several_fields_have_a_row_each_on_scales_of_their_own(make_examples, rectangle: Grid):
    models, examples = make_examples(rectangle, ("density", "pressure"))
    figure = sample_figure(models, examples)
    assert [title for title in titles(figure) if "density" in title or "pressure" in title] == [
        "input: density, last given frame",
        "truth: density [m], t = 3",
        "input: pressure, last given frame",
        "truth: pressure [m], t = 3",
    ]
    images = {axes.get_title(): axes.images[0] for axes in figure.axes if axes.images}
    highs = [image.get_clim()[1] for title, image in images.items() if title.startswith("truth")]
    assert highs[1] == pytest.approx(10 * highs[0])


def test_inputs_that_are_not_predicted_are_all_shown(make_examples, rectangle: Grid):
    models, examples = make_examples(rectangle, ("pressure",), given=("permeability", "source", "depth"), frames=1)
    shown = titles(sample_figure(models[:1], examples))
    assert [title for title in shown if title.startswith("input")] == [
        "input: permeability",
        "input: source",
        "input: depth",
    ]


@pytest.mark.parametrize("kind", ["line", "rectangle", "box", "mesh"])
def test_every_geometry_is_drawn_whole_frame_by_frame_and_animated(kind: str, make_examples, rectangle: Grid):
    geometry = {
        "line": periodic_grid((16,), (1.0,)),
        "rectangle": rectangle,
        "box": periodic_grid((4, 4, 6), (1.0, 1.0, 1.0)),
        "mesh": RECIPE.layout().geometry,
    }[kind]
    models, examples = make_examples(geometry, ("u", "v"))
    for figure in (sample_figure(models, examples), frames_figure(models, examples, 1)):
        assert png(figure).startswith(b"\x89PNG")
    assert animation(models, examples).startswith(b"GIF8")


def test_the_resolution_figure_shows_the_mean_error_of_each_run(vanilla_run: Run, kiti_run: Run):
    evaluations = evaluate_runs([vanilla_run.path, kiti_run.path], None, [(16,), (32,)])
    axes = resolution_figure(evaluations).axes[0]
    for container, evaluation in zip(axes.containers, evaluations, strict=True):
        expected = [evaluation.errors("relative_l2", (n,)).mean() for n in (16, 32)]
        np.testing.assert_allclose(container[0].get_ydata(), expected)


def test_the_resolution_matrix_has_training_in_rows_and_tests_in_columns(vanilla_run: Run, kiti_run: Run):
    evaluations = evaluate_runs([vanilla_run.path, kiti_run.path], None, [(16,), (32,)])
    problem = kiti_run.facts.problem
    fine = replace(problem, domain=replace(problem.domain, shape=(64,)))
    finer = replace(evaluations[1], run=replace(kiti_run, facts=replace(kiti_run.facts, problem=fine)))
    axes = resolution_matrix_figure([finer, evaluations[0]]).axes[0]
    expected = [[one.errors("relative_l2", (n,)).mean() for n in (16, 32)] for one in (evaluations[0], finer)]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["32", "64"]


def test_loss_curves_are_the_recorded_losses(vanilla_run: Run):
    left, right = loss_figure([vanilla_run], ["vanilla"]).axes
    rows = vanilla_run.replicas[1].metrics()
    np.testing.assert_allclose(left.lines[1].get_ydata(), [row["train_loss"] for row in rows])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [row["validation_loss"] for row in rows])


def test_collision_rates_are_shown_for_runs_that_collide(vanilla_run: Run, kiti_run: Run):
    assert collision_figure([vanilla_run], ["vanilla"]) is None
    figure = collision_figure([vanilla_run, kiti_run], ["vanilla", "KITI"])
    assert figure is not None
    rows = kiti_run.replicas[0].metrics()
    expected = [row["collisions"]["0"]["collisions_per_particle"] for row in rows]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), expected)


def test_the_gallery_of_a_plane_run_has_maps_spectrum_and_animation(plane_run: Run):
    written = write_gallery(evaluate_runs([plane_run.path], None, [(8,), (16,)]))
    names = {path.name for path in written}
    sample = plane_run.config.data.train  # the first test sample is the first after training and validation
    assert sample is not None
    assert {f"fields-sample-{sample + 2}.png", f"fields-sample-{sample + 2}.pdf"} <= names
    assert {f"frames-sample-{sample + 2}.png", f"rollout-sample-{sample + 2}.gif"} <= names
    assert {"spectrum.png", "error-against-time.png"} <= names
    assert "resolution-matrix.png" in names
    heads = {".png": b"\x89PNG", ".pdf": b"%PDF", ".gif": b"GIF8"}
    assert all(path.read_bytes().startswith(heads[path.suffix]) for path in written)


def brightness(hex_colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ink", ["#1b1f24", "#57606a", "#0a5a94"])
def test_text_on_the_page_has_the_contrast_that_accessibility_asks_for(ink: str):
    template = Path(__file__).parents[2] / "kitipde" / "reporting" / "templates" / "report.html.j2"
    assert ink in template.read_text(encoding="utf-8")
    for ground in ("#ffffff", "#f5f7f9"):
        assert (brightness(ground) + 0.05) / (brightness(ink) + 0.05) >= 4.5


def test_line_colours_differ():
    assert len(set(COLOURS)) == len(COLOURS)


def test_a_run_that_blew_up_is_drawn_as_gaps_and_named(plane_run: Run, tmp_path: Path):
    copy = tmp_path / "blown-up"
    shutil.copytree(plane_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    path = copy / "seed-0" / "best.safetensors"
    save_file({name: torch.full_like(weight, torch.nan) for name, weight in load_file(path).items()}, path)
    evaluations = evaluate_runs([plane_run.path, copy], None, [(8,)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_gallery(evaluations)
        page = render("report.html.j2", build_page(evaluations))
    assert "diverged (1 of 1)" in page
    assert "predictions that are not finite" in page
    matrix = resolution_matrix_figure(evaluations)
    assert "diverged" in [text.get_text() for text in matrix.axes[0].texts]


def colours(figure) -> np.ndarray:
    """Lightness of each cell of the first image, from 0 to 1."""
    image = figure.axes[0].images[0]
    red, green, blue, _ = np.moveaxis(np.asarray(image.cmap(image.norm(image.get_array()))), -1, 0)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("spread", [0.0, 1e-6, 0.02])
def test_nearly_equal_errors_have_nearly_the_same_colour(vanilla_run: Run, spread: float):
    (evaluation,) = evaluate_runs([vanilla_run.path], None, [(16,), (32,)])
    metrics = evaluation.metrics.copy(deep=True)
    metrics["overall_relative_l2"][:] = 0.3
    metrics["overall_relative_l2"][:, 1] *= 1 + spread
    shown = colours(resolution_matrix_figure([replace(evaluation, metrics=metrics)]))
    assert np.ptp(shown) <= 0.03
    metrics["overall_relative_l2"][:, 1] *= 10
    assert np.ptp(colours(resolution_matrix_figure([replace(evaluation, metrics=metrics)]))) > 0.4


def test_a_sweeps_figure_has_the_searchs_axes_and_every_trial():
    losses = [0.01, 0.0101, 0.0102, 0.0101]
    settings = [(1e-3, 4), (2e-3, 8), (4e-3, 16), (3e-3, 6)]
    figure = contour_figure(("rate", "width"), settings, losses, pruned=[(5e-3, 10)], logarithmic=(True, False))
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    trials, pruned, _ = axes.collections[-3:]
    np.testing.assert_allclose(trials.get_offsets(), settings)
    np.testing.assert_allclose(pruned.get_offsets(), [(5e-3, 10)])
    # Losses that differ by two hundredths do not span the scale.
    assert np.ptp(trials.norm(trials.get_array())) < 0.1
