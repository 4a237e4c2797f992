"""The top of a report: what was learnt from what, and one sample as the networks see it."""

from collections.abc import Callable, Sequence

from datagen.equations.stored import constants
from datagen.store import open_dataset
from kitipde.evaluation.records import Evaluation
from kitipde.problem.windows import split_samples
from kitipde.reporting.fields import largest_errors, sample_figure, shared_samples
from kitipde.reporting.page import Picture
from kitipde.reporting.panels import labelled, view_note
from kitipde.reporting.style import png
from kitipde.runs import Run

__all__ = ["facts_of", "overview_picture"]

# As papers write them; others are called as in the settings.
_NETWORKS = {"fno": "FNO", "oformer": "OFormer"}
_OF_MODELS = ("modes", "width", "latent_width", "layers", "activation")


def facts_of(evaluations: Sequence[Evaluation]) -> tuple[tuple[str, str], ...]:
    """What was learnt from what, as pairs of a name and a text; what differs between runs is listed by run."""
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
        numbers = [f"{each.symbol} = {labelled(f'{each.value:g}', each.units)}" for each in constants(dataset)]
    return ", ".join([title, *numbers])


def _task(run: Run) -> str:
    problem = run.facts.problem
    inputs, targets = ", ".join(problem.inputs), ", ".join(problem.targets)
    beside = ", ".join((*problem.static, *problem.parameters))
    beside = f" with {beside}" if beside else ""
    count, start = run.config.data.wanted_frames, run.config.data.given_frames
    if start == count == 1 and not problem.feeds_back:
        return f"{inputs}{beside} → {targets}"
    given = f"frame{'s 1 to' if start > 1 else ''} {start}"
    wanted = f"frame{f's {start + 1} to' if count > 1 else ''} {start + count}"
    return f"{inputs}, {given}{beside} → {targets}, {wanted}"


def _samples(run: Run) -> str:
    """Sizes of the splits, as far as the settings or their file tell."""
    train, validation = run.config.data.train, run.config.data.validation
    if (train is None or validation is None) and run.dataset_path.is_file():
        with open_dataset(run.dataset_path) as dataset:
            split = split_samples(dataset.samples, run.config.data)
        train, validation = len(split.train), len(split.validation)
    grid = " × ".join(map(str, run.facts.resolution))
    points = "nodes" if run.facts.problem.domain.kind == "mesh" else "points"
    counts = f"{'?' if train is None else train} training and {'?' if validation is None else validation} validation"
    return f"{counts} samples of {run.dataset_path.name} on {grid} {points}"


def _network(run: Run) -> str:
    settings = run.config.model.model_dump()
    texts = [f"{name} {settings[name]}" for name in _OF_MODELS if name in settings]
    size = next((f"{replica.facts()['parameters']:,} parameters" for replica in run.replicas), "")
    name = run.config.model.name
    return ", ".join([_NETWORKS.get(name, name), *texts, size])


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
    """The first test sample: inputs, truth, predictions and errors, at the last frame."""
    models, examples = shared_samples(evaluations), evaluations[0].examples
    labels = " and ".join(dict.fromkeys(model.label for model in models))
    inputs = "the input" if len(examples.given) == 1 else "the inputs"
    return Picture(
        "overview",
        f"Test sample {examples.samples[0]}, the first of them (not selected by its error): {inputs}, the truth, the "
        f"prediction of {labels} (seed {models[0].seed}) and its absolute error.{view_note(examples.geometry)}",
        f"Input, truth, prediction and absolute error of one sample. {largest_errors(models, examples)}",
        png(sample_figure(models, examples)),
    )
