"""What the oracle asks of the program. Each group gives named arrays; the reference holds the first edition's."""

import hashlib
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.oracle import program

ROOT = Path(__file__).parents[2]
REFERENCE = Path(__file__).parent / "reference.npz"
Arrays = dict[str, np.ndarray]

RECIPES: dict[str, dict[str, Any]] = {
    "burgers": dict(resolution=64),
    "burgers-frames": dict(
        resolution=48, solve_resolution=192, seed=5, viscosity=0.02, length=1.0, final_time=0.5, frames=3
    ),
    "burgers-steep": dict(resolution=64, solve_resolution=128, viscosity=1e-4, length=1.0, final_time=0.05),
    "navier-stokes": dict(resolution=32),
    "navier-stokes-unforced": dict(
        resolution=16,
        solve_resolution=32,
        seed=5,
        viscosity=0.01,
        length=2.0,
        frames=3,
        interval=0.5,
        forced=False,
        field="unit",
    ),
    "navier-stokes-fixed": dict(resolution=16, frames=2, step=0.02, field="literal"),
    "heat": dict(resolution=64, solve_resolution=128),
    "heat-strong": dict(
        resolution=15, seed=5, diffusivity=0.01, frames=3, interval=0.3, source=-2.0, field="unit", length=3.0
    ),
    "airfoil": dict(
        around=16, layers=8, far=10.0, evenness=1.0, first=2.0, interval=2e-4, least_angle=-8.0, most_angle=8.0
    ),
    "airfoil-cambered": dict(
        airfoil="2412",
        around=24,
        layers=10,
        far=10.0,
        evenness=1.0,
        first=2.0,
        seed=5,
        frames=3,
        interval=5e-4,
        courant=0.7,
        least_mach=0.3,
        most_mach=0.5,
        least_angle=-3.0,
        most_angle=8.0,
    ),
}
"""Four samples each. The one that bears the name of its equation is also what networks are trained on."""

POOLED: dict[str, dict[str, Any]] = {
    "quick-burgers": dict(equation="burgers", samples=300, resolution=256),
    "quick-navier-stokes": dict(equation="navier-stokes", samples=60, resolution=64),
    "quick-heat": dict(equation="heat", samples=60, resolution=64),
    "quick-airfoil-study": dict(
        equation="airfoil", samples=24, around=48, layers=12, far=20.0, evenness=1.0, first=2.0, interval=1e-3, frames=8
    ),
}
"""Recipes of studies whose errors are kept in docs/results/data, besides those of configs/data."""

STEPS = 20
SMALL: dict[str, Any] = {
    "training.epochs": STEPS,
    "training.batch_size": 2,
    "data.train": 2,
    "data.validation": 1,
    "data.test": 1,
    # A rate that is halved every 100 epochs would not be in 20.
    "schedule.every": 5,
    # Else they are computed by the library that happens to be faster.
    "training.matrix_products": "default",
    "training.device": "cpu",
}
"""Each epoch is one step of both samples. Everything that is not named here stays as shipped."""

LINE, SQUARE = {"data.resolution": 64}, {"data.resolution": 16, "model.modes": 6}
NARROW = {"data.resolution": 16, "model.width": 32, "model.latent_width": 32, "model.marching_width": 64}
# At the shipped rate, ten times higher, Adam makes steps of gradients that are only rounding, and pairs that collide on
# one processor do not on another: losses of the same program differed by up to 0.1 after 20 steps.
GENTLE = {"optimizer.learning_rate": 1e-4}

CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "demo": ("burgers", LINE),
    "fno-burgers": ("burgers", LINE),
    "fno-heat": ("heat", SQUARE),
    "fno-navier-stokes": ("navier-stokes", SQUARE),
    "oformer-airfoil": ("airfoil", {"optimizer.learning_rate": 6e-5}),
    "oformer-burgers": ("burgers", LINE | GENTLE),
    "oformer-heat": ("heat", NARROW | GENTLE),
    "oformer-navier-stokes": ("navier-stokes", NARROW | GENTLE),
    "paper-fno-burgers": ("burgers", LINE | GENTLE),
    "paper-fno-heat": ("heat", SQUARE | GENTLE),
    "paper-fno-navier-stokes": ("navier-stokes", SQUARE | GENTLE),
}
"""All that were shipped: what each is trained on, and how it is made small."""


def uniform(seed: int, *shape: int) -> np.ndarray:
    """Numbers in [−1, 1) from raw bits, which are the same in every version of NumPy."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape))) >> np.uint64(11)
    return (bits.astype(np.float64) * 2.0**-52 - 1).reshape(shape)


def machine() -> Arrays:
    """Where bytes are expected to be the same."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    told = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model", "cpu family"))][:3]
    versions = f"torch {torch.__version__}, NumPy {np.__version__}"
    words = [platform.machine(), *told, torch.backends.cpu.get_cpu_capability(), versions]
    return {"machine": np.array(", ".join(words))}


def checkpoints(folder: Path) -> Arrays:
    """Errors of each seed and sample of the shipped pair, on data that are new to it, at three resolutions."""
    program.generate({"equation": "burgers", "samples": 32, "resolution": 256, "seed": 1}, folder / "new.h5")
    found = {}
    for name in ("burgers-vanilla", "burgers-kiti"):
        run = folder / name
        shutil.copytree(ROOT / "checkpoints" / name, run, ignore=shutil.ignore_patterns("evaluation"))
        found |= {f"{name}/{key}": value for key, value in program.evaluate(run, folder / "new.h5").items()}
    return found


def first_edition(folder: Path) -> Arrays:
    """Errors on the test split of its own dataset, made again where the run looks for it."""
    program.generate({"equation": "burgers", "samples": 448, "resolution": 1024}, folder / "burgers.h5")
    run = shutil.copytree(ROOT / "tests" / "data" / "first-edition", folder / "run")
    return program.evaluate(run, None)


def make(case: str, path: Path) -> None:
    """A dataset of `RECIPES`."""
    equation = next(name for name in ("burgers", "navier-stokes", "heat", "airfoil") if case.startswith(name))
    program.generate({"equation": equation, "samples": 4, **RECIPES[case]}, path)


def recipes(folder: Path, case: str) -> Arrays:
    """Each variable of four samples: SHA-256 of each, and some 32 values of each to see how far off they are."""
    path = folder / f"{case}.h5"
    make(case, path)
    found = {"identity": np.array(program.stored_identity(path))}
    for name, values in program.stored_values(path).items():
        assert len(values) == 4
        flat = values.reshape(4, -1)
        chosen = np.linspace(0, flat.shape[1] - 1, min(32, flat.shape[1])).astype(int)
        found[f"{name}/sha256"] = np.array([hashlib.sha256(each.tobytes()).hexdigest() for each in values])
        found[f"{name}/values"] = flat[:, chosen].astype(np.float64)
    return found


def identities(_folder: Path) -> Arrays:
    """Identities of the recipes under which errors in docs/results/data are kept."""
    return {
        name: np.array(program.recipe_identity(each)) for name, each in (program.shipped_recipes() | POOLED).items()
    }


def losses(folder: Path, configuration: str, kiti: bool) -> Arrays:
    """The loss of each step."""
    equation, small = CONFIGURATIONS[configuration]
    data, out = folder / f"{equation}.h5", folder / f"{configuration}{'-kiti' * kiti}"
    if not data.exists():
        make(equation, data)
    return {"loss": program.train_losses(configuration, kiti, SMALL | small, data, out)}


