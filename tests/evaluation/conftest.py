"""Tiny datasets with known solutions and tiny trained runs, made once for all tests that read runs."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from datagen.geometry import periodic_grid
from datagen.store import Coordinate, Layout, Variable
from datagen.store.layout import DefaultProblem
from datagen.store.writer import write_file
from kitipde.config.load import resolve_config
from kitipde.runs import Run, open_run

TAU = 2 * np.pi


def instants(values: np.ndarray) -> Coordinate:
    return Coordinate("time", values, units="1", long_name="time", axis="T")


def write_line_data(
    path: Path, samples: int = 20, points: int = 32, seed: int = 0, config: str = "", half: float = 0.5
) -> Path:
    """u0 is a few random sines, u the same moved by a quarter of the domain and halved."""
    rng = np.random.default_rng(seed)
    x = np.arange(points) / points
    amplitudes, phases = rng.normal(size=(samples, 3, 1)), rng.uniform(0, TAU, (samples, 3, 1))
    modes = np.arange(1, 4)[:, None]

    def field(shift: float) -> np.ndarray:
        return (amplitudes * np.sin(TAU * modes * (x - shift) + phases)).sum(1)

    layout = Layout(
        equation="burgers",
        config=config or f'{{"seed": {seed}}}',
        geometry=periodic_grid((points,), (1.0,)),
        variables=(
            Variable("u0", ("sample", "x"), "1", "initial velocity"),
            Variable("u", ("sample", "x"), "1", "final velocity"),
        ),
        attributes={},
        problem=DefaultProblem(("u0",), ("u",)),
    )
    write_file(path, layout, np.arange(samples), {"u0": field(0.0), "u": half * field(0.25)})
    return path


def write_plane_data(
    path: Path, samples: int = 10, points: int = 16, frames: int = 6, times: np.ndarray | None = None
) -> Path:
    """Waves that travel along x: frame t is the first one moved by t/16 of the domain."""
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.arange(points) / points, np.arange(points) / points, indexing="ij")
    phases = rng.uniform(0, TAU, (samples, 1, 1, 1))
    shift = np.arange(frames)[:, None, None] / 16
    field = np.sin(TAU * (x - shift) + phases) + 0.3 * np.cos(TAU * (2 * (x - shift) + y) - phases)
    layout = Layout(
        equation="navier-stokes",
        config="{}",
        geometry=periodic_grid((points, points), (1.0, 1.0)),
        coordinates=(instants(np.arange(frames, dtype=float) if times is None else times),),
        variables=(Variable("vorticity", ("sample", "time", "x", "y"), "s-1", "vorticity"),),
        attributes={},
    )
    write_file(path, layout, np.arange(samples), {"vorticity": field})
    return path


@contextmanager
def no_progress(title: str):
    yield lambda done, total, note: None


def train_tiny(data: Path, out: Path, settings: str) -> Run:
    """Train a very small network; `settings` is YAML that is laid over the smallest ones."""
    from kitipde.training.run import start_run, train

    tree = {
        "model": {"modes": 3, "width": 4, "layers": 2, "projection_width": 8},
        "data": {"path": str(data), "train": 4, "validation": 2, "test": 4},
        "training": {"epochs": 2, "batch_size": 2, "device": "cpu"},
    }
    for section, values in (yaml.safe_load(settings) or {}).items():
        tree[section] = {**tree.get(section, {}), **values}
    run = start_run(resolve_config(tree), out)
    train(run, no_progress, lambda text: None)
    return open_run(out)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of everything below; tests read from it and write nothing but evaluations."""
    return tmp_path_factory.mktemp("workshop")


@pytest.fixture(scope="session")
def line_data(workshop: Path) -> Path:
    return write_line_data(workshop / "line.h5")


@pytest.fixture(scope="session")
def plane_data(workshop: Path) -> Path:
    return write_plane_data(workshop / "plane.h5")


@pytest.fixture(scope="session")
def vanilla_run(workshop: Path, line_data: Path) -> Run:
    return train_tiny(line_data, workshop / "vanilla", "training: {seeds: 3}")


@pytest.fixture(scope="session")
def kiti_run(workshop: Path, line_data: Path) -> Run:
    settings = "{training: {seeds: 3}, residual: {kind: kiti, collision_heads: 4, coll_coef: 0.2}}"
    return train_tiny(line_data, workshop / "kiti", settings)


@pytest.fixture(scope="session")
def plane_run(workshop: Path, plane_data: Path) -> Run:
    settings = "data: {input_frames: 2, output_frames: 4, resolution: 8}"
    return train_tiny(plane_data, workshop / "plane", settings)


@pytest.fixture(scope="session")
def train_run(workshop: Path) -> Callable[[Path, str, str], Run]:
    """Trains one more run: (data, name, settings)."""
    return lambda data, name, settings: train_tiny(data, workshop / name, settings)


@pytest.fixture
def new_line_data(tmp_path: Path) -> Path:
    """A file that no run was trained on."""
    return write_line_data(tmp_path / "other.h5", samples=6, seed=7)
