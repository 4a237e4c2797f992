"""Figures of fields: truth, prediction and absolute error, side by side, on shared scales."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from kitipde.evaluation.records import Evaluation, Examples
from kitipde.reporting.style import (
    COLOURS,
    ERROR_MAP,
    FIELD_MAP,
    ONE_SIGN_ERROR_MAP,
    ONE_SIGN_MAP,
    TRUTH,
    colour,
    extend,
    limits,
    new_figure,
    polish,
)

__all__ = ["Panel", "animation", "field_figure", "panel_of", "shared_panels"]

_MOST_FRAMES = 5
_GIF_FRAMES = 60


@dataclass(frozen=True)
class Panel:
    """One sample as one model predicts it.

    Attributes:
        label: the model's name.
        truth: true fields.
        prediction: predicted fields.
        seed: of the network.
        hue: the colour that the model has in every figure.
    """

    label: str
    truth: Float[np.ndarray, "frames *grid"]
    prediction: Float[np.ndarray, "frames *grid"]
    seed: int
    hue: str = COLOURS[0]

    @property
    def error(self) -> Float[np.ndarray, "frames *grid"]:
        """|prediction − truth|."""
        return np.abs(self.prediction - self.truth)


def shared_panels(evaluations: Sequence[Evaluation]) -> tuple[Panel, ...]:
    """The first test sample as every run of the same grid and samples predicts it."""
    reference = evaluations[0].examples
    return tuple(
        panel_of(evaluation, 0, colour(number))
        for number, evaluation in enumerate(evaluations)
        if evaluation.examples.truth.shape[1:] == reference.truth.shape[1:]
        and evaluation.examples.samples[0] == reference.samples[0]
        and evaluation.subject.identity == evaluations[0].subject.identity
    )


def panel_of(evaluation: Evaluation, position: int, hue: str = COLOURS[0]) -> Panel:
    """One sample of one run's examples."""
    examples = evaluation.examples
    return Panel(evaluation.label, examples.truth[position], examples.prediction[position], examples.seed, hue)


def field_figure(panels: Sequence[Panel], examples: Examples) -> Figure:
    """Truth, predictions and absolute errors of one sample: lines in 1-D, maps in 2-D, a column a frame.

    Args:
        panels: the models' predictions of the same sample.
        examples: tells coordinates, times, field and units.
    """
    frames = np.unique(np.linspace(0, len(panels[0].truth) - 1, _MOST_FRAMES).round().astype(int))
    if len(examples.coordinates) == 1:
        return _lines(panels, examples, frames)
    return _maps(panels, examples, frames)


def _lines(panels: Sequence[Panel], examples: Examples, frames: np.ndarray) -> Figure:
    figure = new_figure(max(7.6, 3.2 * len(frames)), 4.6)
    (x,) = examples.coordinates
    rows = figure.subplots(2, len(frames), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 2))
    for column, frame in enumerate(frames):
        top, bottom = rows[:, column]
        top.plot(x, panels[0].truth[frame], color=TRUTH, linewidth=2.2, label="truth")
        for panel in panels:
            style = {"color": panel.hue, "linewidth": 1.3}
            top.plot(x, panel.prediction[frame], linestyle="--", label=panel.label, **style)
            bottom.plot(x, panel.error[frame], label=panel.label, **style)
        polish(top, "", _field_label(examples) if column == 0 else "", _time_label(examples, frame))
        polish(bottom, "x", "absolute error" if column == 0 else "")
    rows[0, 0].legend(fontsize=9)
    rows[1, 0].set_ylim(bottom=0)
    return figure


