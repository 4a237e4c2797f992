"""What tests share: one thread (two would fight over the cores with parallel tests), small real datasets and runs."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch loads its OpenMP runtime; processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)

TINY = (
    "model.modes=4",
    "model.width=8",
    "model.layers=2",
    "model.projection_width=8",
    "residual.layout=flat",
    "residual.collision_heads=16",
    "training.batch_size=5",
    "training.epochs=3",
)


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch) -> None:
    """Tables are as wide as they want, wherever the tests are run; tests of the width set their own."""
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture
def kitipde(monkeypatch, capfd) -> Callable[..., Outcome]:
    """Run a command line in this process, through the same entry as a user's."""

    def run(*words: object) -> Outcome:
        from kitipde.cli import main

        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["kitipde", *(str(word) for word in words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capfd.readouterr()
        return Outcome(int(end.value.code or 0), printed.out, printed.err)

    return run


def settings(*assignments: str) -> list[str]:
    """`--set` for each assignment."""
    return [word for text in assignments for word in ("--set", text)]


def make_dataset(recipe: Any, path: Path) -> Path:
    """Make the dataset of a recipe, whole."""
    from datagen.generation import generate
    from datagen.generation.machine import Machine

    machine = Machine.here("cpu", shard="", workers=1)
    work = generate.plan(recipe, path, machine.device)
    generate.generate(work, recipe, machine)
    generate.join(work)
    return path


def install(folder: Path, package: str, entry_points: str, version: str = "1.0") -> Path:
    """What pip would write of a package with these entry points, into a folder that stands for `site-packages`."""
    written = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    written.mkdir(parents=True)
    (written / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (written / "entry_points.txt").write_text(entry_points)
    return folder


@pytest.fixture(scope="session")
def burgers_file(tmp_path_factory) -> Path:
    """20 samples of Burgers' equation on 32 points."""
    from datagen.equations.burgers import Burgers

    recipe = Burgers(samples=20, resolution=32, solve_resolution=256)
    return make_dataset(recipe, tmp_path_factory.mktemp("data") / "burgers.h5")
