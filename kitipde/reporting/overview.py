"""The top of a report: what was learnt from what, and one sample as the networks see it."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from datagen.store import open_dataset
from kitipde.evaluation.records import Evaluation
from kitipde.problem.windows import Windows, load_windows, split_samples
from kitipde.reporting.fields import Panel, shared_panels
from kitipde.reporting.page import Picture
from kitipde.reporting.style import ERROR_MAP, FIELD_MAP, TRUTH, new_figure, png, polish
from kitipde.runs import Run

__all__ = ["facts_of", "overview_picture"]

_OF_MODELS = ("modes", "width", "latent_width", "layers", "activation")


def facts_of(evaluations: Sequence[Evaluation]) -> tuple[tuple[str, str], ...]:
    """What was learnt from what, as pairs of a name and a text; what differs between runs is told run by run."""
    rows: dict[str, Callable[[Evaluation], str]] = {
        "Equation": lambda one: _equation(one),
        "Learnt": lambda one: _task(one.run),
        "Training data": lambda one: _samples(one.run),
        "Test data": lambda one: one.subject.description,
        "Network": lambda one: _network(one.run),
        "Residual": lambda one: _residual(one.run),
        "Training": lambda one: _training(one.run),
        "Seeds": lambda one: ", ".join(map(str, one.seeds)),
    }
    facts = []
    for name, text_of in rows.items():
        texts = [text_of(one) for one in evaluations]
        together = texts[0] if len(set(texts)) == 1 else ""
        each = "; ".join(f"{one.label}: {text}" for one, text in zip(evaluations, texts, strict=True))
        facts.append((name, together or each))
    return tuple(facts)


def _equation(evaluation: Evaluation) -> str:
    """As the file says it, with its constants, else its name."""
    with open_dataset(evaluation.subject.path) as dataset:
        title = str(dataset.attributes.get("title", "")) or evaluation.subject.equation
        constants = [f"{name} = {dataset.attributes[name]:g}" for name in ("nu", "alpha") if name in dataset.attributes]
    return ", ".join([title, *constants])


def _task(run: Run) -> str:
    data = run.config.data
    if data.input_frames == data.output_frames == 1 and data.input != data.target:
        return f"{data.input} → {data.target}"
    first, last = data.input_frames + 1, data.input_frames + data.output_frames
    given = f"frame{'s 1 to' if data.input_frames > 1 else ''} {data.input_frames}"
    wanted = f"frame{f's {first} to' if last > first else ''} {last}"
    return f"{data.input}, {given} → {data.target}, {wanted}"


def _samples(run: Run) -> str:
    """Sizes of the splits, as far as the settings or their file tell."""
    train, validation = run.config.data.train, run.config.data.validation
    if (train is None or validation is None) and run.dataset_path.is_file():
        with open_dataset(run.dataset_path) as dataset:
            split = split_samples(dataset.samples, run.config.data)
        train, validation = len(split.train), len(split.validation)
    grid = " × ".join([str(run.facts.resolution)] * run.facts.dimension)
    counts = f"{'?' if train is None else train} training and {'?' if validation is None else validation} validation"
    return f"{counts} samples of {run.dataset_path.name} on {grid} points"


def _network(run: Run) -> str:
    settings = run.config.model.model_dump()
    texts = [f"{name} {settings[name]}" for name in _OF_MODELS if name in settings]
    size = next((f"{replica.facts()['parameters']:,} parameters" for replica in run.replicas), "")
    return ", ".join([run.config.model.name.upper() if run.config.model.name == "fno" else "OFormer", *texts, size])


def _residual(run: Run) -> str:
    residual = run.config.residual
    if residual.kind == "plain":
        return "plain addition"
    if residual.kind == "dropout":
        return f"dropout {residual.dropout:g}, {residual.schedule}"
    amount = (
        f"{residual.target_rate:g} collisions per particle"
        if residual.target_rate is not None
        else f"coll_coef {residual.coll_coef}"
    )
    return f"{residual.kind}, {residual.layout}, {amount}, {residual.schedule}"


def _training(run: Run) -> str:
    training, optimizer = run.config.training, run.config.optimizer
    return (
        f"{training.epochs} epochs in batches of {training.batch_size}, {optimizer.name}, learning rate "
        f"{optimizer.learning_rate:g} ({run.config.schedule.name})"
    )


def overview_picture(evaluations: Sequence[Evaluation]) -> Picture:
    """The first test sample: input, truth, predictions and errors, at the last frame."""
    panels = shared_panels(evaluations)
    examples, run = evaluations[0].examples, evaluations[0].run
    sample, points = examples.samples[0], examples.truth.shape[2]
    with open_dataset(evaluations[0].subject.path) as dataset:
        windows = load_windows(dataset, run.config.data, range(sample, sample + 1), points)
    given = windows.inputs[0, -1].numpy()
    name = run.config.data.input
    if examples.times is None:
        names = name, examples.field
    else:
        names = f"{name}, last given frame", f"{examples.field}, t = {examples.times[-1]:g}"
    draw = _lines if len(examples.coordinates) == 1 else _maps
    labels = " and ".join(dict.fromkeys(panel.label for panel in panels))
    return Picture(
        "overview",
        f"Test sample {sample}, the first of them (not selected by its error): the input, the truth, the prediction of "
        f"{labels} (seed {panels[0].seed}) and its absolute error.",
        "Input, truth, prediction and absolute error of one sample. Largest errors: "
        + ", ".join(f"{panel.label} {float(np.max(panel.error[-1])):.3g}" for panel in panels),
        png(draw(panels, given, names, windows)),
    )


def _lines(
    panels: Sequence[Panel], given: Float[np.ndarray, " points"], names: tuple[str, str], windows: Windows
) -> Figure:
    figure = new_figure(9.6, 2.9)
    first, second, third = figure.subplots(1, 3)
    (x,) = windows.coordinates
    first.plot(x, given, color=TRUTH, linewidth=1.8)
    second.plot(x, panels[0].truth[-1], color=TRUTH, linewidth=2.4, label="truth")
    for panel in panels:
        second.plot(x, panel.prediction[-1], color=panel.hue, linestyle="--", linewidth=1.4, label=panel.label)
        third.plot(x, panel.error[-1], color=panel.hue, linewidth=1.4, label=panel.label)
    polish(first, "x", "", f"input: {names[0]}")
    polish(second, "x", "", f"truth and prediction: {names[1]}")
    polish(third, "x", "", "absolute error")
    third.set_ylim(bottom=0)
    second.legend(fontsize=8)
    return figure


def _maps(panels: Sequence[Panel], given: Float[np.ndarray, "x y"], names: tuple[str, str], windows: Windows) -> Figure:
    figure = new_figure(9.6, 0.5 + 2.3 * len(panels))
    rows = figure.subplots(len(panels), 4, squeeze=False)
    truth = panels[0].truth[-1]
    errors = np.concatenate([panel.error[-1].ravel() for panel in panels])
    largest = float(errors[np.isfinite(errors)].max(initial=0.0)) or 1.0
    for row, panel in zip(rows, panels, strict=True):
        shown = (
            (f"input: {names[0]}", given, _limits(given), FIELD_MAP),
            (f"truth: {names[1]}", truth, _limits(truth), FIELD_MAP),
            (f"prediction: {panel.label}", panel.prediction[-1], _limits(truth), FIELD_MAP),
            ("absolute error", panel.error[-1], (0.0, largest), ERROR_MAP),
        )
        for axes, (title, field, (low, high), colours) in zip(row, shown, strict=True):
            # Arrays are [x, y]; images have y upwards.
            image = axes.imshow(field.T, origin="lower", cmap=_map_of(colours, low), vmin=low, vmax=high)
            axes.set_title(title, fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
            figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02).ax.tick_params(labelsize=8)
    return figure


def _limits(field: np.ndarray) -> tuple[float, float]:
    """Symmetric about zero for a field with both signs, so that white is zero."""
    low, high = float(field.min()), float(field.max())
    if low < 0 < high:
        return -max(-low, high), max(-low, high)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _map_of(colours: str, low: float) -> str:
    """Colours that part at zero are for fields that have both signs."""
    return ERROR_MAP if colours == FIELD_MAP and low >= 0 else colours
