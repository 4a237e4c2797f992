"""A training run: every seed of one configuration on one dataset."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import kitipde
from datagen.store import Dataset, open_dataset
from kitipde.collisions.residual import check_particles
from kitipde.config import RunConfig
from kitipde.config.load import write_config
from kitipde.data.windows import load_windows, split_samples
from kitipde.errors import InputError
from kitipde.files import write_atomically
from kitipde.models import residual_channels
from kitipde.runs import Replica, Run, RunFacts, open_run
from kitipde.training.interrupt import interruptible
from kitipde.training.loop import Trainer, TrainingData

__all__ = ["continue_run", "start_run", "train"]

# Opens a progress line for a title and gives the function that moves it.
ProgressLine = Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]]


def start_run(config: RunConfig, out: Path, overwrite: bool = False) -> Run:
    """Make a new run folder after everything that can be wrong has been checked.

    Raises:
        InputError: if the folder is taken, or the settings do not fit the dataset.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists; continue it with --resume, replace it with --overwrite, or choose another --out"
        )
    with open_dataset(dataset_path(config)) as dataset:
        data = load_data(config, dataset)
        for channels in residual_channels(config.model):
            check_particles(config.residual, channels, data.train.grid)
        facts = RunFacts(
            dataset_path=str(dataset.path.resolve()),
            dataset_identity=dataset.identity,
            equation=dataset.equation,
            dimension=len(data.train.grid),
            resolution=data.train.grid[0],
            version=kitipde.__version__,
        )
    if out.exists():
        _remove_run(out)
    out.mkdir(parents=True, exist_ok=True)
    facts.save(out)
    # Last: a folder with this file is a run.
    write_atomically(out / "config.yaml", write_config(config).encode())
    return open_run(out)


def continue_run(out: Path, seeds: int | None = None) -> Run:
    """Open a run to train on; only the number of seeds may have grown.

    Raises:
        InputError: if there is no run there, or its dataset has changed.
    """
    run = open_run(out)
    with open_dataset(run.dataset_path) as dataset:
        if dataset.identity != run.dataset_identity:
            raise InputError(f"{run.dataset_path} is not the dataset that {out} was started with: it has changed since")
    training = run.config.training
    if seeds is None or seeds == training.seeds:
        return run
    if seeds < training.seeds:
        raise InputError(f"{out} was started with {training.seeds} seeds; --seeds {seeds} cannot take any away")
    config = run.config.model_copy(update={"training": training.model_copy(update={"seeds": seeds})})
    write_atomically(out / "config.yaml", write_config(config).encode())
    return open_run(out)


def train(run: Run, progress: ProgressLine, remark: Callable[[str], None]) -> None:
    """Train every seed of a run that has not finished.

    Raises:
        InputError: if the loss is not finite.
        KeyboardInterrupt: when asked to stop, after the state has been saved.
    """
    training = run.config.training
    with open_dataset(run.dataset_path) as dataset:
        data = load_data(run.config, dataset)
    with interruptible() as interrupt:
        for seed in range(training.seed, training.seed + training.seeds):
            replica = run.replica(seed)
            if _has_finished(replica, training.epochs):
                remark(f"seed {seed} of {run.path} has finished already")
                continue
            with progress(f"{run.name} seed {seed}") as report:
                Trainer(run.config, data, replica, remark).run(report, interrupt)


def dataset_path(config: RunConfig) -> Path:
    """The dataset that the settings name.

    Raises:
        InputError: if they name none.
    """
    if config.data.path is None:
        raise InputError("no dataset: give --data FILE; make one with `kitipde generate burgers --out burgers.h5`")
    return config.data.path


def load_data(config: RunConfig, dataset: Dataset) -> TrainingData:
    """The training and validation splits, at the resolution to train on."""
    split = split_samples(dataset.samples, config.data)
    resolution = config.data.resolution
    return TrainingData(
        load_windows(dataset, config.data, split.train, resolution),
        load_windows(dataset, config.data, split.validation, resolution),
    )


def _has_finished(replica: Replica, epochs: int) -> bool:
    if not (replica.path / "facts.json").is_file():
        return False
    facts = replica.facts()
    return bool(facts["finished"]) and facts["epochs"] >= epochs


def _remove_run(out: Path) -> None:
    """Remove a run and nothing else: a folder with other files in it is left alone."""
    if not (out / "config.yaml").is_file():
        raise InputError(f"{out} is not a run folder, so --overwrite does not touch it")
    shutil.rmtree(out)
