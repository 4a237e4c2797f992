"""Figures of numbers against numbers: errors, losses, spectra, collisions, cost."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from kitipde.evaluation.records import Evaluation
from kitipde.reporting.style import TRUTH, colour, new_figure, polish
from kitipde.runs import Run

__all__ = [
    "collision_figure",
    "cost_figure",
    "loss_figure",
    "resolution_figure",
    "resolution_matrix_figure",
    "spectrum_figure",
    "time_figure",
]


def resolution_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Relative L2 error against test resolution: a line a run, bars of one standard deviation over seeds."""
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    ticks = sorted({resolution for evaluation in evaluations for resolution in evaluation.resolutions})
    for position, evaluation in enumerate(evaluations):
        mean, deviation = _over_seeds(
            np.stack([_mean(evaluation.errors("relative_l2", n)) for n in evaluation.resolutions], axis=1)
        )
        # Side by side, so that bars of equal errors do not hide each other.
        shift = 1.0 + 0.03 * (position - (len(evaluations) - 1) / 2)
        axes.errorbar(
            np.array(evaluation.resolutions) * shift,
            mean,
            yerr=deviation,
            color=colour(position),
            marker="o",
            markersize=5,
            capsize=3,
            label=f"{evaluation.label} (trained at {evaluation.run.facts.resolution})",
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(tick) for tick in ticks])
    axes.set_ylim(0.0, 1.05 * axes.get_ylim()[1])
    polish(axes, "test resolution [points per axis]", "relative L2 error")
    axes.legend(fontsize=9)
    return figure


def resolution_matrix_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Relative L2 error of each run (rows, by training resolution) at each test resolution (columns).

    Colours count from zero: errors that are nearly equal look nearly equal.
    """
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.run.facts.resolution)
    columns = sorted({resolution for evaluation in ordered for resolution in evaluation.resolutions})
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
    axes.set_xticks(range(len(columns)), [str(column) for column in columns])
    names = [f"{evaluation.run.facts.resolution}" for evaluation in ordered]
    if len(set(names)) < len(names):
        names = [f"{name}, {evaluation.label}" for name, evaluation in zip(names, ordered, strict=True)]
    axes.set_yticks(range(len(ordered)), names)
    axes.set_xlabel("test resolution [points per axis]", fontsize=10)
    axes.set_ylabel("training resolution", fontsize=10)
    figure.colorbar(image, ax=axes, label="relative L2 error")
    return figure


def time_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Relative L2 error and correlation of each frame: mean over samples, band from the best to the worst seed."""
    figure = new_figure(9.0, 3.6)
    left, right = figure.subplots(1, 2)
    for position, evaluation in enumerate(evaluations):
        at_training = evaluation.metrics.sel(resolution=_main_resolution(evaluation)).mean("channel")
        for axes, name in ((left, "relative_l2"), (right, "correlation")):
            values = at_training[name].transpose("seed", "sample", "time").values
            values = _mean(values)
            times = at_training["time"].values
            axes.plot(times, values.mean(0), color=colour(position), marker=".", label=evaluation.label)
            axes.fill_between(times, values.min(0), values.max(0), color=colour(position), alpha=0.2, linewidth=0)
    polish(left, "time", "relative L2 error")
    left.set_ylim(bottom=0)
    polish(right, "time", "correlation with the truth")
    right.axhline(0.8, color="#666666", linewidth=0.8, linestyle=":")
    left.legend(fontsize=9)
    return figure


def spectrum_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean power of truth, predictions and errors in each shell from 1 on, at the last frame; seeds averaged."""
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for position, evaluation in enumerate(evaluations):
        last = evaluation.metrics.sel(resolution=_main_resolution(evaluation)).isel(time=-1).mean("seed")
        # The grid's corners hold only parts of the shells beyond the Nyquist index.
        shells = slice(1, _main_resolution(evaluation) // 2)
        wavenumbers = last["wavenumber"].values[shells]
        if position == 0:
            left.plot(wavenumbers, last["spectrum_target"].values[shells], color=TRUTH, linewidth=2.2, label="truth")
        style = {"color": colour(position), "label": evaluation.label}
        left.plot(wavenumbers, last["spectrum_prediction"].values[shells], linestyle="--", **style)
        right.plot(wavenumbers, last["spectrum_error"].values[shells], **style)
    units = _power_units(evaluations)
    for axes, title in ((left, "prediction"), (right, "error")):
        polish(axes, "wavenumber |m|", f"mean power of the shell{units}" if axes is left else "", title)
        axes.legend(fontsize=9)
        if _logarithmic(axes):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(2.0))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
    # What lies fourteen decades down is float32 rounding.
    shown = np.concatenate([np.asarray(line.get_ydata(), float) for axes in (left, right) for line in axes.lines])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    if shown.size:
        left.set_ylim(bottom=max(0.5 * shown.min(), 1e-14 * shown.max()))
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


def _main_resolution(evaluation: Evaluation) -> int:
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


def _power_units(evaluations: Sequence[Evaluation]) -> str:
    units = evaluations[0].examples.units
    return "" if units in ("", "1") else f" [({units})²]"
