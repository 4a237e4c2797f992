"""Figures as files beside the runs: `kitipde evaluate --maps`."""

from collections.abc import Sequence
from pathlib import Path

from kitipde.evaluation.mesh_records import MeshEvaluation
from kitipde.evaluation.records import Evaluation
from kitipde.evaluation.storage import evaluation_folder
from kitipde.files import write_atomically
from kitipde.reporting.curves import resolution_figure, resolution_matrix_figure, spectrum_figure, time_figure
from kitipde.reporting.fields import animation, field_figure, panel_of
from kitipde.reporting.style import save

__all__ = ["figures_folder", "write_gallery"]


def write_gallery(evaluations: Sequence[Evaluation]) -> tuple[Path, ...]:
    """Write each run's figures into RUN/evaluation/…/figures, and those of all runs together into the first's.

    Returns:
        The files written.
    """
    written: list[Path] = []
    for evaluation in evaluations:
        folder, examples = figures_folder(evaluation), evaluation.examples
        for position, sample in enumerate(examples.samples):
            panels = (panel_of(evaluation, position),)
            written += save(field_figure(panels, examples), folder / f"fields-sample-{sample}")
            if examples.truth.shape[1] > 1:
                path = folder / f"rollout-sample-{sample}.gif"
                write_atomically(path, animation(panels, examples))
                written.append(path)
        written += save(spectrum_figure([evaluation]), folder / "spectrum")
        if evaluation.metrics.sizes["time"] > 1:
            written += save(time_figure([evaluation]), folder / "error-against-time")
    together = figures_folder(evaluations[0])
    # A chart or matrix of one number shows nothing that the table does not.
    resolutions = {resolution for evaluation in evaluations for resolution in evaluation.resolutions}
    if len(resolutions) > 1:
        written += save(resolution_figure(evaluations), together / "error-against-resolution")
    if len(resolutions) * len(evaluations) > 1:
        written += save(resolution_matrix_figure(evaluations), together / "resolution-matrix")
    return tuple(written)


def figures_folder(evaluation: Evaluation | MeshEvaluation) -> Path:
    """Where the figures of a run are; of several runs, those of all together are in the first's."""
    return evaluation_folder(evaluation.run, evaluation.subject) / "figures"
