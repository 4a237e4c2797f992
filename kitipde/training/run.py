"""A training run: every seed of one configuration on one dataset."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric

import kitipde
from datagen.equations.settings import declared_in
from datagen.files import real
from datagen.store import Dataset, open_dataset
from kitipde.collisions.residual import check_particles
from kitipde.config import RunConfig
from kitipde.config.load import write_config
from kitipde.denormals import denormals_flushed
from kitipde.errors import InputError, blaming_settings
from kitipde.files import held, remove_leftovers, write_atomically
from kitipde.models import build_model
from kitipde.problem.choice import chosen
from kitipde.problem.problem import Problem, problem_of
from kitipde.problem.rollouts import check_rollout, times_used
from kitipde.problem.windows import load_windows, split_samples
from kitipde.runs import Replica, Run, RunFacts, open_run
from kitipde.training.checkpoint import forget_unfinished, has_states, intact_checkpoints
from kitipde.training.failures import learnt_nothing, target_size
from kitipde.training.interrupt import interruptible
from kitipde.training.launch import launch, on_first
from kitipde.training.loop import Trainer
from kitipde.training.matrix_products import recorded_products
from kitipde.training.metrics_log import check_tensorboard
from kitipde.training.objective import check_scales, check_unroll, fit
from kitipde.training.optimizer import make_optimizer
from kitipde.training.provenance import forget_peak_memory
from kitipde.training.standing import TrainingData
from kitipde.training.warm_start import check_start, check_unchanged, start_weights

__all__ = ["continue_run", "has_finished", "start_run", "train"]

# Where stacking stops to pay on a CPU (benchmarks/training.py): the feature map of one seed, and those of all.
STACKED_BYTES, CACHED_BYTES = 400_000, 4 << 20

# Opens a progress line for a title and gives the function that moves it.
ProgressLine = Callable[[str], AbstractContextManager[Callable[[int, int, str], None]]]


def start_run(
    config: RunConfig, out: Path, overwrite: bool = False, remark: Callable[[str], None] = lambda text: None
) -> Run:
    """Make a new run folder after everything that can be wrong has been checked.

    Args:
        config: settings; what they leave to the dataset is taken from it.
        out: the folder.
        overwrite: replace a run that is there.
        remark: called with what was assumed.

    Raises:
        InputError: if the folder is taken, or the dataset cannot be read.
        SettingsError: if the settings do not fit the dataset.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, and a run is a folder: choose another --out")
    if not overwrite:
        _refuse_taken(out)
    config = _with_whole_paths(config)
    with open_dataset(dataset_path(config)) as dataset, blaming_settings():
        config, problem, taken = resolved(config, dataset)
        data = load_data(config, dataset)
        for channels in config.model.residual_channels:
            check_particles(config.residual, channels, problem.domain.shape)
        check_rollout(config, dataset.path, times_used(dataset, config.data))
        _check_model(config, problem, data)
        facts = RunFacts(
            dataset_path=str(dataset.path.resolve()),
            dataset_identity=dataset.identity,
            equation=dataset.equation,
            problem=problem,
            version=kitipde.__version__,
            dataset_config=dict(dataset.config),
            target_means=target_means(config, data),
            numerical_settings=list(declared_in(dataset.attributes)),
            start_weights={} if config.training.start_from is None else start_weights(config.training.start_from),
        )
    if config.training.tensorboard:
        check_tensorboard()
    if taken is not None:
        remark(taken)
    if overwrite and out.exists() and _holds_something(out):
        _remove_run(out)
    # A symbolic link may lead to a folder that is still to be made.
    real(out).mkdir(parents=True, exist_ok=True)
    with held(out):
        # Data take a while to read: another process may have begun a run here since.
        _refuse_taken(out)
        facts.save(out)
        # Last: a folder with this file is a run.
        write_atomically(out / "config.yaml", write_config(config).encode())
    return open_run(out)


def continue_run(out: Path, seeds: int | None = None) -> Run:
    """Open a run to train on; only the number of seeds may have grown.

    Raises:
        InputError: if there is no run there, its dataset has changed, or the weights that a seed is still to start from
            have.
    """
    run = open_run(out)
    with open_dataset(run.dataset_path) as dataset:
        if dataset.identity != run.dataset_identity:
            raise InputError(f"{run.dataset_path} is not the dataset that {out} was started with: it has changed since")
    training = run.config.training
    seeds = training.seeds if seeds is None else seeds
    if training.start_from is not None:
        replicas = map(run.replica, range(training.seed, training.seed + seeds))
        check_unchanged(training.start_from, [replica for replica in replicas if not _has_begun(replica)])
    if seeds == training.seeds:
        return run
    if seeds < training.seeds:
        raise InputError(f"{out} was started with {training.seeds} seeds; --seeds {seeds} cannot take any away")
    config = run.config.model_copy(update={"training": training.model_copy(update={"seeds": seeds})})
    with held(out):
        write_atomically(out / "config.yaml", write_config(config).encode())
    return open_run(out)


