"""Figures of condensation: cosine matrices as heat maps, ρ against epochs, and the two phases of theorem 4.1."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitipde.reporting.style import FIELD_MAP, colour, new_figure, polish

__all__ = ["degree_figure", "heat_map_figure", "trajectory_figure"]

# What lies below is rounding.
ROUNDING = 1e-12


def heat_map_figure(maps: Mapping[str, Mapping[str, Float[np.ndarray, "N N"]]], title: str) -> Figure:
    """Cosines between neurons that are ordered by cluster: blocks of one colour are neurons of one direction.

    Args:
        maps: rows by label, each with its matrices by the label of their column; the first row has all columns.
        title: over all.
    """
    columns = list(next(iter(maps.values())))
    figure = new_figure(1.9 * len(columns) + 1.2, 1.75 * len(maps) + 0.7)
    grid = figure.subplots(len(maps), len(columns), squeeze=False)
    image = None
    for row, (label, matrices) in zip(grid, maps.items(), strict=True):
        for axes, column in zip(row, columns, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            if axes in grid[0]:
                axes.set_title(column, fontsize=10)
            if column in matrices:
                image = axes.imshow(matrices[column], cmap=FIELD_MAP, vmin=-1, vmax=1, interpolation="nearest")
            else:
                axes.set_axis_off()
        row[0].set_ylabel(label, fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=grid, shrink=0.8, ticks=[-1, 0, 1])
        bar.set_label("cosine of two neurons' weights", fontsize=9)
    figure.suptitle(title, fontsize=11)
    # Square images leave the layout too little room for the labels of the rows.
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.02, 0.0, 0.98, 1.0))  # pyright: ignore[reportCallIssue]
    return figure


def degree_figure(panels: Mapping[str, Mapping[str, Float[np.ndarray, "seeds epochs"]]]) -> Figure:
    """ρ against the epoch, a panel a group, a line the mean over seeds, a band one standard deviation to each side.

    Args:
        panels: by title, the curves by label.
    """
    figure = new_figure(2.9 * len(panels) + 0.6, 3.6)
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        for position, (label, values) in enumerate(curves.items()):
            epochs, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
            axes.plot(epochs, mean, color=colour(position), label=label, linestyle="-" if position < 6 else "--")
            spread = values.std(0)
            axes.fill_between(epochs, mean - spread, mean + spread, color=colour(position), alpha=0.12, linewidth=0)
        polish(axes, "epoch", "ρ of the watched layer" if axes is row[0] else "", title)
        axes.set_ylim(0, 1.02)
    _legend_below(figure, row[0])
    return figure


def trajectory_figure(
    panels: Mapping[str, Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]],
    thresholds: Mapping[str, float],
    linear: Sequence[str] = (),
) -> Figure:
    """Quantities against steps: a panel a quantity, a colour a process, a line a seed.

    Args:
        panels: by the quantity's name, for each process its (steps, values).
        thresholds: values to be marked, by the quantity's name.
        linear: quantities whose axis is linear.
    """
    figure = new_figure(3.5 * len(panels) + 0.4, 3.6)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (quantity, processes) in zip(row, panels.items(), strict=True):
        for position, (label, lines) in enumerate(processes.items()):
            for number, (steps, values) in enumerate(lines):
                name = label if number == 0 else None
                axes.plot(steps[1:], values[1:], color=colour(position), linewidth=1.0, alpha=0.8, label=name)
        if quantity in thresholds:
            axes.axhline(thresholds[quantity], color="#666666", linewidth=0.9, linestyle=":")
        axes.set_xscale("log")
        if quantity in linear:
            axes.set_ylim(0, 1.02)
        else:
            axes.set_yscale("log")
            axes.set_ylim(bottom=max(axes.get_ylim()[0], ROUNDING))
        polish(axes, "step", quantity)
    _legend_below(figure, row[0])
    return figure


def _legend_below(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, where it hides no line."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 7), fontsize=9, frameon=False)
