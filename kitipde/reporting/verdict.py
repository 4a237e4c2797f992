"""A verdict as a picture: the errors of each seed, and their ratio with its interval."""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitipde.errors import InputError
from kitipde.evaluation import RunComparison
from kitipde.evaluation.metrics import metric
from kitipde.files import write_atomically
from kitipde.reporting.style import colour, new_figure, png, polish

__all__ = ["verdict_figure", "write_verdict"]


def write_verdict(comparison: RunComparison, path: Path) -> None:
    """Draw a comparison, with its verdict as the title, into a PNG file.

    Raises:
        InputError: if the path cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure = verdict_figure(comparison)
        figure.suptitle("\n".join(textwrap.wrap(comparison.verdict, 88)), fontsize=10, x=0.01, ha="left")
        write_atomically(path, png(figure))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def verdict_figure(comparison: RunComparison) -> Figure:
    """On the left a dot per seed, joined where seeds are paired; on the right the ratio of the mean errors.

    Args:
        comparison: of two runs; the first is the reference.
    """
    figure = new_figure(7.0, 3.1)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_errors(left, comparison)
    _draw_ratio(right, comparison)
    return figure


def _draw_errors(axes: Axes, comparison: RunComparison) -> None:
    errors = comparison.errors_a, comparison.errors_b
    if comparison.result.paired:
        for pair in zip(*errors, strict=True):
            axes.plot((0, 1), pair, color="#b0b7be", linewidth=1, zorder=1)
    for place, values in enumerate(errors):
        axes.scatter([place] * len(values), values, color=colour(place), s=28, zorder=2)
        axes.plot(
            (place - 0.13, place + 0.13), [sum(values) / len(values)] * 2, color=colour(place), linewidth=2.5, zorder=3
        )
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylim(0, 1.15 * max(max(values) for values in errors))
    axes.set_xticks((0, 1), [_short(comparison.a), _short(comparison.b)], fontsize=9)
    title = "one dot per seed" + (", lines join the same seed" if comparison.result.paired else "")
    of = "" if comparison.field is None else f" of {comparison.field}"
    polish(axes, "", f"{metric(comparison.metric).title} error{of}", "")
    axes.set_title(title, fontsize=9)


def _draw_ratio(axes: Axes, comparison: RunComparison) -> None:
    result = comparison.result
    hue = "#6e7781" if not result.different else "#00795a" if result.ratio < 1 else "#b94a00"
    axes.axvline(1.0, color="#333333", linewidth=1, linestyle="--", zorder=1)
    if result.low is not None and result.high is not None:
        axes.plot((result.low, result.high), (0, 0), color=hue, linewidth=3, solid_capstyle="butt", zorder=2)
        text = f"{result.ratio:.3g}\n(95 % CI {result.low:.3g} to {result.high:.3g})"
    else:
        text = f"{result.ratio:.3g}\n(no interval: too few seeds)"
    axes.scatter([result.ratio], [0], color=hue, s=45, zorder=3)
    place = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
    axes.annotate(text, (result.ratio, 0), (0, 11), bbox={"color": "white", "pad": 1.5}, **place)
    reach = 1.35 * max(abs(end - 1) for end in (result.low or 1, result.high or 1, result.ratio))
    axes.set_xlim(1 - max(reach, 0.02), 1 + max(reach, 0.02))
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    polish(axes, f"error of {_short(comparison.b)} / error of {_short(comparison.a)}", "")
    axes.set_title("ratio of mean errors; 1 is no difference", fontsize=9)
    axes.spines["left"].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"
