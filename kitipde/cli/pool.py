"""`kitipde pool`: one table from the seeds of several machines."""

from pathlib import Path
from typing import Annotated

import typer

from kitipde.cli.console import show_json, wrote
from kitipde.cli.outputs import refuse_source
from kitipde.cli.reproduce import Reference, show_results

__all__ = ["pool"]


def pool(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="results.json of one or more studies of the same kind.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the joint results.json and results.md here.")
    ] = None,
    reference: Reference = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Join the seeds of one study from several machines.

    The models are compared again with all seeds; the runs themselves are not needed.
    """
    from dataclasses import asdict

    if out is not None:
        refuse_source(out / "results.json", files)
    from kitipde.studies.pooled import pooled_results
    from kitipde.studies.results import write_results

    table = pooled_results(files, reference)
    if out is not None:
        write_results(table, out)
        for name in ("results.json", "results.md"):
            wrote(out / name)
    if as_json:
        show_json(asdict(table))
    else:
        show_results(table)
