"""A search over settings: trials are runs, chosen by Optuna, judged on the validation split.

Any number of processes may work on one study at the same time; what one leaves behind when it is killed is taken up
by another. The run folder of a trial is named after its settings, so that a trial that is tried again goes on where it
stopped. Only what its settings are to blame for ends a trial for good; any other trouble ends the process, and the
trial is tried again by the next.
"""

import hashlib
import importlib.util
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kitipde.config import RunConfig
from kitipde.config.load import resolve_config
from kitipde.errors import InputError, NoMemoryError, SettingsError, blaming_settings, out_of_memory
from kitipde.files import in_turn
from kitipde.runs import Run, open_run
from kitipde.studies.space import Dimension
from kitipde.training.run import ProgressLine, continue_run, start_run, train

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

__all__ = ["Sweep", "check_optuna", "open_study", "with_real_ranges", "work"]

# Seconds between the signs of life of a process, and without one until its trial is taken from it.
HEARTBEAT, GRACE = 5, 20

# Of the other settings' values, tried with each value of one before a sweep begins.
_MOST_COMBINATIONS = 200


@dataclass(frozen=True)
class Sweep:
    """What is searched and how.

    Attributes:
        tree: the settings that the trials share, before those that vary.
        dimensions: what varies.
        out: folder of the study; a trial's run is in trials/.
        trials: how many are to be finished, over all processes.
        prune: whether trials that lag behind the median are ended early.
        sampler_seed: of the samplers, which differ between the processes; none for chance.
    """

    tree: dict[str, Any]
    dimensions: tuple[Dimension, ...]
    out: Path
    trials: int
    prune: bool = True
    sampler_seed: int | None = None

    def config(self, values: dict[str, Any]) -> RunConfig:
        """Settings of a trial.

        Raises:
            SettingsError: if they exclude each other.
        """
        with blaming_settings():
            return resolve_config(self.tree, [f"{key}={json.dumps(value)}" for key, value in values.items()])

    @property
    def wanted(self) -> int:
        """Trials to finish: where everything is a choice there are no more than combinations."""
        if any(not each.choices for each in self.dimensions):
            return self.trials
        return min(self.trials, math.prod(len(each.choices) for each in self.dimensions))

    def run_folder(self, values: dict[str, Any]) -> Path:
        """Where the run of these values is."""
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        return self.out / "trials" / name


def check_optuna() -> None:
    """Raises:
    InputError: if Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise InputError("kitipde sweep needs Optuna: pip install 'kitipde[sweep]'")


def open_study(sweep: Sweep, storage: str | None) -> "Study":
    """Make or open a study.

    Args:
        sweep: what is searched.
        storage: address of its database; by default SQLite in the folder.

    Raises:
        InputError: if the study there is of other settings, or the database cannot be opened.
    """
    import optuna

    # Why a trial ended is said by whoever ends it.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Signs of life are marked as an experiment since version 2.9.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    _check_values(sweep)
    sweep.out.mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{sweep.out.resolve() / 'study.sqlite'}"
    with in_turn(sweep.out):
        return _opened(sweep, url)


def with_real_ranges(sweep: Sweep) -> Sweep:
    """The same sweep, in which a range between two whole numbers holds fractions where its setting takes any."""

    def typed(each: Dimension) -> Dimension:
        if each.low is None or each.high is None or each.low % 1 or each.high % 1:
            return each
        number: type[float | int] = float
        try:
            _some_config(sweep, each.key, each.low + 0.5)
        except SettingsError:
            number = int
        return replace(each, low=number(each.low), high=number(each.high))

    return replace(sweep, dimensions=tuple(map(typed, sweep.dimensions)))


def _check_values(sweep: Sweep) -> None:
    """A value that no trial could have is told before anything is made; some may exclude some of another setting.

    Raises:
        SettingsError: naming the first such value.
    """
    for each in sweep.dimensions:
        for value in each.examples():
            _some_config(sweep, each.key, value)


def _some_config(sweep: Sweep, key: str | None = None, value: Any = None) -> RunConfig:
    """Settings that a trial may have, with this value of one of them.

    Raises:
        SettingsError: if there are none; what is wrong with the first that were tried.
    """
    examples = {each.key: (value,) if each.key == key else each.examples() for each in sweep.dimensions}
    first: SettingsError | None = None
    for values in islice(product(*examples.values()), _MOST_COMBINATIONS):
        try:
            return sweep.config(dict(zip(examples, values, strict=True)))
        except SettingsError as error:
            first = first or error
    assert first is not None
    raise first


@contextmanager
def _storage_told() -> Iterator[None]:
    """In this block trouble with the study's database becomes one line.

    Raises:
        InputError: it cannot be reached, or not be written to.
    """
    import optuna

    try:
        yield
    except (optuna.exceptions.StorageInternalError, AssertionError) as error:
        # Optuna asserts that the end of a trial has been written while it tells that it could not be.
        source = error if isinstance(error, optuna.exceptions.StorageInternalError) else error.__context__
        if not isinstance(source, optuna.exceptions.StorageInternalError):
            raise
        reason = str(source.__cause__ or source).splitlines()[0]
        raise InputError(f"cannot write to the study's database: {reason}; the same command goes on") from error


@_storage_told()
def _opened(sweep: Sweep, url: str) -> "Study":
    """In turn: who comes first makes the tables, and in two that begin at once the makers would trip each other."""
    import optuna

    try:
        # SQLite lets one process write at a time: the others wait this many seconds.
        options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
        database = optuna.storages.RDBStorage(url, options, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
    except Exception as error:
        raise InputError(f"cannot open the study's database {url}: {str(error).splitlines()[0]}") from error
    study = optuna.create_study(
        study_name="sweep",
        storage=database,
        direction="minimize",
        load_if_exists=True,
        pruner=_pruner(sweep),
    )
    settings = json.dumps([sweep.tree, [repr(each) for each in sweep.dimensions]], sort_keys=True, default=str)
    known = study.user_attrs.get("settings")
    if known is not None and known != settings:
        raise InputError(f"the study in {sweep.out} is of other settings or parameters: give another --out")
    study.set_user_attr("settings", settings)
    place = study.user_attrs.get("processes", len(study.get_trials(deepcopy=False)))
    study.set_user_attr("processes", place + 1)
    study.sampler = _sampler(sweep, place)
    return study


def _sampler(sweep: Sweep, place: int) -> "BaseSampler":
    """Where everything is a choice each combination is tried once, in random order; else TPE.

    Args:
        sweep: what is searched.
        place: how many processes have opened the study before; with the same seed each draws other values.
    """
    import optuna

    seed = sweep.sampler_seed
    if seed is not None and place > 0:
        seed = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    if all(each.choices for each in sweep.dimensions):
        return optuna.samplers.BruteForceSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, sweep.trials // 4))


def _pruner(sweep: Sweep) -> "BasePruner":
    """None of the first half of a run: early epochs tell little about the end while the learning rate falls."""
    import optuna

    if not sweep.prune:
        return optuna.pruners.NopPruner()
    epochs = _some_config(sweep).training.epochs
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=epochs // 2)


@_storage_told()
def work(study: "Study", sweep: Sweep, progress: ProgressLine, remark: Callable[[str], None]) -> None:
    """Train trials until the study has as many finished ones as wished, those of other processes counted.

    Raises:
        InputError: if a trial cannot be trained for another reason than its settings.
        KeyboardInterrupt: when asked to stop; in both cases whoever works on the study next takes up the trial.
    """
    import optuna
    from optuna.trial import TrialState

    while True:
        with in_turn(sweep.out):
            optuna.storages.fail_stale_trials(study)
            _take_up(study)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if len(finished) + len(running) < sweep.wanted:
            study.optimize(lambda trial: _objective(trial, sweep, progress, remark), n_trials=1, catch=TakenError)
        elif running:
            # Another process may die: its trial would be missing.
            time.sleep(1.0)
        else:
            return


def _take_up(study: "Study") -> None:
    """Trials that died with their process are tried again, with the same settings."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials}
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.number not in again and "taken" not in trial.user_attrs:
            no_memory = trial.user_attrs.get("no memory", False)
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number, "no memory": no_memory})


