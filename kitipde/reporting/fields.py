"""Figures of fields: inputs, truth, predictions and absolute errors of one sample, on shared scales."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from datagen.geometry import Grid
from kitipde.evaluation.records import Evaluation, Examples
from kitipde.reporting.panels import Scale, draw, is_line, label_outer, labelled, place_label, proportions, shown
from kitipde.reporting.style import COLOURS, TRUTH, colour, extend, new_figure, polish

__all__ = ["Predicted", "animation", "frames_figure", "largest_errors", "predicted", "sample_figure", "shared_samples"]

_MOST_FRAMES = 5
_GIF_FRAMES = 60


@dataclass(frozen=True)
class Predicted:
    """One sample as one model predicts it.

    Attributes:
        label: the model's name.
        truth: true fields.
        values: predicted fields.
        seed: of the network.
        hue: the colour that the model has in every figure.
    """

    label: str
    truth: Float[np.ndarray, "frames fields *space"]
    values: Float[np.ndarray, "frames fields *space"]
    seed: int
    hue: str = COLOURS[0]

    @property
    def error(self) -> Float[np.ndarray, "frames fields *space"]:
        """|prediction − truth|."""
        return np.abs(self.values - self.truth)


def shared_samples(evaluations: Sequence[Evaluation]) -> tuple[Predicted, ...]:
    """The first test sample as every run of the same points, fields and samples predicts it."""
    reference = evaluations[0].examples
    return tuple(
        predicted(evaluation, 0, colour(number))
        for number, evaluation in enumerate(evaluations)
        if evaluation.examples.truth.shape[1:] == reference.truth.shape[1:]
        and evaluation.examples.fields == reference.fields
        and evaluation.examples.samples[0] == reference.samples[0]
        and evaluation.subject.identity == evaluations[0].subject.identity
    )


def predicted(evaluation: Evaluation, place: int, hue: str = COLOURS[0]) -> Predicted:
    """One sample of one run's examples."""
    examples = evaluation.examples
    return Predicted(evaluation.label, examples.truth[place], examples.prediction[place], examples.seed, hue)


def largest_errors(models: Sequence[Predicted], examples: Examples) -> str:
    """The largest errors in words, for a reader who cannot see the figure."""
    sentences = []
    for model in models:
        largest = [float(model.error[:, field].max()) for field in range(len(examples.fields))]
        if not np.isfinite(largest).all():
            sentences.append(f"The prediction of {model.label} is not finite.")
        elif len(largest) == 1:
            sentences.append(f"Largest error of {model.label}: {largest[0]:.3g}.")
        else:
            each = ", ".join(f"{name} {error:.3g}" for name, error in zip(examples.fields, largest, strict=True))
            sentences.append(f"Largest errors of {model.label}: {each}.")
    return " ".join(sentences)


def sample_figure(models: Sequence[Predicted], examples: Examples, place: int = 0) -> Figure:
    """The last frame of one sample: the last given frame of the inputs, truth, predictions and absolute errors.

    A row is a model; of several fields, a field. An input that is predicted too stands beside its truth.

    Args:
        models: predictions of the same sample.
        examples: tells inputs, geometry, times, fields and units.
        place: which of the examples it is.
    """
    given = dict(zip(examples.given, examples.inputs[place, -1], strict=True))
    if is_line(examples.geometry):
        return _sample_lines(models, examples, given)
    beside, left = _inputs_beside(models, examples)
    inputs = {
        name: _Maps((_input_title(examples, name),), values[None], Scale.of(shown(examples.geometry, values)))
        for name, values in given.items()
    }
    rows: list[list[_Maps | None]] = []
    for name, (field, chosen) in zip(beside, _rows(models, examples), strict=True):
        scales = _scales(models, examples, field, [-1])
        rows.append([None if name is None else inputs[name], *_maps(chosen, examples, field, -1, scales)])
    columns = _width(rows[0])
    rest: list[_Maps | None] = [inputs[name] for name in left]
    rows += [rest[first : first + columns] for first in range(0, len(rest), columns)]
    # Of many columns each is narrower, so that a page shrinks their text less.
    wide, high = _panel_size(examples, 1.9 if columns <= 4 else 1.5)
    figure = new_figure((wide + 0.4) * columns, 0.4 + (high + 0.45) * len(rows))
    places = figure.subplots(len(rows), columns, squeeze=False)
    for axes in places.flat:
        axes.set_visible(False)
    for number, (row, line) in enumerate(zip(rows, places, strict=True)):
        column = 0
        for maps in row:
            count = _width([maps])
            if maps is not None:
                own = line[column : column + count]
                _draw_maps(figure, own, examples, maps)
                for place, axes in enumerate(own, start=column):
                    lowest = all(_width(below) <= place for below in rows[number + 1 :])
                    label_outer(axes, examples.geometry, below=lowest, left=place == 0)
            column += count
    return figure


