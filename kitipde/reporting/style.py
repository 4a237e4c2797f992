"""One look for every figure: colours that colour-blind readers tell apart, plain axes, PNG and PDF.

Figures are made with matplotlib's object interface and the Agg canvas: no display, no global state.
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kitipde.files import write_atomically

__all__ = [
    "COLOURS",
    "ERROR_MAP",
    "FIELD_MAP",
    "ONE_SIGN_ERROR_MAP",
    "ONE_SIGN_MAP",
    "TRUTH",
    "colour",
    "dashes",
    "extend",
    "limits",
    "new_figure",
    "png",
    "polish",
    "save",
]

# Okabe and Ito's palette, without its yellow (too pale for lines); the truth is always black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
TRUTH = "#000000"
FIELD_MAP, ERROR_MAP = "RdBu_r", "viridis"
"""Of fields of both signs, white at zero, and of the size of their errors."""
ONE_SIGN_MAP, ONE_SIGN_ERROR_MAP = "viridis", "magma"
"""Of fields that have one sign, whose white would mean nothing."""

# The smaller sign's share of the larger up to which it is a ripple of a field that has one sign.
_RIPPLE = 0.02

_DPI = 130


def colour(position: int) -> str:
    """The colour of the n-th run."""
    return COLOURS[position % len(COLOURS)]


def dashes(position: int) -> str:
    """The line style of the n-th run, where lines lie on each other."""
    return ("-", "--", "-.", ":")[position % 4]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def limits(truth: np.ndarray) -> tuple[tuple[float, float], bool]:
    """The colour scale that the truth and every prediction of it share, and whether it is one of both signs.

    Args:
        truth: values of the true field, where they are shown.

    Returns:
        Lower and upper end, symmetric about zero for a field of both signs, and whether it is.
    """
    low, high = float(truth.min()), float(truth.max())
    if low < 0 < high and min(-low, high) > _RIPPLE * max(-low, high):
        largest = max(-low, high)
        return (-largest, largest), True
    if high > low:
        return (low, high), False
    reach = abs(high) or 1.0
    return (low - reach, high + reach), False


def extend(values: np.ndarray, scale: tuple[float, float]) -> str:
    """Which ends of a colour bar are arrows, because values lie beyond them."""
    below, above = bool((values < scale[0]).any()), bool((values > scale[1]).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def polish(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Labels with units, a light grid, no frame on top and right."""
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    if title:
        axes.set_title(title, fontsize=11)
    axes.tick_params(labelsize=9)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write PATH.png and PATH.pdf; the paths written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf")
    paths = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(paths[0], png(figure))
    write_atomically(paths[1], buffer.getvalue())
    return paths
