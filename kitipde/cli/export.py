"""`kitipde export`: a data set for other programs, a trained run for other machines."""

from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, remark
from kitipde.cli.outputs import refuse_taken

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Write a data set for other programs, or a run to hand on.")

File = Annotated[Path, typer.Argument(help="A data set.")]
Out = Annotated[Path, typer.Option(help="The file to make.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file.")]


@app.command()
def mat(file: File, out: Out, overwrite: Overwrite = False) -> None:
    """MATLAB's format with `a`, `u` and `t`, time last, as the FNO data were published."""
    from datagen.mat import export_mat
    from datagen.store import open_dataset

    refuse_taken(out, overwrite, file)
    with open_dataset(file) as data:
        export_mat(data, out)
    remark(f"made {out}: {out.stat().st_size / 1e6:.1f} MB")


@app.command()
def well(file: File, out: Out, overwrite: Overwrite = False) -> None:
    """The layout of The Well: trajectories, with periodic boundaries and the equation's constants."""
    from datagen.store import open_dataset
    from datagen.well import export_well

    refuse_taken(out, overwrite, file)
    with open_dataset(file) as data, progress("export", "samples") as show:
        export_well(data, out, lambda done, total: show(done, total, ""))
    remark(f"made {out}: {out.stat().st_size / 1e6:.1f} MB")


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="A run folder, all of its seeds finished.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
) -> None:
    """What others need to evaluate a trained run: settings, best weights, metrics; no training states, no paths."""
    from kitipde.runs import export_run, open_run

    if out.exists():
        raise InputError(f"{out} exists; choose another --out or remove it")
    export_run(open_run(folder), out)
    remark(f"made {out}: {sum(path.stat().st_size for path in out.glob('seed-*/*')) / 1e6:.1f} MB")
