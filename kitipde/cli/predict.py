"""`kitipde predict`: what trained models say to new inputs, as a data set."""

from pathlib import Path
from typing import Annotated

import typer

from kitipde.cli.console import progress, remark
from kitipde.cli.outputs import refuse_taken

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder made by `kitipde train`.")],
    data: Annotated[Path, typer.Option(help="Dataset with the inputs; it needs no solutions.")],
    out: Annotated[Path, typer.Option(help="The file to make.")],
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="This network alone; by default the mean over all, and their spread."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames to predict; by default as in training.")] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Points per axis; by default those of the file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Predict the solutions of new inputs.

    The file is a dataset like any other: `kitipde info` shows it, xarray opens it.
    """
    refuse_taken(out, overwrite, data)
    from kitipde.evaluation.predict import predict as write_predictions

    with progress("predict", "samples") as report:
        write_predictions(
            run, data, out, seed=seed, frames=frames, resolution=resolution, progress=report, remark=remark
        )
    remark(f"made {out}: {out.stat().st_size / 1e6:.1f} MB")
