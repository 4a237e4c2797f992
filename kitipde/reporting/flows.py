"""The forces that follow from predicted pressures."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from datagen.store import open_dataset
from kitipde.evaluation.measure import recorded_numbers
from kitipde.evaluation.metrics.compared import Compared
from kitipde.evaluation.metrics.flow import forces
from kitipde.evaluation.records import Evaluation
from kitipde.reporting.style import TRUTH, colour, dashes, new_figure, polish

__all__ = ["force_figure", "has_forces"]


def has_forces(evaluation: Evaluation) -> bool:
    """Whether lift and drag are defined for its geometry and fields, over more than one frame."""
    defined = {each.name for each in evaluation.defined}
    return {"lift_rmse", "drag_rmse"} <= defined and evaluation.metrics.sizes["time"] > 1


def force_figure(evaluations: Sequence[Evaluation], place: int = 0) -> Figure:
    """Lift and drag coefficients of one example against time: the truth in black, a line per run.

    Args:
        evaluations: whose examples at this place are of the same sample.
        place: which of the examples.
    """
    figure = new_figure(9.6, 3.8)
    found = [_forces(evaluation, place) for evaluation in evaluations]
    for axes, force in zip(figure.subplots(1, 2), ("lift", "drag"), strict=True):
        times = evaluations[0].metrics["time"].values
        axes.plot(times, found[0][f"true_{force}"], color=TRUTH, linewidth=2.2, label="truth")
        for number, (evaluation, values) in enumerate(zip(evaluations, found, strict=True)):
            label, style = f"{evaluation.label}, seed {evaluation.examples.seed}", dashes(number)
            axes.plot(times, values[force], style, color=colour(number), label=label, linewidth=1.8)
        polish(axes, "time", f"{force} coefficient")
    figure.axes[0].legend(fontsize=9)
    figure.suptitle(f"sample {evaluations[0].examples.samples[place]}", fontsize=12)
    return figure


def _forces(evaluation: Evaluation, place: int) -> dict[str, np.ndarray]:
    """Coefficients of each frame, by name: from the pressure on the airfoil; the true ones as the file says, if so."""
    examples, one = evaluation.examples, slice(place, place + 1)
    prediction, truth, inputs = (
        torch.from_numpy(values[one]) for values in (examples.prediction, examples.truth, examples.inputs)
    )
    with open_dataset(evaluation.subject.path) as dataset:
        recorded = recorded_numbers(dataset, evaluation.run.config.data, examples.samples[one])
    compared = Compared(
        prediction, truth, inputs, examples.geometry, examples.fields, examples.given, recorded=recorded
    )
    return {name: values[0, :, 0].numpy() for name, values in forces(compared).items()}
