"""`kitipde evaluate`: the errors of trained models, at any resolution."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, remark, show_json, show_table
from kitipde.cli.mesh import evaluate_on_mesh

if TYPE_CHECKING:
    from kitipde.evaluation import Evaluation, Summary

__all__ = ["evaluate", "parse_resolutions"]


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders made by `kitipde train`.")],
    data: Annotated[
        Path | None, typer.Option(help="Dataset to evaluate on; by default the test split of each run's own.")
    ] = None,
    resolutions: Annotated[
        str | None,
        typer.Option(help="Points per axis, comma-separated; by default half, all and twice those of training."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames to predict; by default as in training.")] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Also write error figures into each run's folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure the errors of trained models.

    Every error of every seed, test sample and frame is written to RUN/evaluation as NetCDF; the table has their means.
    """
    from kitipde.evaluation import all_on_mesh, evaluate_runs, summarise

    if all_on_mesh(runs):
        if resolutions is not None:
            raise InputError(f"--resolutions {resolutions}: runs on a mesh have the nodes they have; leave it out")
        evaluate_on_mesh(runs, data, frames, maps=maps, as_json=as_json)
        return

    with progress("evaluate", "samples") as report:
        evaluations = evaluate_runs(
            runs, data, parse_resolutions(resolutions), frames=frames, progress=report, remark=remark
        )
    rows = summarise(evaluations)
    if as_json:
        show_json([_document(row) for row in rows])
    else:
        _show(evaluations, rows)
    for row in rows:
        if row.lost_power > 0.01:
            remark(
                f"{row.run}: a grid of {row.resolution} points cannot hold {100 * row.lost_power:.1f} % of the truth's "
                "power; part of this error is the grid's"
            )
    if maps:
        from kitipde.reporting.gallery import figures_folder, write_gallery

        for path in write_gallery(evaluations):
            remark(f"wrote {path}")
        if len(evaluations) > 1:
            remark(f"figures of all runs together: {figures_folder(evaluations[0])}")


def parse_resolutions(text: str | None) -> tuple[int, ...]:
    """The numbers of a comma-separated list.

    Raises:
        InputError: if one is not a positive whole number.
    """
    if text is None:
        return ()
    numbers = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) < 1:
            raise InputError(f"--resolutions takes whole numbers of points, for example 64,128, not '{text}'")
        numbers.append(int(part))
    return tuple(numbers)


def _show(evaluations: Sequence["Evaluation"], rows: Sequence["Summary"]) -> None:
    header = (
        "run",
        "trained at",
        "resolution",
        "seeds",
        "MSE",
        "RMSE",
        "normalised RMSE",
        "relative L2",
        "relative H1",
    )
    several = any(row.mse.seeds > 1 for row in rows)
    title = f"Errors: mean over test samples{', ± standard deviation over seeds' if several else ''}"
    names = [evaluation.run.name for evaluation in evaluations]
    own_names = len(set(names)) == len(names)
    subjects = {evaluation.subject.description for evaluation in evaluations}
    show_table(
        f"{title} ({'; '.join(sorted(subjects))})",
        header,
        [
            (
                row.run if own_names else row.label,
                str(row.trained_at),
                str(row.resolution),
                str(row.mse.seeds),
                *(str(estimate) for estimate in (row.mse, row.rmse, row.nrmse, row.relative_l2, row.relative_h1)),
            )
            for row in rows
        ],
    )


def _document(row: "Summary") -> dict[str, Any]:
    return asdict(row)