@denormals_flushed()
def train(run: Run, progress: ProgressLine, remark: Callable[[str], None], fabric: Fabric | None = None) -> None:
    """Train every seed of a run that has not finished, several at once where that is faster.

    Args:
        run: what to train.
        progress: shows how far it is.
        remark: called with what the user should know.
        fabric: the processes that share the work; by default the run's settings decide.

    Raises:
        InputError: if the loss is not finite, or the run folder is in use or cannot be written to.
        KeyboardInterrupt: when asked to stop, after the state has been saved.
    """
    training = run.config.training
    fabric = launch(training) if fabric is None else fabric
    with open_dataset(run.dataset_path) as dataset:
        data = load_data(run.config, dataset)
    if not fabric.is_global_zero:
        progress, remark = _no_progress, _no_remark
    seeds = range(training.seed, training.seed + training.seeds)
    at_once = _seeds_at_once(run.config, data, fabric.device)
    with held(run.path) if fabric.is_global_zero else nullcontext(), interruptible() as interrupt:
        if fabric.is_global_zero:
            _clear(run.replica(seed) for seed in seeds)
        trained: list[Replica] = []
        for first in range(0, len(seeds), at_once):
            replicas = [run.replica(seed) for seed in seeds[first : first + at_once]]
            for replica in replicas:
                if _replica_has_finished(replica, training.epochs):
                    remark(f"seed {replica.seed} of {run.path} has finished already")
            # A seed that stops early leaves the others: they form a new group.
            while True:
                start = on_first(fabric, lambda replicas=replicas: _next_group(replicas, training.epochs, remark))
                if start is None:
                    break
                chosen = [replica for replica in replicas if replica.seed in start.seeds]
                products = on_first(fabric, lambda: _products_so_far(map(run.replica, seeds)))
                forget_peak_memory(fabric.device)
                with progress(f"{run.name} {_named(start.seeds)}") as report:
                    trainer = Trainer(run.config, data, chosen, fabric, remark, start.state, products)
                    trainer.run(report, interrupt)
                fabric.barrier()
                trained += chosen
        if fabric.is_global_zero:
            losses = {replica.seed: replica.facts()["best_validation_loss"] for replica in trained}
            if text := learnt_nothing(losses, run.config, target_size(data)):
                remark(text)


def has_finished(run: Run) -> bool:
    """Whether there is nothing left to train."""
    training = run.config.training
    seeds = range(training.seed, training.seed + training.seeds)
    return all(_replica_has_finished(run.replica(seed), training.epochs) for seed in seeds)


def dataset_path(config: RunConfig) -> Path:
    """The dataset that the settings name.

    Raises:
        InputError: if they name none.
    """
    if config.data.path is None:
        raise InputError("no dataset: give --data FILE; make one with `kitipde generate burgers --out burgers.h5`")
    return config.data.path


def resolved(config: RunConfig, dataset: Dataset) -> tuple[RunConfig, Problem, str | None]:
    """The settings with everything that they leave to the dataset, its problem, and what was taken for granted.

    Raises:
        InputError: the settings do not fit the dataset, or leave open what it does not say.
    """
    data, taken = chosen(config.data, dataset)
    problem = problem_of(data, dataset)
    config.model.check(problem)
    model = config.model.resolved(problem)
    return config.model_copy(update={"data": data, "model": model}), problem, taken


def load_data(config: RunConfig, dataset: Dataset) -> TrainingData:
    """The training and validation splits, at the resolution to train on."""
    split, data = split_samples(dataset.samples, config.data), config.data
    return TrainingData(
        load_windows(dataset, data, split.train, data.resolution, training=True),
        load_windows(dataset, data, split.validation, data.resolution),
    )


def target_means(config: RunConfig, data: TrainingData) -> dict[str, float]:
    """Mean of each target field over the training split."""
    return {name: one.mean for name, one in zip(config.data.targets or (), data.targets, strict=True)}


def _with_whole_paths(config: RunConfig) -> RunConfig:
    """A run that was killed before its first state may be continued from another folder."""
    source = config.training.start_from
    if source is None:
        return config
    return config.model_copy(update={"training": config.training.model_copy(update={"start_from": source.resolve()})})


