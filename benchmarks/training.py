"""Training throughput: against neuraloperator's FNO and Trainer, and eight seeds at once against one by one.

    python -P benchmarks/training.py [--rounds 5] [--threads 1] [--seeds 8] [--kiti] [--library]

Same data, batches, optimizer, loss and number of steps; validation once an epoch. A round times every contestant once,
in turn; the table has medians of the rounds and of the ratios round by round. Times are those of the epochs, training
and validation, without what comes before the first and after the last. Samples/s counts the training samples of all
seeds. With --library only one seed of ours is timed beside the library's.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datagen.geometry import periodic_grid
from datagen.store import Coordinate, Layout, Variable
from datagen.store.writer import write_file
from kitipde.config.load import resolve_config
from kitipde.runs import open_run
from kitipde.training.run import start_run, train


@dataclass(frozen=True)
class Case:
    """One row: a problem small enough to train for a few epochs."""

    name: str
    modes: int
    width: int
    grid: tuple[int, ...]
    frames: int
    batch: int
    epochs: int
    samples: int = 80


CASES = (
    Case("1-D, modes 12, width 24, 64 points, batch 20", 12, 24, (64,), 1, 20, 12),
    Case("1-D, modes 16, width 64, 256 points, batch 20", 16, 64, (256,), 1, 20, 3),
    Case("1-D, modes 16, width 64, 1024 points, batch 20", 16, 64, (1024,), 1, 20, 2),
    Case("2-D, modes 12, width 20, 32², batch 5", 12, 20, (32, 32), 10, 5, 2),
    Case("2-D, modes 12, width 20, 32², batch 20", 12, 20, (32, 32), 10, 20, 2),
)
VALIDATION = 10


def dataset(case: Case, folder: Path) -> Path:
    """Random fields: how long training takes does not depend on what they are."""
    rng = np.random.default_rng(0)
    total = case.samples + 2 * VALIDATION
    axes = ("x", "y")[: len(case.grid)]
    coordinates = ()
    if case.frames == 1:
        names, shape = ("sample", *axes), (total, *case.grid)
        variables = [Variable("u0", names, "1", "given"), Variable("u", names, "1", "wanted")]
    else:
        names, shape = ("sample", "time", *axes), (total, case.frames + 1, *case.grid)
        variables = [Variable("u", names, "1", "field")]
        times = np.arange(case.frames + 1, dtype=float)
        coordinates = (Coordinate("time", times, units="1", long_name="time", axis="T"),)
    path = folder / f"{case.samples}-{len(case.grid)}-{case.grid[0]}-{case.batch}.h5"
    grid = periodic_grid(case.grid, (1.0,) * len(case.grid))
    layout = Layout("burgers", "{}", grid, tuple(variables), {}, coordinates)
    write_file(path, layout, np.arange(total), {each.name: rng.normal(size=shape) for each in variables})
    return path


def settings(case: Case, data: Path, *more: str) -> list[str]:
    """The settings of a run of ours."""
    return [
        f"data.path={data}",
        f"data.inputs={'u0' if case.frames == 1 else 'u'}",
        "data.targets=u",
        f"data.input_frames={case.frames}",
        "data.output_frames=1",
        "model.coordinates=interpolated",
        f"data.validation={VALIDATION}",
        f"data.test={VALIDATION}",
        f"model.modes={case.modes}",
        f"model.width={case.width}",
        "model.initialisation=library",
        f"training.batch_size={case.batch}",
        f"training.epochs={case.epochs}",
        "residual.collision_heads=4",
        "residual.target_rate=0.05",
        *more,
    ]


@contextlib.contextmanager
def silent(_title: str) -> Iterator[Callable[[int, int, str], None]]:
    """No progress line."""
    yield lambda _done, _total, _note: None


def ours(case: Case, data: Path, folder: Path, *more: str) -> float:
    """Seconds of a training run."""
    config = resolve_config({}, settings(case, data, *more))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        run = start_run(config, Path(out) / "run")
        train(run, silent, lambda _text: None)
        # Each seed records its share of the time of those that it was trained with.
        return sum(row["seconds"] for replica in open_run(run.path).replicas for row in replica.metrics())


def library(case: Case, data: Path) -> float:
    """Seconds of the same by neuraloperator."""
    from neuralop.losses import LpLoss
    from neuralop.models import FNO
    from neuralop.training import Trainer
    from torch.utils.data import DataLoader

    from datagen.store import open_dataset
    from kitipde.problem.windows import load_windows, split_samples

    config = resolve_config({}, settings(case, data))
    with open_dataset(data) as opened:
        split = split_samples(opened.samples, config.data)
        parts = [load_windows(opened, config.data, part) for part in (split.train, split.validation)]
    loaders = []
    for part, shuffle in zip(parts, (True, False), strict=True):
        # Theirs takes frames as channels.
        pairs: Any = [{"x": x[:, 0], "y": y[:, 0]} for x, y in zip(part.inputs, part.targets, strict=True)]
        loaders.append(DataLoader(pairs, case.batch, shuffle))
    model = FNO(
        n_modes=(2 * case.modes,) * (len(case.grid) - 1) + (2 * case.modes - 1,),
        in_channels=case.frames,
        out_channels=1,
        hidden_channels=case.width,
        n_layers=4,
        lifting_channel_ratio=0,
        projection_channel_ratio=128 / case.width,
        use_channel_mlp=False,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100, 0.5)
    loss = LpLoss(d=len(case.grid))
    trainer = Trainer(model=model, n_epochs=case.epochs)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # Of its own two calls with words that it does not use.
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        trainer.train(
            loaders[0], {"validation": loaders[1]}, optimizer, scheduler, training_loss=loss, eval_losses={"l2": loss}
        )
        return time.perf_counter() - started


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--kiti", action="store_true", help="also the seeds with collisions")
    parser.add_argument("--library", action="store_true", help="one seed against the library, nothing else")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    many = f"training.seeds={options.seeds}"
    header = ["ours", "library", "library's time / ours"]
    if not options.library:
        header += [f"{options.seeds} one by one", "at once", "ratio", "auto", "ratio"]
    if options.kiti:
        header += ["KITI one by one", "at once", "ratio"]
    print(f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, training samples/s\n")
    print("| | " + " | ".join(header) + " |")
    print("|---" + "|---:" * len(header) + "|")
    with tempfile.TemporaryDirectory() as place:
        for case in CASES:
            folder = Path(place)
            data = dataset(case, folder)

            def run(*more: str, case: Case = case, data: Path = data, folder: Path = folder) -> Callable[[], float]:
                return lambda: ours(case, data, folder, *more)

            contestants: dict[str, Callable[[], float]] = {
                "ours": run(),
                "library": lambda case=case, data=data: library(case, data),
            }
            seeds: dict[str, Callable[[], float]] = {
                "apart": run(many, "training.seeds_at_once=1"),
                "together": run(many, f"training.seeds_at_once={options.seeds}"),
                "auto": run(many),
            }
            if not options.library:
                contestants |= seeds
            if options.kiti:
                collisions = (many, "residual.kind=kiti")
                contestants["kiti apart"] = run(*collisions, "training.seeds_at_once=1")
                contestants["kiti together"] = run(*collisions, f"training.seeds_at_once={options.seeds}")
            times: dict[str, list[float]] = {name: [] for name in contestants}
            for round_number in range(options.rounds + 1):
                for name, contestant in contestants.items():
                    seconds = contestant()
                    # The first round warms caches and imports.
                    if round_number:
                        times[name].append(seconds)
            print(_row(case, times, options.seeds), flush=True)


def _row(case: Case, times: dict[str, list[float]], seeds: int) -> str:
    def rate(name: str, replicas: int) -> str:
        return f"{replicas * case.epochs * case.samples / statistics.median(times[name]):.0f}"

    def ratio(slower: str, faster: str) -> str:
        return f"{statistics.median(a / b for a, b in zip(times[slower], times[faster], strict=True)):.2f}"

    cells = [rate("ours", 1), rate("library", 1), ratio("library", "ours")]
    if "apart" in times:
        cells += [rate("apart", seeds), rate("together", seeds), ratio("apart", "together")]
        cells += [rate("auto", seeds), ratio("apart", "auto")]
    if "kiti apart" in times:
        cells += [rate("kiti apart", seeds), rate("kiti together", seeds), ratio("kiti apart", "kiti together")]
    return f"| {case.name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