def frames_figure(models: Sequence[Predicted], examples: Examples, field: int = 0) -> Figure:
    """Truth, predictions and absolute errors of one field: lines in 1-D, maps elsewhere, one column per frame.

    Args:
        models: predictions of the same sample.
        examples: tells geometry, times, fields and units.
        field: which of the fields.
    """
    frames = np.unique(np.linspace(0, len(models[0].truth) - 1, _MOST_FRAMES).round().astype(int)).tolist()
    if is_line(examples.geometry):
        return _lines(models, examples, [(field, frame) for frame in frames])
    rows = [("truth", models[0].truth[:, field], False)]
    rows += [(model.label, model.values[:, field], False) for model in models]
    rows += [(f"{model.label}\n|error|", model.error[:, field], True) for model in models]
    wide, high = _panel_size(examples, 1.9)
    figure = new_figure(1.3 + wide * len(frames), 0.5 + high * len(rows))
    places = figure.subplots(len(rows), len(frames), squeeze=False)
    scales, images = _scales(models, examples, field, frames), {}
    for number, ((title, values, is_error), line) in enumerate(zip(rows, places, strict=True)):
        for column, (frame, axes) in enumerate(zip(frames, line, strict=True)):
            images[is_error] = draw(axes, examples.geometry, values[frame], scales[is_error])
            label_outer(axes, examples.geometry, below=number == len(rows) - 1, left=column == 0)
            if number == 0:
                axes.set_title(_time_label(examples, frame), fontsize=10)
        line[0].set_ylabel(f"{title}\n{line[0].get_ylabel()}".strip(), fontsize=9)
    # The truth's scale holds for the predictions, which may leave it.
    all_values = np.stack([model.values[frames, field] for model in models])
    beyond = extend(shown(examples.geometry, all_values), scales[False].ends)
    error_label = labelled("absolute error", examples.units[field])
    for is_error, label, ends in ((False, _field_label(examples, field), beyond), (True, error_label, "neither")):
        own = [axes for (*_, one), line in zip(rows, places, strict=True) if one is is_error for axes in line]
        figure.colorbar(images[is_error], ax=own, label=label, shrink=0.8, pad=0.01, extend=ends)
    return figure


def animation(models: Sequence[Predicted], examples: Examples, frames_per_second: float = 5.0) -> bytes:
    """The rollout as an animated GIF: truth, prediction and absolute error of each model, on fixed scales.

    Args:
        models: predictions of the same sample.
        examples: tells geometry, times, fields and units.
        frames_per_second: pace.
    """
    count = len(models[0].truth)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _GIF_FRAMES)).round().astype(int))
    pictures = [_picture(_still(models, examples, int(frame))) for frame in chosen]
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


@dataclass(frozen=True)
class _Maps:
    """Maps of one scale, side by side."""

    titles: tuple[str, ...]
    values: Float[np.ndarray, "maps *space"]
    scale: Scale


def _width(row: Sequence[_Maps | None]) -> int:
    """Columns of a row; where an input would be there may be none."""
    return sum(1 if maps is None else len(maps.titles) for maps in row)


