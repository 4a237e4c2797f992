"""Figures of numbers against numbers: errors, losses, spectra, collisions, cost."""

from collections.abc import Sequence
from math import prod

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from datagen.geometry import Grid, Resolution, resolution_text
from kitipde.evaluation.metrics import Metric
from kitipde.evaluation.records import Evaluation
from kitipde.reporting.panels import labelled
from kitipde.reporting.style import TRUTH, colour, new_figure, polish
from kitipde.runs import Run

__all__ = [
    "collision_figure",
    "cost_figure",
    "has_spectra",
    "loss_figure",
    "resolution_figure",
    "resolution_matrix_figure",
    "special_metrics",
    "special_time_figure",
    "spectrum_figure",
    "time_figure",
]


def resolution_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Relative L2 error over all fields against test resolution: a line per run, bars of one standard deviation."""
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    ticks = _resolutions(evaluations)
    for position, evaluation in enumerate(evaluations):
        mean, deviation = _over_seeds(
            np.stack([_mean(evaluation.errors("relative_l2", n)) for n in evaluation.resolutions], axis=1)
        )
        # Side by side, so that bars of equal errors do not hide each other.
        shift = 1.0 + 0.03 * (position - (len(evaluations) - 1) / 2)
        axes.errorbar(
            np.array([_points(resolution) for resolution in evaluation.resolutions]) * shift,
            mean,
            yerr=deviation,
            color=colour(position),
            marker="o",
            markersize=5,
            capsize=3,
            label=f"{evaluation.label} (trained at {resolution_text(evaluation.run.facts.resolution)})",
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([_points(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([resolution_text(tick) for tick in ticks])
    axes.set_ylim(0.0, 1.05 * axes.get_ylim()[1])
    polish(axes, "test resolution [points per axis]", "relative L2 error")
    axes.legend(fontsize=9)
    return figure


def resolution_matrix_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Relative L2 error of each run (rows, by training resolution) at each test resolution (columns).

    Colours count from zero: errors that are nearly equal look nearly equal.
    """
    ordered = sorted(evaluations, key=lambda evaluation: _points(evaluation.run.facts.resolution))
    columns = _resolutions(ordered)
    values = np.full((len(ordered), len(columns)), np.nan)
    for row, evaluation in enumerate(ordered):
        for resolution in evaluation.resolutions:
            values[row, columns.index(resolution)] = _mean(evaluation.errors("relative_l2", resolution)).mean()
    figure = new_figure(2.6 + 0.85 * len(columns), 1.7 + 0.55 * len(ordered))
    axes = figure.subplots()
    finite = values[np.isfinite(values)]
    high = float(finite.max(initial=0.0)) or 1.0
    image = axes.imshow(values, cmap="cividis_r", vmin=0.0, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.3g}" if np.isfinite(value) else "diverged" if np.isinf(value) else "—"
        # Dark text on the light half of the map, light text on the dark half.
        dark = np.isfinite(value) and value > 0.55 * high
        axes.text(column, row, text, ha="center", va="center", fontsize=10, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [resolution_text(column) for column in columns])
    names = [resolution_text(evaluation.run.facts.resolution) for evaluation in ordered]
    if len(set(names)) < len(names):
        names = [f"{name}, {evaluation.label}" for name, evaluation in zip(names, ordered, strict=True)]
    axes.set_yticks(range(len(ordered)), names)
    axes.set_xlabel("test resolution [points per axis]", fontsize=10)
    axes.set_ylabel("training resolution", fontsize=10)
    figure.colorbar(image, ax=axes, label="relative L2 error")
    return figure


