"""`kitipde report`: one page that tells what the runs show."""

from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, remark
from kitipde.cli.evaluate import parse_resolutions

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the first vanilla one is the reference.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    data: Annotated[
        Path | None, typer.Option(help="Dataset to evaluate on; by default the test split of each run's own.")
    ] = None,
    resolutions: Annotated[
        str | None, typer.Option(help="Points per axis, comma-separated; by default those of the last evaluation.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown, with the figures in a folder beside it.")
    ] = False,
) -> None:
    """Write a self-contained page: verdict, errors, figures, cost, settings and provenance."""
    from kitipde.evaluation import all_on_mesh
    from kitipde.reporting.report import write_report

    if all_on_mesh(runs):
        words = " ".join(map(str, runs))
        raise InputError(f"runs on a mesh have no report: `kitipde evaluate {words} --maps` tells what they show")

    if markdown and out == Path("report.html"):
        out = Path("report.md")
    with progress("evaluate", "samples") as update:
        write_report(runs, out, data, parse_resolutions(resolutions), markdown=markdown, progress=update, remark=remark)
    print(out)
