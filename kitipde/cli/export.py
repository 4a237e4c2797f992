"""`kitipde export`: a dataset for other programs, a trained run for other machines."""

from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, wrote
from kitipde.cli.outputs import refuse_taken

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Write a dataset for other programs, or a run to hand on.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A dataset.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file.")]


@app.command()
def mat(file: File, out: Out, overwrite: Overwrite = False) -> None:
    """MATLAB's format with a, u and t, as the FNO data were published."""
    from datagen.formats.mat import export_mat
    from datagen.store import open_dataset

    refuse_taken(out, overwrite, file)
    with open_dataset(file) as data:
        export_mat(data, out)
    wrote(out)


@app.command()
def well(file: File, out: Out, overwrite: Overwrite = False) -> None:
    """The layout of The Well."""
    from datagen.formats.well import export_well
    from datagen.store import open_dataset

    refuse_taken(out, overwrite, file)
    with open_dataset(file) as data, progress("export", "samples") as show:
        export_well(data, out, lambda done, total: show(done, total, ""))
    wrote(out)


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, all of its seeds finished.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write.")],
) -> None:
    """A trained run for other machines: settings, best weights, metrics.

    Training states and the paths of this machine stay behind.
    """
    from kitipde.runs import export_run, open_run

    if out.exists():
        raise InputError(f"{out} exists; choose another --out or remove it")
    export_run(open_run(folder), out)
    wrote(out)