def metrics(_folder: Path) -> Arrays:
    """Metrics of random fields on lines and squares, of fields that are zero or constant, and of predictions that are
    not finite."""
    found = {}
    for number, grid in enumerate([(32,), (27,), (16, 16), (33, 33)]):
        truth, other = uniform(number, 3, 4, *grid), uniform(100 + number, 3, 4, *grid)
        # Less and less alike from frame to frame.
        share = np.array([0.02, 0.1, 0.8, 2.0]).reshape(4, *(1,) * len(grid))
        prediction = truth + share * other
        prediction[2] = other[2]
        lengths = [1.0 + number] * len(grid)
        cases = {"random": (prediction, truth, 0.25), "mean-unknown": (prediction, truth, np.nan)}
        if number in (0, 2):
            flat, zero, broken = truth.copy(), truth.copy(), prediction.copy()
            flat[1], zero[0], zero[1, 2] = 0.5, 0.0, 0.0
            broken[0, 1].flat[3], broken[1, 2].flat[0], broken[2, 3] = np.nan, np.inf, -np.inf
            cases |= {"constant": (prediction, flat, 0.5), "zero": (prediction, zero, 0.0)}
            cases |= {"exact": (truth, truth, 0.0), "all-zero": (prediction, 0 * truth, 0.0)}
            cases |= {"not-finite": (broken, truth, 0.25)}
        for name, (predicted, true, mean) in cases.items():
            got = program.grid_metrics(predicted, true, lengths, mean)
            if name == "not-finite":
                # Whether sums of infinities are infinite or NaN is up to the processor.
                got = {key: value for key, value in got.items() if not key.startswith("spectrum/")}
            found |= {f"{'x'.join(map(str, grid))}/{name}/{key}": value for key, value in got.items()}
    return found


def flows(_folder: Path) -> Arrays:
    """Metrics of random flows on 24 nodes round an octagon: errors, forces, Table 4 over 18 samples."""
    octagon = np.array([(3, 0), (2, 2), (0, 3), (-2, 2), (-3, 0), (-2, -2), (0, -3), (2, -2)], np.float64)
    places = np.concatenate([octagon, 2 * octagon, 5 * octagon])
    inner = np.arange(16)
    following = inner // 8 * 8 + (inner + 1) % 8
    cells = np.concatenate(
        [np.stack([inner, inner + 8, following], 1), np.stack([following, inner + 8, following + 8], 1)]
    )
    node = np.arange(24)
    marks = {"wall": node < 8, "far": node >= 16, "region": (node < 16) & (places[:, 0] > -3)}
    middle, size = np.array([90.0, 20.0, 1.2, 1e5]), np.array([60.0, 40.0, 0.3, 2e4])
    truth, prediction = (middle + size * uniform(seed, 18, 3, 24, 4) for seed in (7, 8))
    first = middle + size * uniform(9, 18, 24, 4)
    broken, still = prediction.copy(), truth.copy()
    broken[0, 1, 2, 3], broken[1, 0, 5, 0], broken[2] = np.nan, np.inf, np.nan
    still[1, ..., 1], still[2, 0, :, 0] = 0.0, 0.0
    cases = {"random": (prediction, truth), "not-finite": (broken, truth), "still": (prediction, still)}
    found = {}
    for name, (predicted, true) in cases.items():
        got = program.flow_metrics(predicted, true, first, places, cells.astype(np.int32), **marks)
        found |= {f"{name}/{key}": value for key, value in got.items()}
    return found


def groups() -> dict[str, Callable[[Path], Arrays]]:
    """Everything, by name, each a function of a folder; those that train may share one, and then share datasets."""
    result: dict[str, Callable[[Path], Arrays]] = {
        each.__name__: each for each in (checkpoints, first_edition, identities, metrics, flows)
    }
    for case in RECIPES:
        result[f"recipes/{case}"] = lambda folder, case=case: recipes(folder, case)
    for name in CONFIGURATIONS:
        for kiti in (False, True):
            result[f"losses/{name}{'-kiti' * kiti}"] = lambda folder, name=name, kiti=kiti: losses(folder, name, kiti)
    return result
