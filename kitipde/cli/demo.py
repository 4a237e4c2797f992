"""`kitipde demo`: the whole road once, each step a command that the user could have typed."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from datagen.files import real
from kitipde.cli.console import type_command
from kitipde.cli.reproduce import seeds_of

__all__ = ["demo"]

_SAMPLES, _RESOLUTIONS = 448, "64,128,512"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the dataset, the runs and the report.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds of each model.")] = 3,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew, whatever the folder holds.")] = False,
) -> None:
    """Generate Burgers data, train an FNO with and without KITI, evaluate both, write a report.

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
    type_command("compare", *runs.values())
    type_command("report", *runs.values(), "--out", report)
    print(f"\nThe report: {report.resolve()}  (made in {time.monotonic() - started:.0f} s)")


def _clear(out: Path) -> None:
    """Remove an earlier demo; a folder that holds something else is left alone."""
    if out.exists() and not (out / "burgers.h5").is_file() and any(out.iterdir()):
        raise InputError(f"{out} is not a demo's folder, so --overwrite does not touch it")
    shutil.rmtree(real(out), ignore_errors=True)
