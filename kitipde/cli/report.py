"""`kitipde report`: one page with everything that the runs show."""

from pathlib import Path
from typing import Annotated

import typer

from kitipde.cli.console import progress, remark, wrote
from kitipde.cli.evaluate import parse_resolutions

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run folders; the first with a plain residual is the reference."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("report.html"),
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Dataset to evaluate on.  [default: the test split of each run's own]"),
    ] = None,
    resolutions: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Points of every axis, or of each (64x128).  [default: those of the last evaluation]",
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown, with the figures in a folder beside it.")
    ] = False,
) -> None:
    """Write one self-contained page: verdict, errors, figures, cost.

    It also has every setting and where the data, the code and the numbers come from.
    """
    from kitipde.reporting.report import write_report

    if markdown and out == Path("report.html"):
        out = Path("report.md")
    with progress("evaluate", "samples") as update:
        write_report(runs, out, data, parse_resolutions(resolutions), markdown=markdown, progress=update, remark=remark)
    wrote(out)
