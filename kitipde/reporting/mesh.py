"""Figures of flows on a mesh: truth, prediction and absolute error near the airfoil, errors and forces against time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from datagen.store import Mesh
from kitipde.evaluation.mesh_records import UNITS, MeshEvaluation
from kitipde.problem.mesh import FIELDS, REGION
from kitipde.reporting.gallery import figures_folder
from kitipde.reporting.style import (
    FIELD_MAP,
    ONE_SIGN_ERROR_MAP,
    ONE_SIGN_MAP,
    TRUTH,
    colour,
    extend,
    limits,
    new_figure,
    polish,
    save,
)

__all__ = ["error_figure", "flow_figure", "force_figure", "rollout_figure", "write_mesh_gallery"]

_TITLES = {
    "velocity_x": "velocity along x",
    "velocity_y": "velocity along y",
    "density": "density",
    "pressure": "pressure",
}
# Whether a field has a zero that means something: velocity does, pressure does not.
_SIGNED = ("velocity_x", "velocity_y")
_MOST_FRAMES = 5


def write_mesh_gallery(evaluations: Sequence[MeshEvaluation]) -> tuple[Path, ...]:
    """Write each run's figures into RUN/evaluation/…/figures, PNG and PDF; those of all runs into the first's.

    Returns:
        The files written.
    """
    written: list[Path] = []
    for evaluation in evaluations:
        folder = figures_folder(evaluation)
        for place, sample in enumerate(evaluation.examples.samples):
            written += save(flow_figure(evaluation, place), folder / f"flow-sample-{sample}")
            written += save(rollout_figure(evaluation, place), folder / f"momentum-sample-{sample}")
    together = figures_folder(evaluations[0])
    written += save(error_figure(evaluations), together / "error-against-time")
    sample = evaluations[0].examples.samples[0]
    written += save(force_figure(evaluations, sample), together / f"forces-sample-{sample}")
    return tuple(written)


def flow_figure(evaluation: MeshEvaluation, place: int) -> Figure:
    """The last frame of one example: a row a field; truth, prediction and absolute error, near the airfoil.

    Args:
        evaluation: of the run.
        place: which of its examples.
    """
    examples = evaluation.examples
    truth, prediction = examples.truth[place, -1], examples.prediction[place, -1]
    figure = new_figure(8.6, 2.9 * len(FIELDS))
    rows = figure.subplots(len(FIELDS), 3, squeeze=False, sharex=True, sharey=True)
    for channel, (name, row) in enumerate(zip(FIELDS, rows, strict=True)):
        true, predicted = truth[:, channel], prediction[:, channel]
        label = f"{_TITLES[name]} [{UNITS[name]}]"
        _draw_row(figure, row, examples.mesh, true, predicted, label, signed=name in _SIGNED)
    for axes, title in zip(
        rows[0], ("truth", f"{evaluation.label}, seed {examples.seed}", "absolute error"), strict=True
    ):
        axes.set_title(title, fontsize=11)
    for axes in rows[-1]:
        axes.set_xlabel("x [m]", fontsize=10)
    figure.suptitle(f"sample {examples.samples[place]}, t = {_milliseconds(examples.times[-1])}", fontsize=12)
    return figure


def rollout_figure(evaluation: MeshEvaluation, place: int) -> Figure:
    """|ρv| of one example through time, a column a frame: truth, prediction, and |ρ̂v̂ − ρv|."""
    examples = evaluation.examples
    count = len(examples.times)
    frames = np.unique(np.linspace(0, count - 1, min(count, _MOST_FRAMES)).round().astype(int))
    truth, prediction = (flow[place][frames] for flow in (examples.truth, examples.prediction))
    gap = np.linalg.norm(_momentum(prediction) - _momentum(truth), axis=-1)
    true, predicted = (np.linalg.norm(_momentum(flow), axis=-1) for flow in (truth, prediction))
    near = _inside(examples.mesh)
    (scale_of_truth, _), largest = limits(true[:, near], may_be_signed=False), float(gap[:, near].max())
    figure = new_figure(1.85 * len(frames) + 1.6, 8.4)
    rows = figure.subplots(3, len(frames), squeeze=False, sharex=True, sharey=True)
    shown = (
        (true, scale_of_truth, ONE_SIGN_MAP),
        (predicted, scale_of_truth, ONE_SIGN_MAP),
        (gap, (0.0, largest or 1.0), ONE_SIGN_ERROR_MAP),
    )
    for row, (values, scale, colours), title in zip(
        rows, shown, ("truth", f"{evaluation.label}, seed {examples.seed}", "error"), strict=True
    ):
        image = None
        for axes, value in zip(row, values, strict=True):
            image = _draw(axes, examples.mesh, value, scale, colours)
        row[0].set_ylabel(f"{title}\ny [m]", fontsize=10)
        assert image is not None
        label = ("|ρ̂v̂ − ρv|" if title == "error" else "|ρv|") + f" [{UNITS['momentum']}]"
        # The truth's scale holds for the prediction, which may leave it.
        figure.colorbar(image, ax=list(row), label=label, pad=0.01, extend=extend(values[:, near], scale))
    for axes, frame in zip(rows[0], frames, strict=True):
        axes.set_title(f"t = {_milliseconds(examples.times[frame])}", fontsize=10)
    for axes in rows[-1]:
        axes.set_xlabel("x [m]", fontsize=10)
    figure.suptitle(f"momentum, sample {examples.samples[place]}", fontsize=12)
    return figure


def error_figure(evaluations: Sequence[MeshEvaluation]) -> Figure:
    """Momentum error in the region of interest and relative L2 error against time, means over samples as in the tables.

    A line is a run, a band spans its seeds.
    """
    figure = new_figure(9.6, 3.8)
    panels = (
        ("momentum_rmse", f"momentum RMSE, region [{UNITS['momentum']}]"),
        ("relative_l2", "relative L2, all nodes"),
    )
    for axes, (name, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for number, evaluation in enumerate(evaluations):
            times, values = 1e3 * evaluation.metrics["time"].values, evaluation.against_time(name)
            seeds = f", {len(values)} seeds" if len(values) > 1 else ""
            label = f"{evaluation.label}{seeds}"
            axes.plot(times, values.mean(0), _dashes(number), color=colour(number), label=label, linewidth=1.8)
            if len(values) > 1:
                axes.fill_between(times, values.min(0), values.max(0), color=colour(number), alpha=0.2, linewidth=0)
        axes.set_ylim(bottom=0.0)
        polish(axes, "time [ms]", title)
    figure.axes[0].legend(fontsize=9)
    return figure


def force_figure(evaluations: Sequence[MeshEvaluation], sample: int) -> Figure:
    """Lift and drag coefficients of one sample against time: the truth in black, a line a run."""
    figure = new_figure(9.6, 3.8)
    for axes, force in zip(figure.subplots(1, 2), ("lift", "drag"), strict=True):
        for number, evaluation in enumerate(evaluations):
            if evaluation.subject.identity != evaluations[0].subject.identity:
                continue
            if sample not in evaluation.metrics["sample"].values:
                continue
            data = evaluation.metrics.sel(sample=sample)
            times, values = 1e3 * data["time"].values, data[force].transpose("seed", "time").values
            if number == 0:
                axes.plot(times, data[f"true_{force}"].values, color=TRUTH, linewidth=2.2, label="truth")
            axes.plot(
                times, values.mean(0), _dashes(number), color=colour(number), label=evaluation.label, linewidth=1.8
            )
            if len(values) > 1:
                axes.fill_between(times, values.min(0), values.max(0), color=colour(number), alpha=0.2, linewidth=0)
        polish(axes, "time [ms]", f"{force} coefficient")
    figure.axes[0].legend(fontsize=9)
    figure.suptitle(f"sample {sample}", fontsize=12)
    return figure


def _draw_row(
    figure: Figure,
    row: Sequence[Axes],
    mesh: Mesh,
    truth: Float[np.ndarray, " nodes"],
    prediction: Float[np.ndarray, " nodes"],
    label: str,
    *,
    signed: bool,
) -> None:
    near = _inside(mesh)
    (scale, both_signs), error = limits(truth[near], may_be_signed=signed), np.abs(prediction - truth)
    colours = FIELD_MAP if both_signs else ONE_SIGN_MAP
    _draw(row[0], mesh, truth, scale, colours)
    image = _draw(row[1], mesh, prediction, scale, colours)
    # The truth sets the scale of both; what lies beyond it is said by the bar's ends.
    bar = figure.colorbar(image, ax=list(row[:2]), label=label, pad=0.01, extend=extend(prediction[near], scale))
    largest = float(error[near].max())
    image = _draw(row[2], mesh, error, (0.0, largest or 1.0), ONE_SIGN_ERROR_MAP)
    unit = label[label.index("[") :]
    bars = bar, figure.colorbar(image, ax=row[2], label=f"absolute error {unit}", pad=0.02)
    for each in bars:
        each.ax.tick_params(labelsize=8)
    row[0].set_ylabel("y [m]", fontsize=10)


def _draw(
    axes: Axes, mesh: Mesh, values: Float[np.ndarray, " nodes"], scale: tuple[float, float], colours: str
) -> PolyCollection:
    """Values on the triangles of a mesh, near the airfoil; the airfoil stays white."""
    triangles = Triangulation(mesh.x, mesh.y, mesh.cells)
    image = axes.tripcolor(triangles, values, shading="gouraud", cmap=colours, vmin=scale[0], vmax=scale[1])
    # In a PDF thousands of shaded triangles are slow to show and no sharper.
    image.set_rasterized(True)
    axes.set_xlim(*REGION[0])
    axes.set_ylim(*REGION[1])
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    return image  # pyright: ignore[reportReturnType]


def _momentum(flow: Float[np.ndarray, "*shape 4"]) -> Float[np.ndarray, "*shape 2"]:
    return flow[..., :2] * flow[..., 2:3]


def _inside(mesh: Mesh) -> np.ndarray:
    (left, right), (low, high) = REGION
    return (mesh.x > left) & (mesh.x < right) & (mesh.y > low) & (mesh.y < high)


def _dashes(number: int) -> str:
    """Lines that lie on each other are both seen."""
    return ("-", "--", "-.", ":")[number % 4]


def _milliseconds(time: np.ndarray) -> str:
    return f"{1e3 * float(time):.4g} ms"