def _check_model(config: RunConfig, problem: Problem, data: TrainingData) -> None:
    """What only the model can tell: whether it unrolls so, has the layers whose gradients collide, fits the data."""
    training = config.training
    check_scales(config, data)
    config.model.check_run(config)
    plain = training.unroll == "autoregressive" and training.start_from is None
    if plain and config.optimizer.collisions.kind == "none" and config.model.works_on == "grid":
        return
    model = build_model(config, problem)
    fit(config, model, data)
    check_unroll(training, model)
    if training.start_from is not None:
        check_start(training.start_from, model)
    make_optimizer(config.optimizer, model, dict(model.named_parameters()), (0,))


def _clear(replicas: Iterable[Replica]) -> None:
    """Remove what killed processes have half-written, each as large as a model."""
    for replica in replicas:
        remove_leftovers(replica.path)
        forget_unfinished(replica.checkpoints_path)


class Group(NamedTuple):
    """Seeds that go on together from a saved state, or from the beginning."""

    seeds: tuple[int, ...]
    state: str | None


def _next_group(replicas: Sequence[Replica], epochs: int, remark: Callable[[str], None]) -> Group | None:
    """The unfinished seeds that can be trained together: those with a saved state in common, or those without any.

    A kill while states were saved leaves some seeds with a newer one; all go on from the newest that all have. If these
    were the first states, that is the beginning.
    """
    waiting = [replica for replica in replicas if not _replica_has_finished(replica, epochs)]
    if not waiting:
        return None
    states: dict[int, list[str]] = {}
    for replica in waiting:
        states[replica.seed], remarks = intact_checkpoints(replica.checkpoints_path)
        for text in remarks:
            remark(text)
    begun = [seed for seed, names in states.items() if names]
    unsaved = [
        replica.seed
        for replica in waiting
        if (replica.path / "facts.json").is_file()
        and not has_states(replica.checkpoints_path)
        and not set(begun).isdisjoint(replica.facts()["trained_together"])
    ]
    if not begun or unsaved:
        return Group(tuple(seed for seed in states if not begun or seed in {*begun, *unsaved}), None)
    common = set.intersection(*(set(states[seed]) for seed in begun))
    if common:
        return Group(tuple(begun), max(common))
    return Group((begun[0],), states[begun[0]][0])


def _seeds_at_once(config: RunConfig, data: TrainingData, device: torch.device) -> int:
    """How many seeds to stack. On a CPU that is faster for small networks, while all of them are in its caches."""
    asked = config.training.seeds_at_once
    if isinstance(asked, int):
        return asked
    if device.type != "cpu":
        return config.training.seeds
    channels = max(config.model.residual_channels, default=64)
    feature_map = 4 * config.training.batch_size * channels * data.train.geometry.points
    return CACHED_BYTES // feature_map if feature_map <= STACKED_BYTES else 1


def _named(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


@contextmanager
def _no_progress(_title: str) -> Iterator[Callable[[int, int, str], None]]:
    yield lambda _done, _total, _note: None


def _no_remark(_text: str) -> None:
    pass


def _products_so_far(replicas: Iterable[Replica]) -> str | None:
    """How the seeds that have begun computed matrix products; None if none has."""
    for replica in replicas:
        if (replica.path / "facts.json").is_file():
            return recorded_products(replica.facts())
    return None


def _replica_has_finished(replica: Replica, epochs: int) -> bool:
    if not (replica.path / "facts.json").is_file():
        return False
    facts = replica.facts()
    return bool(facts["finished"]) and (facts["epochs"] >= epochs or facts.get("stopped_early", False))


def _has_begun(replica: Replica) -> bool:
    """Whether a seed goes on from a state of its own."""
    return has_states(replica.checkpoints_path) or replica.best_path.is_file()


def _refuse_taken(out: Path) -> None:
    if out.exists() and _holds_something(out):
        raise InputError(
            f"{out} exists; continue it with --resume, replace it with --overwrite, or choose another --out"
        )


def _holds_something(out: Path) -> bool:
    """Whether there is more in a folder than what a start leaves behind that was killed before there was a run."""
    return any(item.name != "run.json" and not item.name.startswith(".") for item in out.iterdir())


def _remove_run(out: Path) -> None:
    """Remove a run and nothing else: a folder with other files in it is left alone."""
    if not (out / "config.yaml").is_file():
        raise InputError(f"{out} is not a run folder, so --overwrite does not touch it")
    with held(out):
        shutil.rmtree(real(out))