def _maps(panels: Sequence[Panel], examples: Examples, frames: np.ndarray) -> Figure:
    rows = [("truth", panels[0].truth, False)]
    rows += [(panel.label, panel.prediction, False) for panel in panels]
    rows += [(f"{panel.label}\n|error|", panel.error, True) for panel in panels]
    figure = new_figure(1.3 + 1.9 * len(frames), 0.4 + 1.75 * len(rows))
    axes = figure.subplots(len(rows), len(frames), squeeze=False)
    scales, maps = _scales(panels)
    images = {}
    for row, (title, fields, is_error) in enumerate(rows):
        for column, frame in enumerate(frames):
            place = axes[row, column]
            scale = scales[is_error]
            images[is_error] = place.imshow(
                # Arrays are [x, y]; images have y upwards.
                fields[frame].T,
                origin="lower",
                extent=_extent(examples),
                cmap=maps[is_error],
                vmin=scale[0],
                vmax=scale[1],
            )
            place.set_xticks([])
            place.set_yticks([])
            if row == 0:
                place.set_title(_time_label(examples, frame), fontsize=10)
        axes[row, 0].set_ylabel(title, fontsize=10)
    fields_axes = [place for (_, _, is_error), line in zip(rows, axes, strict=True) if not is_error for place in line]
    error_axes = [place for (_, _, is_error), line in zip(rows, axes, strict=True) if is_error for place in line]
    # The truth's scale holds for the predictions, which may leave it.
    beyond = extend(np.concatenate([panel.prediction[frames] for panel in panels]), scales[False])
    figure.colorbar(images[False], ax=fields_axes, label=_field_label(examples), shrink=0.8, pad=0.01, extend=beyond)
    figure.colorbar(
        images[True], ax=error_axes, label=f"absolute error{_bracketed(examples.units)}", shrink=0.8, pad=0.01
    )
    return figure


def animation(panels: Sequence[Panel], examples: Examples, frames_per_second: float = 5.0) -> bytes:
    """The rollout as an animated GIF: truth, prediction and absolute error of each model, on fixed scales.

    Args:
        panels: the models' predictions of the same sample.
        examples: tells coordinates, times, field and units.
        frames_per_second: pace.
    """
    count = len(panels[0].truth)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _GIF_FRAMES)).round().astype(int))
    pictures = [_picture(_still(panels, examples, frame)) for frame in chosen]
    # One palette for all pictures, so that colours do not flicker.
    palette = pictures[-1].quantize(256)
    reduced = [picture.quantize(256, palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    reduced[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=reduced[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
    )
    return buffer.getvalue()


def _still(panels: Sequence[Panel], examples: Examples, frame: int) -> Figure:
    scales, maps = _scales(panels)
    if len(examples.coordinates) == 1:
        figure = _lines(panels, examples, np.array([frame]))
        top, bottom = figure.axes
        top.set_ylim(*scales[False])
        bottom.set_ylim(*scales[True])
        return figure
    figure = new_figure(7.2, 0.5 + 2.3 * len(panels))
    figure.set_dpi(80)
    for line, panel in zip(figure.subplots(len(panels), 3, squeeze=False), panels, strict=True):
        shown = (("truth", panel.truth), (panel.label, panel.prediction), ("absolute error", panel.error))
        for place, (title, fields) in zip(line, shown, strict=True):
            is_error = title == "absolute error"
            scale = scales[is_error]
            place.imshow(fields[frame].T, origin="lower", cmap=maps[is_error], vmin=scale[0], vmax=scale[1])
            place.set_xticks([])
            place.set_yticks([])
            place.set_title(title, fontsize=10)
    figure.suptitle(_time_label(examples, frame), fontsize=11)
    return figure


def _picture(figure: Figure) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # pyright: ignore[reportAttributeAccessIssue]


def _scales(panels: Sequence[Panel]) -> tuple[dict[bool, tuple[float, float]], dict[bool, str]]:
    """Limits and colours of fields (False) and of errors (True), the same for every model."""
    field, signed = limits(panels[0].truth)
    maps = (FIELD_MAP, ERROR_MAP) if signed else (ONE_SIGN_MAP, ONE_SIGN_ERROR_MAP)
    return {False: field, True: (0.0, _largest_error(panels))}, {False: maps[0], True: maps[1]}


def _largest_error(panels: Sequence[Panel]) -> float:
    errors = np.concatenate([panel.error.ravel() for panel in panels])
    finite = errors[np.isfinite(errors)]
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _extent(examples: Examples) -> tuple[float, float, float, float]:
    x, y = (axis[-1] + (axis[1] - axis[0]) if len(axis) > 1 else 1.0 for axis in examples.coordinates)
    return 0.0, float(x), 0.0, float(y)


def _field_label(examples: Examples) -> str:
    return f"{examples.field}{_bracketed(examples.units)}"


def _bracketed(units: str) -> str:
    return "" if units in ("", "1") else f" [{units}]"


def _time_label(examples: Examples, frame: int) -> str:
    return "" if examples.times is None else f"t = {examples.times[frame]:g}"
