"""`kitipde compare`: one model against another, with the uncertainty of the answer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitipde.cli.console import progress, remark, show_json, show_table

if TYPE_CHECKING:
    from kitipde.evaluation import RunComparison

__all__ = ["compare"]


def compare(
    run_a: Annotated[Path, typer.Argument(help="The reference run.")],
    run_b: Annotated[Path, typer.Argument(help="The run to compare with it.")],
    data: Annotated[Path | None, typer.Option(help="Dataset to compare on; by default the test split.")] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Points per axis; by default those of training.")
    ] = None,
    coordinates: Annotated[
        str | None, typer.Option(help="As for `kitipde evaluate`: interpolated or published.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(help="Which error: relative_l2, mse, rmse, relative_h1, …; on a mesh momentum_rmse, lift_rmse, …"),
    ] = "relative_l2",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Tell whether one model is better than another, over seeds and test samples."""
    from kitipde.evaluation import compare_runs

    with progress("evaluate", "samples") as report:
        comparison = compare_runs(
            run_a, run_b, data, resolution, metric, coordinates=coordinates, progress=report, remark=remark
        )
    for text in comparison.remarks:
        remark(text)
    if as_json:
        show_json(asdict(comparison))
    else:
        _show(comparison)


def _show(comparison: "RunComparison") -> None:
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
    show_table(
        f"{comparison.metric} on {comparison.resolution} {comparison.points}, mean over {result.samples} test samples",
        header,
        rows,
    )
    print(f"ratio of means  {result.ratio:.4g}")
    if result.low is not None and result.high is not None:
        print(f"95 % interval   {result.low:.4g} to {result.high:.4g} (bootstrap over seeds and test samples)")
    if result.p_value is not None and result.smallest_p is not None:
        test = "Wilcoxon" if result.paired else "Mann-Whitney"
        floor = (
            f", the smallest that so few seeds can give is {result.smallest_p:.2g}" if result.smallest_p > 0.05 else ""
        )
        print(f"over seeds      p = {result.p_value:.2g} ({test}{floor})")
        print(f"over samples    p = {result.p_value_samples:.2g} (Wilcoxon)")
    print(f"verdict         {comparison.verdict}")
