"""`kitipde pool`: one table from the seeds of several machines."""

from pathlib import Path
from typing import Annotated

import typer

from kitipde.cli.console import remark, show_json
from kitipde.cli.outputs import refuse_source
from kitipde.cli.reproduce import Reference, show_results

__all__ = ["pool"]


def pool(
    files: Annotated[list[Path], typer.Argument(help="results.json of one or more studies of the same kind.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the joint results.json and results.md.")] = None,
    reference: Reference = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare the models of studies anew, with the seeds of all of them; the runs themselves are not needed."""
    from dataclasses import asdict

    if out is not None:
        refuse_source(out / "results.json", files)
    from kitipde.studies.pooled import pooled_results
    from kitipde.studies.results import write_results

    table = pooled_results(files, reference)
    if out is not None:
        write_results(table, out)
        remark(f"wrote {out / 'results.json'} and {out / 'results.md'}")
    if as_json:
        show_json(asdict(table))
    else:
        show_results(table)
