"""`kitipde predict`: predictions of trained models for new inputs, as a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from kitipde.cli.console import progress, remark, wrote
from kitipde.cli.outputs import refuse_taken

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by `kitipde train`.")],
    data: Annotated[Path, typer.Option(metavar="FILE", help="Dataset with the inputs; it needs no solutions.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="One seed's network alone.  [default: mean and standard deviation over all]"
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Frames to predict.  [default: as in training]")
    ] = None,
    resolution: Annotated[
        str | None,
        typer.Option(metavar="N|NxM", help="Points of every axis, or of each.  [default: those of the file]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Predict the solutions of new inputs.

    The file is a dataset like any other: `kitipde info` shows it, xarray opens it.
    """
    refuse_taken(out, overwrite, data)
    from datagen.geometry import parse_resolution
    from kitipde.evaluation.predict import predict as write_predictions

    points = None if resolution is None else parse_resolution(resolution)
    with progress("predict", "samples") as report:
        write_predictions(run, data, out, seed=seed, frames=frames, resolution=points, progress=report, remark=remark)
    wrote(out)