def time_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Relative L2 error and correlation of each frame: mean over samples, band from the best to the worst seed.

    Of several fields each has a column.
    """
    figure, pairs = _pairs(evaluations, 3.6)
    for place, (field, (error, correlation)) in enumerate(pairs.items()):
        for name, axes in (("relative_l2", error), ("correlation", correlation)):
            _against_time(axes, evaluations, name, field)
        below = "time" if len(pairs) == 1 else ""
        polish(error, below, "relative L2 error" if place == 0 else "", field if len(pairs) > 1 else "")
        error.set_ylim(bottom=0)
        polish(correlation, "time", "correlation with the truth" if place == 0 else "")
        correlation.axhline(0.8, color="#666666", linewidth=0.8, linestyle=":")
    figure.axes[0].legend(fontsize=9)
    return figure


def special_metrics(evaluations: Sequence[Evaluation]) -> tuple[Metric, ...]:
    """Metrics of certain fields together, such as a momentum or a force, that all runs have for each frame."""
    every = [{each.name: each for each in evaluation.defined} for evaluation in evaluations]
    return tuple(
        each
        for name, each in every[0].items()
        if not each.by_field and each.frame is not None and all(name in defined for defined in every)
    )


def special_time_figure(evaluations: Sequence[Evaluation], metrics: Sequence[Metric]) -> Figure:
    """Metrics of certain fields together against time: mean over samples, band from the best to the worst seed.

    Args:
        evaluations: that have them all.
        metrics: a panel each (see `special_metrics`).
    """
    figure = new_figure(max(6.4, 3.6 * len(metrics)), 3.6)
    for axes, entry in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _against_time(axes, evaluations, entry.name)
        axes.set_ylim(bottom=0)
        polish(axes, "time", labelled(entry.title, entry.units))
    figure.axes[0].legend(fontsize=9)
    return figure


def has_spectra(evaluation: Evaluation) -> bool:
    """Whether its fields have Fourier coefficients: on uniform periodic grids."""
    return "spectrum_error" in evaluation.metrics


def spectrum_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean power of truth, predictions and errors in each shell from 1 on, at the last frame; seeds averaged.

    Of several fields each has a column.

    Args:
        evaluations: that have spectra.
    """
    figure, pairs = _pairs(evaluations, 3.8)
    for field, (above, below) in pairs.items():
        below.sharex(above)
        below.sharey(above)
        for position, evaluation in enumerate(evaluations):
            if field not in evaluation.fields:
                continue
            resolution = _main_resolution(evaluation)
            last = evaluation.at(resolution).sel(field=field).isel(time=-1).mean("seed")
            shells = slice(1, _whole_shells(evaluation, resolution))
            wavenumbers = last["wavenumber"].values[shells]
            if position == 0:
                truth = last["spectrum_target"].values[shells]
                above.plot(wavenumbers, truth, color=TRUTH, linewidth=2.2, label="truth")
            for axes, name, line in ((above, "prediction", "--"), (below, "error", "-")):
                power = last[f"spectrum_{name}"].values[shells]
                axes.plot(wavenumbers, power, line, color=colour(position), label=evaluation.label)
        several = len(pairs) > 1
        for axes, title in ((above, "prediction"), (below, "error")):
            label = f"mean power of the shell{_power_units(evaluations[0], field)}"
            polish(axes, "wavenumber |m|", label if several or axes is above else "", title)
            if several:
                axes.set_title(f"{title} of {field}", fontsize=11)
            axes.legend(fontsize=9)
            if _logarithmic(axes):
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(2.0))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.xaxis.set_minor_locator(NullLocator())
        # What lies fourteen decades down is float32 rounding.
        shown = np.concatenate([np.asarray(line.get_ydata(), float) for axes in (above, below) for line in axes.lines])
        shown = shown[np.isfinite(shown) & (shown > 0)]
        if shown.size:
            above.set_ylim(bottom=max(0.5 * shown.min(), 1e-14 * shown.max()))
    return figure


def loss_figure(runs: Sequence[Run], labels: Sequence[str]) -> Figure:
    """Loss against epoch on the training split (as trained, and as in evaluation) and the validation split."""
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for position, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for number, replica in enumerate(run.replicas):
            rows = replica.metrics()
            first = label if number == 0 else None
            _line(left, rows, "train_loss", colour(position), "-", first)
            gap = f"{label}, as in evaluation" if number == 0 else None
            if run.config.residual.kind != "plain":
                _line(left, rows, "train_loss_without_collisions", colour(position), ":", gap)
            _line(right, rows, "validation_loss", colour(position), "-", first)
    polish(left, "epoch", "relative L2 loss", "training split")
    polish(right, "epoch", "", "validation split")
    _logarithmic(left)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=9)
    return figure


def cost_figure(runs: Sequence[Run], labels: Sequence[str]) -> Figure:
    """Validation loss against the seconds spent in training."""
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    for position, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for number, replica in enumerate(run.replicas):
            rows = replica.metrics()
            seconds = np.cumsum([row["seconds"] for row in rows])
            points = [
                (at, row["validation_loss"]) for at, row in zip(seconds, rows, strict=True) if "validation_loss" in row
            ]
            label_once = label if number == 0 else None
            axes.plot(*np.transpose(points), color=colour(position), linewidth=1.2, label=label_once)
    polish(axes, "training time [s]", "validation loss")
    _logarithmic(axes)
    if axes.lines:
        axes.legend(fontsize=9)
    return figure


