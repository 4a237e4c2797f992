"""`kitipde compare`: one model against another, with the uncertainty of the answer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitipde.cli.completion import complete_metric
from kitipde.cli.console import as_number, progress, remark, show_json, show_labelled, show_table, wrote
from kitipde.cli.outputs import refuse_folder

if TYPE_CHECKING:
    from kitipde.evaluation import RunComparison

__all__ = ["compare"]


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The run to compare with.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN", help="The run that is judged.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Dataset to compare on.  [default: their test split]")
    ] = None,
    resolution: Annotated[
        str | None,
        typer.Option(metavar="N|NxM", help="Points of every axis, or of each.  [default: those of training]"),
    ] = None,
    coordinates: Annotated[
        str | None, typer.Option(metavar="KIND", help="As for `kitipde evaluate`: interpolated or published.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_metric,
            help="Which error: relative_l2, relative_h1, rmse, mse, nrmse, max_error, …; on a mesh momentum_rmse, "
            "lift_rmse, …",
        ),
    ] = "relative_l2",
    field: Annotated[
        str | None, typer.Option(metavar="NAME", help="The field that the error is of.  [default: all]")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw errors, ratio and verdict.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Judge whether one model is better than another, over seeds.

    The verdict is paired over seeds and test samples: a ratio of errors, its 95 % interval, and what that allows to
    be said.
    """
    from datagen.geometry import parse_resolution
    from kitipde.evaluation import compare_runs

    points = None if resolution is None else parse_resolution(resolution)
    if plot is not None:
        refuse_folder(plot)

    with progress("evaluate", "samples") as report:
        comparison = compare_runs(
            run_a, run_b, data, points, metric, field=field, coordinates=coordinates, progress=report, remark=remark
        )
    for text in comparison.remarks:
        remark(text)
    if as_json:
        show_json({**asdict(comparison), "resolution": as_number(comparison.resolution)})
    else:
        _show(comparison)
    if plot is not None:
        from kitipde.reporting.verdict import write_verdict

        write_verdict(comparison, plot)
        wrote(plot)


def _show(comparison: "RunComparison") -> None:
    from datagen.geometry import resolution_text

    result = comparison.result
    if result.paired:
        rows = [
            (str(seed), f"{a:.4g}", f"{b:.4g}", f"{b / a:.3f}")
            for seed, a, b in zip(comparison.seeds_a, comparison.errors_a, comparison.errors_b, strict=True)
        ]
        header = ("seed", comparison.a, comparison.b, "ratio")
    else:
        named = (
            (comparison.a, comparison.seeds_a, comparison.errors_a),
            (comparison.b, comparison.seeds_b, comparison.errors_b),
        )
        rows = [
            (f"{name}, {seed}", f"{error:.4g}")
            for name, seeds, errors in named
            for seed, error in zip(seeds, errors, strict=True)
        ]
        header = ("model and seed", comparison.metric)
    what = comparison.metric + (f" of {comparison.field}" if comparison.field else "")
    show_table(
        f"{what} at {resolution_text(comparison.resolution)} {comparison.points}, mean over {result.samples} test "
        "samples",
        header,
        rows,
    )
    print()
    show_labelled("ratio of means", f"{result.ratio:.4g}")
    if result.low is not None and result.high is not None:
        interval = f"{result.low:.4g} to {result.high:.4g} (bootstrap over seeds and test samples)"
        show_labelled("95 % interval", interval)
    if result.p_value is not None and result.smallest_p is not None:
        test = "Wilcoxon" if result.paired else "Mann-Whitney"
        floor = (
            f"; the smallest possible with so few seeds is {result.smallest_p:.2g}" if result.smallest_p > 0.05 else ""
        )
        show_labelled("over seeds", f"p = {result.p_value:.2g} ({test}{floor})")
        show_labelled("over samples", f"p = {result.p_value_samples:.2g} (Wilcoxon)")
    show_labelled("verdict", comparison.verdict)