def _draw_maps(figure: Figure, places: Sequence[Axes], examples: Examples, maps: _Maps) -> None:
    """Maps with their titles, and one bar for them all."""
    image = None
    for axes, title, values in zip(places, maps.titles, maps.values, strict=True):
        axes.set_visible(True)
        axes.set_title(title, fontsize=9)
        image = draw(axes, examples.geometry, values, maps.scale)
    assert image is not None
    ends = extend(shown(examples.geometry, maps.values), maps.scale.ends)
    bar = figure.colorbar(image, ax=list(places), shrink=0.85, pad=0.02, extend=ends)
    bar.ax.tick_params(labelsize=8)


def _rows(models: Sequence[Predicted], examples: Examples) -> list[tuple[int, Sequence[Predicted]]]:
    """What each row holds: of a single field, one model; of several, one field as all models predict it."""
    count = len(examples.fields)
    return [(0, (model,)) for model in models] if count == 1 else [(field, models) for field in range(count)]


def _inputs_beside(models: Sequence[Predicted], examples: Examples) -> tuple[list[str | None], list[str]]:
    """The input that each row begins with, and those that are left for rows of their own."""
    others = [name for name in examples.given if name not in examples.fields]
    by_field = {name: name if name in examples.given else others.pop(0) if others else None for name in examples.fields}
    return [by_field[examples.fields[field]] for field, _ in _rows(models, examples)], others


def _maps(
    models: Sequence[Predicted], examples: Examples, field: int, frame: int, scales: dict[bool, Scale]
) -> tuple[_Maps, _Maps]:
    """Truth and predictions, and errors, of one field at one frame."""
    values = np.stack([models[0].truth[frame, field], *(model.values[frame, field] for model in models)])
    errors = np.stack([model.error[frame, field] for model in models])
    titles = [f"truth: {_instant(examples, field, frame)}", *(f"prediction: {model.label}" for model in models)]
    of_errors = [f"absolute error: {model.label}" if len(models) > 1 else "absolute error" for model in models]
    return _Maps(tuple(titles), values, scales[False]), _Maps(tuple(of_errors), errors, scales[True])


def _sample_lines(models: Sequence[Predicted], examples: Examples, given: dict[str, np.ndarray]) -> Figure:
    """A row per field: its inputs, truth with predictions, errors; inputs that are no targets are in the first row."""
    fields, others = examples.fields, [name for name in given if name not in examples.fields]
    figure = new_figure(9.6, 0.2 + 2.7 * len(fields))
    rows = figure.subplots(len(fields), 3, squeeze=False, sharex=True)
    x, direction = _points(examples), place_label(examples.geometry, 0)
    for field, (first, second, third) in enumerate(rows):
        names = [name for name in given if name == fields[field]] + (others if field == 0 else [])
        first.set_visible(bool(names))
        for number, name in enumerate(names):
            first.plot(x, given[name], color=TRUTH if number == 0 else colour(number), linewidth=1.8, label=name)
        if len(names) > 1:
            first.legend(fontsize=8)
        second.plot(x, models[0].truth[-1, field], color=TRUTH, linewidth=2.4, label="truth")
        for model in models:
            second.plot(x, model.values[-1, field], color=model.hue, linestyle="--", linewidth=1.4, label=model.label)
            third.plot(x, model.error[-1, field], color=model.hue, linewidth=1.4, label=model.label)
        below = direction if field == len(fields) - 1 else ""
        polish(first, below, "", _input_title(examples, ", ".join(names)))
        polish(second, below, "", f"truth and prediction: {_instant(examples, field, -1)}")
        polish(third, below, "", "absolute error")
        for axes in (first, second, third):
            axes.title.set_fontsize(9)
        third.set_ylim(bottom=0)
    rows[0, 1].legend(fontsize=8)
    return figure