def collision_figure(runs: Sequence[Run], labels: Sequence[str]) -> Figure | None:
    """Collisions per particle against epoch, a line a layer, a panel a run; None if no run collides."""
    colliding = [
        (label, rows)
        for run, label in zip(runs, labels, strict=True)
        if run.replicas and (rows := [row for row in run.replicas[0].metrics() if row.get("collisions")])
    ]
    if not colliding:
        return None
    figure = new_figure(max(5.5, 4.5 * len(colliding)), 3.6)
    for axes, (label, rows) in zip(figure.subplots(1, len(colliding), squeeze=False)[0], colliding, strict=True):
        rates: list[float] = []
        for number, layer in enumerate(sorted(rows[0]["collisions"], key=lambda name: (len(name), name))):
            rate = [row["collisions"].get(layer, {}).get("collisions_per_particle", np.nan) for row in rows]
            rates.extend(rate)
            axes.plot([row["epoch"] for row in rows], rate, color=colour(number), label=f"layer {layer}")
        polish(axes, "epoch", "collisions per particle", label)
        if min(rates) > 0 and max(rates) > 10 * min(rates):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.legend(fontsize=9)
    return figure


def _pairs(evaluations: Sequence[Evaluation], height: float) -> tuple[Figure, dict[str, tuple[Axes, Axes]]]:
    """Two panels for each field: side by side for a single field, else one above the other."""
    fields = list(dict.fromkeys(field for evaluation in evaluations for field in evaluation.fields))
    if len(fields) == 1:
        figure = new_figure(9.0, height)
        left, right = figure.subplots(1, 2)
        return figure, {fields[0]: (left, right)}
    figure = new_figure(max(7.0, 1.0 + 2.8 * len(fields)), 1.6 * height)
    rows = figure.subplots(2, len(fields))
    return figure, {field: (rows[0, place], rows[1, place]) for place, field in enumerate(fields)}


def _against_time(axes: Axes, evaluations: Sequence[Evaluation], name: str, field: str | None = None) -> None:
    """Means over samples of one variable of each frame, a line per run and a band over its seeds."""
    for position, evaluation in enumerate(evaluations):
        if field is not None and field not in evaluation.fields:
            continue
        found = evaluation.at(_main_resolution(evaluation))[name]
        found = found if field is None else found.sel(field=field)
        values, times = _mean(found.transpose("seed", "sample", "time").values), found["time"].values
        axes.plot(times, values.mean(0), color=colour(position), marker=".", label=evaluation.label)
        axes.fill_between(times, values.min(0), values.max(0), color=colour(position), alpha=0.2, linewidth=0)


def _resolutions(evaluations: Sequence[Evaluation]) -> list[Resolution]:
    """All that were tested, the coarsest first."""
    every = {resolution for evaluation in evaluations for resolution in evaluation.resolutions}
    return sorted(every, key=lambda resolution: (_points(resolution), resolution))


def _points(resolution: Resolution) -> float:
    """Points per axis; of axes that differ, their geometric mean."""
    return float(prod(resolution) ** (1 / len(resolution)))


def _whole_shells(evaluation: Evaluation, resolution: Resolution) -> int:
    """The shell of the lowest Nyquist index of all axes: the grid's corners hold only parts of those beyond.

    Shells count in units of the longest axis' fundamental.
    """
    grid = evaluation.subject.geometry
    assert isinstance(grid, Grid)
    longest = max(grid.lengths)
    return min(int(points // 2 * longest / length) for points, length in zip(resolution, grid.lengths, strict=True))


def _main_resolution(evaluation: Evaluation) -> Resolution:
    """The training resolution, or the finest if that was not evaluated."""
    trained = evaluation.run.facts.resolution
    return trained if trained in evaluation.resolutions else evaluation.resolutions[-1]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over axis 1 of what is defined: NaN is left out, infinity (a prediction that blew up) is not."""
    defined = ~np.isnan(values)
    count = defined.sum(1)
    total = np.where(defined, values, 0.0).sum(1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _logarithmic(axes: Axes) -> bool:
    """Make y logarithmic if there is anything to show, say so if there is not; whether there is."""
    shown = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.empty(0)])
    if (np.isfinite(shown) & (shown > 0)).any():
        axes.set_yscale("log")
        return True
    axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center", color="#57606a")
    return False


def _over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    values = np.where(np.isfinite(values), values, np.nan)
    return values.mean(0), values.std(0, ddof=1) if len(values) > 1 else None


def _line(axes: Axes, rows: list, key: str, hue: str, style: str, label: str | None) -> None:
    points = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
    if points:
        epochs, losses = zip(*points, strict=True)
        axes.plot(epochs, losses, color=hue, linestyle=style, linewidth=1.2, label=label)


def _power_units(evaluation: Evaluation, field: str) -> str:
    units = dict(zip(evaluation.examples.fields, evaluation.examples.units, strict=True))[field]
    return "" if units in ("", "1") else f" [({units})²]"
