"""`kitipde evaluate`: the errors of trained models, at any resolution."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, remark, show_json, show_table, wrote
from kitipde.cli.mesh import evaluate_on_mesh

if TYPE_CHECKING:
    from kitipde.evaluation import Evaluation, Summary

__all__ = ["evaluate", "parse_resolutions"]


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders made by `kitipde train`.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Dataset to evaluate on.  [default: the test split of each run's own]"),
    ] = None,
    resolutions: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Points per axis.  [default: half, all and twice those of training]"),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Frames to predict.  [default: as in training]")
    ] = None,
    coordinates: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Coordinates on grids other than that of training: interpolated, or published (each grid's own).  "
            "[default: as model.coordinates says]",
        ),
    ] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Also write error figures into each run's folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure the errors of trained models.

    The table has the means of three errors; --json has all of them. Every error of every seed, test sample and frame
    is written to RUN/evaluation as NetCDF.
    """
    from kitipde.evaluation import all_on_mesh, evaluate_runs, summarise

    if all_on_mesh(runs):
        if resolutions is not None:
            raise InputError(f"--resolutions {resolutions}: runs on a mesh have the nodes they have; leave it out")
        if coordinates is not None:
            raise InputError(f"--coordinates {coordinates}: runs on a mesh have one grid; leave it out")
        evaluate_on_mesh(runs, data, frames, maps=maps, as_json=as_json)
        return

    with progress("evaluate", "samples") as report:
        evaluations = evaluate_runs(
            runs,
            data,
            parse_resolutions(resolutions),
            frames=frames,
            coordinates=coordinates,
            progress=report,
            remark=remark,
        )
    rows = summarise(evaluations)
    if as_json:
        show_json([_document(row) for row in rows])
    else:
        _show(evaluations, rows)
    for row in rows:
        if row.relative_l2.undefined:
            remark(
                f"{row.run}: {row.relative_l2.undefined} of {row.samples} samples at {row.resolution} points have a "
                "truth of zero, so no relative error: means of relative errors leave them out"
            )
        if row.lost_power > 0.01:
            remark(
                f"{row.run}: a grid of {row.resolution} points cannot hold {100 * row.lost_power:.1f} % of the truth's "
                "power; part of this error is the grid's"
            )
    if maps:
        from kitipde.reporting.gallery import figures_folder, write_gallery

        for path in write_gallery(evaluations):
            wrote(path)
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
    """Three errors, which 80 columns hold; what all rows have in common is said above them."""
    names = {
        "trained at": [str(row.trained_at) for row in rows],
        "seeds": [str(row.mse.seeds) for row in rows],
    }
    shared = {name: values[0] for name, values in names.items() if len(set(values)) == 1}
    columns = {
        "run": [row.label for row in rows],
        **{name: values for name, values in names.items() if name not in shared},
        "resolution": [str(row.resolution) for row in rows],
        "relative L2": [str(row.relative_l2) for row in rows],
        "relative H1": [str(row.relative_h1) for row in rows],
        "RMSE": [str(row.rmse) for row in rows],
    }
    spread = " ± standard deviation over seeds" if any(row.mse.seeds > 1 for row in rows) else ""
    subjects = "; ".join(sorted({evaluation.subject.description for evaluation in evaluations}))
    if "trained at" in shared:
        subjects += f"; trained at {shared['trained at']}"
    if "seeds" in shared:
        subjects += f"; {shared['seeds']} seed{'s' if shared['seeds'] != '1' else ''}"
    if any(row.coordinates == "published" for row in rows):
        subjects += "; coordinates as published: each grid's own"
    show_table(f"Mean errors{spread} ({subjects})", list(columns), list(zip(*columns.values(), strict=True)))


def _document(row: "Summary") -> dict[str, Any]:
    return asdict(row)
