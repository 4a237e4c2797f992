"""Figures of studies: the error against what is varied, with the reference as a line."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitipde.evaluation.summary import Estimate
from kitipde.reporting.style import TRUTH, colour, new_figure, polish

__all__ = ["variation_figure"]

# The value that is varied, the error on the test split, that on training samples.
Point = tuple[float, Estimate, float | None]


def variation_figure(
    title: str, varied: str, points: Sequence[Point], reference: tuple[Estimate, float | None]
) -> Figure:
    """Error on test and training samples against a setting; dashed lines are the reference's.

    Args:
        title: of the problem.
        varied: the setting's name.
        points: one for each value.
        reference: errors of the model without it.
    """
    figure = new_figure(6.0, 4.2)
    axes = figure.subplots()
    finite = [point for point in points if point[1].mean is not None]
    values = [value for value, _, _ in finite]
    axes.errorbar(
        values,
        [estimate.mean for _, estimate, _ in finite],  # pyright: ignore[reportArgumentType]
        [estimate.deviation or 0.0 for _, estimate, _ in finite],
        color=colour(1),
        marker="o",
        capsize=3,
        label="KITI, test (mean ± deviation over seeds)",
    )
    trained = [(value, error) for value, _, error in finite if error is not None]
    axes.plot(*zip(*trained, strict=True), color=colour(0), marker="s", label="KITI, training samples")
    _line(axes, reference[0].mean, colour(1), "plain, test")
    _line(axes, reference[1], colour(0), "plain, training samples")
    if values and max(values) > 16 * min(values) > 0:
        axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for value, estimate, _ in points:
        if estimate.mean is None:
            axes.axvline(value, color=TRUTH, linewidth=0.6, linestyle=":")
    polish(axes, varied, "relative L2 error", title)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _line(axes: Axes, error: float | None, hue: str, label: str) -> None:
    if error is not None:
        axes.axhline(error, color=hue, linestyle="--", linewidth=1.2, label=label)
