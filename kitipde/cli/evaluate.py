"""`kitipde evaluate`: the errors of trained models, at any resolution."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitipde.cli.console import as_number, progress, remark, show_json, show_table, wrote

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
        typer.Option(
            metavar="N,N,...",
            help="Points of every axis, or of each (64x128).  [default: half, all and twice those of training]",
        ),
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
    from kitipde.evaluation import evaluate_runs, summarise
    from kitipde.evaluation.cost import run_cost

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
        costs = {evaluation.label: asdict(run_cost(evaluation.run)) for evaluation in evaluations}
        show_json([{**_document(row), "cost": costs[row.label]} for row in rows])
    else:
        _show(evaluations, rows)
    for row in rows:
        undefined = row.errors["relative_l2"].undefined
        if undefined:
            remark(
                f"{row.run}: {undefined} of {row.samples} samples at {_text(row.resolution)} points have a truth of "
                "zero, so no relative error: means of relative errors leave them out"
            )
        if row.lost_power is not None and row.lost_power > 0.01:
            remark(
                f"{row.run}: a grid of {_text(row.resolution)} points cannot hold {100 * row.lost_power:.1f} % of the "
                "truth's power; part of this error is the grid's"
            )
    if maps:
        from kitipde.reporting.gallery import figures_folder, write_gallery

        for path in write_gallery(evaluations):
            wrote(path)
        if len(evaluations) > 1:
            remark(f"figures of all runs together: {figures_folder(evaluations[0])}")


def parse_resolutions(text: str | None) -> tuple[tuple[int, ...], ...]:
    """The resolutions of a comma-separated list: `64,128` or `64x128,128x256`.

    Raises:
        InputError: if one is none.
    """
    from datagen.geometry import parse_resolution

    return () if text is None else tuple(parse_resolution(part.strip()) for part in text.split(","))


def _text(resolution: Sequence[int]) -> str:
    from datagen.geometry import resolution_text

    return resolution_text(resolution)


_SHOWN = ("relative_l2", "relative_h1", "rmse")
"""The errors of the table on grids, which 80 columns hold."""


def _show(evaluations: Sequence["Evaluation"], rows: Sequence["Summary"]) -> None:
    """A line a run and resolution with three errors; of flows, and of several fields, a line an error or field."""
    subjects = "; ".join(sorted({evaluation.subject.description for evaluation in evaluations}))
    spread = " ± standard deviation over seeds" if any(row.seeds > 1 for row in rows) else ""
    if any(name not in row.errors for row in rows for name in _SHOWN):
        _show_by_error(evaluations, rows, f"Mean errors{spread} ({subjects}")
        return
    names = {
        "trained at": [_text(row.trained_at) for row in rows],
        "seeds": [str(row.seeds) for row in rows],
    }
    shared = {name: values[0] for name, values in names.items() if len(set(values)) == 1}
    fields = evaluations[0].fields
    lines = [(row, field) for row in rows for field in ((None, *fields) if len(fields) > 1 else (None,))]
    errors = [row.errors if field is None else row.fields.get(field, {}) for row, field in lines]
    columns = {
        "run": [row.label for row, _ in lines],
        **{name: [values[rows.index(row)] for row, _ in lines] for name, values in names.items() if name not in shared},
        "resolution": [_text(row.resolution) for row, _ in lines],
        **({"field": [field or "all" for _, field in lines]} if len(fields) > 1 else {}),
        "relative L2": [str(each.get("relative_l2", "")) for each in errors],
        "relative H1": [str(each.get("relative_h1", "")) for each in errors],
        "RMSE": [str(each.get("rmse", "")) for each in errors],
    }
    if "trained at" in shared:
        subjects += f"; trained at {shared['trained at']}"
    if "seeds" in shared:
        subjects += f"; {shared['seeds']} seed{'s' if shared['seeds'] != '1' else ''}"
    if any(row.coordinates == "published" for row in rows):
        subjects += "; coordinates as published: each grid's own"
    show_table(f"Mean errors{spread} ({subjects})", list(columns), list(zip(*columns.values(), strict=True)))


def _show_by_error(evaluations: Sequence["Evaluation"], rows: Sequence["Summary"], title: str) -> None:
    """One line per error and field, one column per run: there are more errors than runs."""
    from kitipde.evaluation.cost import run_cost
    from kitipde.evaluation.metrics import metric

    units = evaluations[0].metrics
    lines: list[tuple[str, ...]] = []
    for name in rows[0].errors:
        entry, of = metric(name), str(units[f"overall_{name}"].attrs["units"])
        if entry.units == "1" or not entry.by_field or len(evaluations[0].fields) == 1:
            shown = of if of != "1" else ""
            lines.append((entry.title, shown, name, *(str(row.errors.get(name, "")) for row in rows)))
    for place, field in enumerate(evaluations[0].fields):
        of = str(units["field_units"].values[place])
        lines.append((f"RMSE of {field}", of, "rmse", *(str(row.fields[field]["rmse"]) for row in rows)))
    costs = [run_cost(evaluation.run) for evaluation in evaluations]
    lines += [
        ("seeds", "", "", *(str(row.seeds) for row in rows)),
        ("parameters", "", "", *(_number(cost.parameters, ",") for cost in costs)),
        ("time per epoch of training", "s", "", *(_number(cost.seconds_per_epoch, ".3g") for cost in costs)),
    ]
    frames = ", ".join(sorted({f"{row.frames} frames on {_text(row.resolution)} points" for row in rows}))
    header = ("error", "units", "--metric", *(row.label for row in rows))
    show_table(f"{title}; {frames})", header, lines, texts=(0, 1, 2))


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _document(row: "Summary") -> dict[str, Any]:
    told = asdict(row)
    errors = told.pop("errors")
    return {**told, "trained_at": as_number(row.trained_at), "resolution": as_number(row.resolution), **errors}
