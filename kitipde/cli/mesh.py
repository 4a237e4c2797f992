"""What `kitipde evaluate` does with runs on a mesh."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kitipde.cli.console import progress, remark, show_json, show_table, wrote

if TYPE_CHECKING:
    from kitipde.evaluation import MeshSummary

__all__ = ["evaluate_on_mesh"]


def evaluate_on_mesh(runs: Sequence[Path], data: Path | None, frames: int | None, *, maps: bool, as_json: bool) -> None:
    """Measure errors and forces, and show them."""
    from kitipde.evaluation import evaluate_mesh_runs, summarise_mesh

    with progress("evaluate", "samples") as report:
        evaluations = evaluate_mesh_runs(runs, data, frames=frames, progress=report, remark=remark)
    rows = summarise_mesh(evaluations)
    if as_json:
        show_json([asdict(row) for row in rows])
    else:
        _show(rows, "; ".join(sorted({evaluation.subject.description for evaluation in evaluations})))
    if maps:
        from kitipde.reporting.gallery import figures_folder
        from kitipde.reporting.mesh import write_mesh_gallery

        for path in write_mesh_gallery(evaluations):
            wrote(path)
        if len(evaluations) > 1:
            remark(f"figures of all runs together: {figures_folder(evaluations[0])}")


def _show(rows: Sequence["MeshSummary"], subjects: str) -> None:
    """One line per error, one column per run: there are more errors than runs."""
    from kitipde.evaluation import MESH_METRICS

    several = any(row.errors["momentum_rmse"].seeds > 1 for row in rows)
    lines = [
        (metric.title, units if units != "1" else "", name, *(str(row.errors[name]) for row in rows))
        for name, (metric, units) in MESH_METRICS.items()
    ]
    lines += [
        ("seeds", "", "", *(str(row.errors["momentum_rmse"].seeds) for row in rows)),
        ("parameters", "", "", *(_number(row.cost.parameters, ",") for row in rows)),
        ("time per epoch of training", "s", "", *(_number(row.cost.seconds_per_epoch, ".3g") for row in rows)),
    ]
    frames = ", ".join(sorted({f"{row.frames} frames on {row.nodes:,} nodes" for row in rows}))
    title = f"Mean errors{' ± standard deviation over seeds' if several else ''}"
    header = ("error", "units", "--metric", *(row.label for row in rows))
    show_table(f"{title} ({subjects}; {frames})", header, lines, texts=(0, 1, 2))


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)
