"""Figures as files beside the runs: `kitipde evaluate --maps`."""

from collections.abc import Sequence
from pathlib import Path

from datagen.geometry import Grid
from kitipde.evaluation.records import Evaluation
from kitipde.evaluation.storage import evaluation_folder
from kitipde.files import write_atomically
from kitipde.reporting.curves import (
    has_spectra,
    resolution_figure,
    resolution_matrix_figure,
    special_metrics,
    special_time_figure,
    spectrum_figure,
    time_figure,
)
from kitipde.reporting.fields import animation, frames_figure, predicted, sample_figure
from kitipde.reporting.flows import force_figure, has_forces
from kitipde.reporting.style import save

__all__ = ["figures_folder", "write_gallery"]


def write_gallery(evaluations: Sequence[Evaluation]) -> tuple[Path, ...]:
    """Write each run's figures into RUN/evaluation/…/figures, and those of all runs together into the first's.

    fields-sample-N         inputs, truth, prediction and error of an example, at its last frame
    frames-sample-N         the same through time; of several fields one file each, frames-sample-N-FIELD
    rollout-sample-N.gif    an animation of it
    forces-sample-N         lift and drag against time
    spectrum, error-against-time, flow-error-against-time; error-against-resolution and resolution-matrix of all runs

    Returns:
        The files written.
    """
    written: list[Path] = []
    for evaluation in evaluations:
        written += _of_examples(evaluation)
        folder = figures_folder(evaluation)
        if has_spectra(evaluation):
            written += save(spectrum_figure([evaluation]), folder / "spectrum")
        if evaluation.metrics.sizes["time"] > 1:
            written += save(time_figure([evaluation]), folder / "error-against-time")
            if special := special_metrics([evaluation]):
                written += save(special_time_figure([evaluation], special), folder / "flow-error-against-time")
    together = figures_folder(evaluations[0])
    on_grids = [evaluation for evaluation in evaluations if isinstance(evaluation.subject.geometry, Grid)]
    # A chart or matrix of one number shows nothing that the table does not.
    resolutions = {resolution for evaluation in on_grids for resolution in evaluation.resolutions}
    if len(resolutions) > 1:
        written += save(resolution_figure(on_grids), together / "error-against-resolution")
    if len(resolutions) * len(on_grids) > 1:
        written += save(resolution_matrix_figure(on_grids), together / "resolution-matrix")
    return tuple(written)


def figures_folder(evaluation: Evaluation) -> Path:
    """Where the figures of a run are; of several runs, those of all together are in the first's."""
    return evaluation_folder(evaluation.run, evaluation.subject) / "figures"


def _of_examples(evaluation: Evaluation) -> list[Path]:
    """Figures of the samples whose fields are kept."""
    written: list[Path] = []
    folder, examples = figures_folder(evaluation), evaluation.examples
    for place, sample in enumerate(examples.samples):
        models = (predicted(evaluation, place),)
        written += save(sample_figure(models, examples, place), folder / f"fields-sample-{sample}")
        if examples.truth.shape[1] > 1:
            for field, name in enumerate(examples.fields):
                suffix = f"-{name}" if len(examples.fields) > 1 else ""
                path = folder / f"frames-sample-{sample}{suffix}"
                written += save(frames_figure(models, examples, field), path)
            path = folder / f"rollout-sample-{sample}.gif"
            write_atomically(path, animation(models, examples))
            written.append(path)
        if has_forces(evaluation):
            written += save(force_figure([evaluation], place), folder / f"forces-sample-{sample}")
    return written
