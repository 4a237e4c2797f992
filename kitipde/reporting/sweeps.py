"""Figures of a sweep: which settings matter, and where the good ones lie."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.tri import Triangulation

from kitipde.reporting.style import ERROR_MAP, TRUTH, colour, new_figure, polish

__all__ = ["contour_figure", "importance_figure"]


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """Share of the spread of the validation loss that each setting explains.

    Args:
        importances: by setting, the largest first.
    """
    names = list(importances)[::-1]
    figure = new_figure(6.0, 1.2 + 0.4 * len(names))
    axes = figure.subplots()
    axes.barh(names, [importances[name] for name in names], color=colour(0))
    polish(axes, "importance (PED-ANOVA)", "")
    return figure


def contour_figure(
    keys: tuple[str, str],
    values: Sequence[tuple[Any, Any]],
    losses: Sequence[float],
    pruned: Sequence[tuple[Any, Any]] = (),
    logarithmic: tuple[bool, bool] = (False, False),
) -> Figure:
    """Validation loss over the two settings that matter most: a point a trial, colours between them.

    Args:
        keys: the settings.
        values: of each finished trial.
        losses: of each finished trial.
        pruned: settings of the trials that were ended early, which have no final loss.
        logarithmic: whether each setting was searched by factors.
    """
    figure = new_figure(6.0, 4.6)
    axes = figure.subplots()
    first, second = (
        _places(axes, axis, [pair[axis] for pair in (*values, *pruned)], logarithmic[axis]) for axis in (0, 1)
    )
    count, level = len(values), np.log10(losses)
    # From the best loss to at least twice as much: losses that are nearly equal look nearly equal.
    low, high = float(level.min()), float(max(level.max(), level.min() + np.log10(2)))
    scale = Normalize(low, high)
    # Between three points that are not on a line there is a surface; fewer trials have only points.
    if count >= 4 and all(len(np.unique(each[:count])) > 2 for each in (first, second)):
        triangles = Triangulation(_along(axes, 0, first[:count]), _along(axes, 1, second[:count])).triangles
        surface = Triangulation(first[:count], second[:count], triangles)
        axes.tricontourf(surface, level, levels=np.linspace(low, high, 13), cmap=ERROR_MAP, norm=scale, alpha=0.6)
    style = {"edgecolors": TRUTH, "linewidths": 0.6, "zorder": 3}
    shown = axes.scatter(first[:count], second[:count], c=level, cmap=ERROR_MAP, norm=scale, **style)
    if pruned:
        axes.scatter(first[count:], second[count:], marker="x", color="#666666", s=30, zorder=3, label="ended early")
    best = int(np.argmin(losses))
    axes.scatter(
        first[best], second[best], marker="*", s=220, color=colour(1), edgecolors=TRUTH, zorder=4, label="best"
    )
    figure.colorbar(shown, ax=axes).set_label("log₁₀ of the validation loss", fontsize=10)
    polish(axes, keys[0], keys[1])
    # Filled contours would hold the axes to their edge and cut its points.
    axes.use_sticky_edges = False
    axes.margins(0.06)
    axes.legend(fontsize=9)
    return figure


def _along(axes: Axes, axis: int, places: np.ndarray) -> np.ndarray:
    """Places as a reader sees them, from 0 to 1: neighbours in the figure are then neighbours in a triangle."""
    scale = axes.get_xscale() if axis == 0 else axes.get_yscale()
    seen = np.log(places) if scale == "log" else places
    return (seen - seen.min()) / np.ptp(seen)


def _places(axes: Axes, axis: int, values: Sequence[Any], logarithmic: bool) -> np.ndarray:
    """Where values lie on an axis: words one after another, numbers as they are or by their logarithm.

    That is where they were searched so, or lie far apart.
    """
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numbers:
        words = sorted({str(value) for value in values})
        (axes.set_xticks if axis == 0 else axes.set_yticks)(range(len(words)), words)
        return np.array([words.index(str(value)) for value in values], dtype=float)
    if min(values) > 0 and (logarithmic or max(values) > 20 * min(values)):
        (axes.set_xscale if axis == 0 else axes.set_yscale)("log")
        line = axes.xaxis if axis == 0 else axes.yaxis
        line.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        line.set_minor_locator(NullLocator())
    return np.array(values, dtype=float)
