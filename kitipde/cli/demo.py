"""`kitipde demo`: the whole road once, each step a command that the user could have typed."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from datagen.files import real
from kitipde.cli.console import remark, type_command
from kitipde.cli.reproduce import seeds_of

__all__ = ["demo"]

_SAMPLES, _RESOLUTIONS = 448, "64,128,512"


def demo(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for the dataset, the runs and the report.")
    ] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Seeds of each model.")] = 3,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start over, even if the folder holds an earlier demo.")
    ] = False,
) -> None:
    """Data, two trainings, a verdict and a report, in a minute or two.

    Generates solutions of Burgers' equation, trains an FNO with and without KITI, compares them and writes a report.
    An interrupted demo continues where it stopped.
    """
    data, report = out / "burgers.h5", out / "report.html"
    runs = {"--no-kiti": out / "vanilla", "--kiti": out / "kiti"}
    if overwrite:
        _clear(out)
    started = time.monotonic()
    type_command("generate", "burgers", "--samples", _SAMPLES, "--resolution", 1024, "--seed", 0, "--out", data)
    for flag, run in runs.items():
        if (run / "config.yaml").is_file():
            type_command("train", "fno", "--resume", "--seeds", max(seeds, seeds_of(run)), "--out", run)
        else:
            type_command("train", "fno", flag, "--config", "demo", "--data", data, "--seeds", seeds, "--out", run)
    type_command("evaluate", *runs.values(), "--resolutions", _RESOLUTIONS)
    type_command("compare", *runs.values(), "--plot", out / "verdict.png")
    type_command("report", *runs.values(), "--out", report)
    remark(f"\nDone in {time.monotonic() - started:.0f} s. Open {report.resolve()} in a browser.")


def _clear(out: Path) -> None:
    """Remove an earlier demo; a folder that holds something else is left alone."""
    if out.exists() and not (out / "burgers.h5").is_file() and any(out.iterdir()):
        raise InputError(f"{out} is not a demo's folder, so --overwrite does not touch it")
    shutil.rmtree(real(out), ignore_errors=True)
