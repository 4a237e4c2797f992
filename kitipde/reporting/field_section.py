"""The report's section on fields: one sample frame by frame, and the worst ones."""

from collections.abc import Sequence

from kitipde.evaluation.records import Evaluation
from kitipde.reporting.fields import (
    Predicted,
    animation,
    frames_figure,
    largest_errors,
    predicted,
    sample_figure,
    shared_samples,
)
from kitipde.reporting.page import Picture, Section
from kitipde.reporting.panels import view_note
from kitipde.reporting.style import colour, png

__all__ = ["field_section"]


def _with_seeds(panels: Sequence[Predicted]) -> str:
    seeds = {panel.seed for panel in panels}
    if len(seeds) == 1:
        return f"{' and '.join(panel.label for panel in panels)}, seed {seeds.pop()}"
    return " and ".join(f"{panel.label} (seed {panel.seed})" for panel in panels)


def _missing(evaluations: Sequence[Evaluation], shared: Sequence[Predicted]) -> str:
    """Whose fields are stored on another grid than the first model's, or of another sample."""
    drawn = {panel.label for panel in shared}
    left_out = [evaluation.label for evaluation in evaluations if evaluation.label not in drawn]
    points = " × ".join(map(str, shared[0].truth.shape[2:]))
    return f" Not drawn: {' and '.join(left_out)}, whose fields are not on these {points} points." if left_out else ""


def field_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """The first test sample frame by frame, then each run's worst sample; None if there is neither."""
    reference = evaluations[0].examples
    shared = shared_samples(evaluations)
    names = " and ".join(one.label for one in shared)
    pictures = []
    moves, several = reference.truth.shape[1] > 1, len(reference.fields) > 1
    # A single frame is what the top of the page shows.
    if moves or len(shared) < len(evaluations):
        for field, name in enumerate(reference.fields):
            pictures.append(
                Picture(
                    f"fields-{name}" if several else "fields",
                    f"{f'Field {name} of the' if several else 'The'} first test sample (number "
                    f"{reference.samples[0]} of the file; it was not chosen by its error), predicted by "
                    f"{_with_seeds(shared)}."
                    f"{_missing(evaluations, shared)}{view_note(reference.geometry)}",
                    f"Truth, predictions and absolute errors of {names}. {largest_errors(shared, reference)}",
                    png(frames_figure(shared, reference, field)),
                )
            )
    if moves:
        pictures.append(
            Picture(
                "rollout",
                "The same rollout, frame after frame.",
                f"Animation of truth, prediction and absolute error of {names}.",
                animation(shared, reference),
                "gif",
            )
        )
    pictures += [
        _worst_sample(evaluation, number)
        for number, evaluation in enumerate(evaluations)
        if len(evaluation.examples.samples) > 1
    ]
    return Section("fields", "Fields", pictures=tuple(pictures)) if pictures else None


def _worst_sample(evaluation: Evaluation, number: int) -> Picture:
    """Of a single field through time, of several at the last frame."""
    examples = evaluation.examples
    models = (predicted(evaluation, 1, colour(number)),)
    through_time = len(examples.fields) == 1 and examples.truth.shape[1] > 1
    figure = frames_figure(models, examples) if through_time else sample_figure(models, examples, 1)
    return Picture(
        f"worst-{number}",
        f"The worst test sample of {evaluation.label} (number {examples.samples[1]}), seed {examples.seed}.",
        f"Truth, prediction and absolute error of {evaluation.label} where its error is largest. "
        f"{largest_errors(models, examples)}",
        png(figure),
    )