class TakenError(Exception):
    """Another process is at a trial of the same values."""


def _objective(trial: "Trial", sweep: Sweep, progress: ProgressLine, remark: Callable[[str], None]) -> float:
    import optuna

    values = _values(trial, sweep)
    folder = sweep.run_folder(values)
    try:
        config = sweep.config(values)
        run = continue_run(folder) if (folder / "config.yaml").is_file() else start_run(config, folder)
        train(run, _watched(progress, trial, run), remark)
    except SettingsError as error:
        reason = str(error)
    except (NoMemoryError, MemoryError, RuntimeError) as error:
        if not (isinstance(error, NoMemoryError) or out_of_memory(error)):
            raise
        reason = " ".join(str(error).split()) or "out of memory"
        # Others may have had the memory. Were it always the settings, the study could never go on.
        if not trial.user_attrs.get("no memory"):
            trial.set_user_attr("no memory", True)
            raise InputError(f"trial {trial.number}: {reason}; the same command tries it a last time") from error
    else:
        return validation_loss(open_run(folder))
    trial.set_user_attr("reason", reason)
    remark(f"trial {trial.number}: {reason}")
    raise optuna.TrialPruned


def _values(trial: "Trial", sweep: Sweep) -> dict[str, Any]:
    """What the sampler proposes, in turn: so each process sees what the others are at.

    Raises:
        TakenError: one of them is at these very values.
    """
    from optuna.trial import TrialState

    with in_turn(sweep.out):
        values = {each.key: each.suggest(trial) for each in sweep.dimensions}
        trial.set_user_attr("run", str(sweep.run_folder(values)))
        running = trial.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not any(other.number != trial.number and other.params == trial.params for other in running):
        return values
    trial.set_user_attr("taken", True)
    # Where few values are left there may be no others until one of the processes has done with its own.
    time.sleep(1.0)
    raise TakenError


def validation_loss(run: Run) -> float:
    """Mean over the seeds of the lowest validation loss."""
    losses = [replica.facts()["best_validation_loss"] for replica in run.replicas]
    return sum(losses) / len(losses)


def _watched(progress: ProgressLine, trial: "Trial", run: Run) -> ProgressLine:
    """The same progress line, which also reports each epoch of the first seeds and ends a trial that lags behind."""
    import optuna

    first = run.config.training.seed

    @contextmanager
    def line(title: str) -> Iterator[Callable[[int, int, str], None]]:
        told = ""
        with progress(f"trial {trial.number} {title}") as report:

            def step(done: int, total: int, note: str) -> None:
                nonlocal told
                report(done, total, note)
                # The note changes once an epoch. Seeds that come later are no reason to end a trial.
                if note == told or f"{first}" not in title.replace(",", " ").split():
                    return
                told = note
                rows = run.replica(first).metrics()
                if rows:
                    losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
                    trial.report(min(losses), rows[-1]["epoch"])
                    if trial.should_prune():
                        raise optuna.TrialPruned

            yield step

    return line


def finished_trials(study: "Study") -> Sequence["FrozenTrial"]:
    """Complete trials, the best first."""
    from optuna.trial import TrialState

    complete = study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: trial.value if trial.value is not None else float("inf"))