def _lines(models: Sequence[Predicted], examples: Examples, columns: Sequence[tuple[int, int]]) -> Figure:
    """Truth and predictions above, absolute errors below, one column per field and frame."""
    figure = new_figure(max(7.6, 3.2 * len(columns)), 4.6)
    x, fields = _points(examples), {field for field, _ in columns}
    # Frames of one field are compared, different fields are not.
    share = "row" if len(fields) == 1 else False
    rows = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey=share, height_ratios=(3, 2))
    for column, (field, frame) in enumerate(columns):
        top, bottom = rows[:, column]
        top.plot(x, models[0].truth[frame, field], color=TRUTH, linewidth=2.2, label="truth")
        for model in models:
            style = {"color": model.hue, "linewidth": 1.3}
            top.plot(x, model.values[frame, field], linestyle="--", label=model.label, **style)
            bottom.plot(x, model.error[frame, field], label=model.label, **style)
        name = _field_label(examples, field) if column == 0 or len(fields) > 1 else ""
        polish(top, "", name, _time_label(examples, frame))
        polish(bottom, place_label(examples.geometry, 0), "absolute error" if column == 0 else "")
        bottom.set_ylim(bottom=0)
    rows[0, 0].legend(fontsize=9)
    return figure


def _still(models: Sequence[Predicted], examples: Examples, frame: int) -> Figure:
    every, fields = range(len(models[0].truth)), range(len(examples.fields))
    scales = [_scales(models, examples, field, every) for field in fields]
    if is_line(examples.geometry):
        figure = _lines(models, examples, [(field, frame) for field in fields])
        for number, axes in enumerate(figure.axes):
            is_error, field = divmod(number, len(fields))
            axes.set_ylim(*scales[field][bool(is_error)].ends)
        return figure
    rows = [_maps(chosen, examples, field, frame, scales[field]) for field, chosen in _rows(models, examples)]
    wide, high = _panel_size(examples, 2.2)
    figure = new_figure(0.6 + wide * _width(rows[0]), 0.5 + (high + 0.1) * len(rows))
    figure.set_dpi(80)
    for row, line in zip(rows, figure.subplots(len(rows), _width(rows[0]), squeeze=False), strict=True):
        places = iter(line)
        for maps in row:
            for title, values in zip(maps.titles, maps.values, strict=True):
                axes = next(places)
                axes.set_title(title, fontsize=10)
                draw(axes, examples.geometry, values, maps.scale)
    return figure


def _picture(figure: Figure) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # pyright: ignore[reportAttributeAccessIssue]


def _scales(models: Sequence[Predicted], examples: Examples, field: int, frames: Sequence[int]) -> dict[bool, Scale]:
    """Of the values of a field (False) and of its errors (True), the same for every model and frame."""
    geometry = examples.geometry
    scale = Scale.of(shown(geometry, models[0].truth[frames, field]))
    errors = np.stack([model.error[frames, field] for model in models])
    return {False: scale, True: scale.of_errors(shown(geometry, errors))}


def _panel_size(examples: Examples, width: float) -> tuple[float, float]:
    """Inches of a map: of a long domain wider, of a high one narrower, so that a page holds either."""
    ratio = proportions(examples.geometry)
    wide = width * min(1.25, max(0.5, ratio**-0.5))
    return wide, wide * ratio


def _points(examples: Examples) -> Float[np.ndarray, " points"]:
    assert isinstance(examples.geometry, Grid)
    return examples.geometry.axes[0].coordinates


def _input_title(examples: Examples, name: str) -> str:
    return f"input: {name}" + ("" if examples.times is None else "\nlast given frame")


def _field_label(examples: Examples, field: int) -> str:
    return labelled(examples.fields[field], examples.units[field])


def _instant(examples: Examples, field: int, frame: int) -> str:
    time = _time_label(examples, frame)
    return f"{_field_label(examples, field)}\n{time}" if time else _field_label(examples, field)


def _time_label(examples: Examples, frame: int) -> str:
    return "" if examples.times is None else f"t = {examples.times[frame]:g}"
