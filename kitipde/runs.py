"""The run folder: what a training run leaves behind, and how others read it.

RUN/config.yaml                  every setting, resolved
RUN/run.json                     the dataset, the grid, the version
RUN/seed-0/metrics.jsonl         one line an epoch
RUN/seed-0/facts.json            parameters, time, memory, machine, the best epoch
RUN/seed-0/best.safetensors      the weights of the best epoch on the validation split
RUN/seed-0/checkpoints/          what `--resume` continues from
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_origin

from datagen.files import real, reason, temporary_name
from datagen.geometry import Resolution
from kitipde.config import RunConfig, TrainingConfig
from kitipde.config.load import read_config, resolve_config, write_config
from kitipde.errors import InputError
from kitipde.files import write_json
from kitipde.problem.problem import Domain, Problem

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Replica", "Run", "RunFacts", "Start", "export_run", "load", "open_run"]

_FACTS_FILE = "facts.json"

# Settings are written in their order: without this one some are missing, and defaults would silently take their place.
_LAST_SETTING = list(TrainingConfig.model_fields)[-1]

# What readers of a run rely on.
_ROW = {"epoch": int, "train_loss": float, "seconds": float, "learning_rate": float}
_FACTS = {
    "finished": (bool,),
    "epochs": (int,),
    "parameters": (int,),
    "best_epoch": (int,),
    "seconds": (int, float),
    "best_validation_loss": (int, float, NoneType),
}


@dataclass(frozen=True)
class Start:
    """The weights of another run that a seed starts from.

    Attributes:
        seed: whose they are, of the other run.
        identity: SHA-256 of their file.
    """

    seed: int
    identity: str


@dataclass(frozen=True)
class RunFacts:
    """What a run was trained on.

    Attributes:
        dataset_path: where the file was; a relative path counts from the run folder.
        dataset_identity: which file it was, whatever its name.
        equation: what it holds.
        problem: named fields, frames and geometry of the training.
        version: of this program.
        dataset_config: the settings that made it; empty where they are not known.
        target_means: mean of each target field over the training split, in physical units; empty where it is not known.
        numerical_settings: those of them that change neither the equation nor the initial fields of its seeds, as far
            as the file names them.
        start_weights: of a run that starts from another's weights (`training.start_from`), SHA-256 of the file of each
            of the other's seeds, by its number, as they were when this run was made.
    """

    dataset_path: str
    dataset_identity: str
    equation: str
    problem: Problem
    version: str
    dataset_config: dict[str, Any] = field(default_factory=dict[str, Any])
    target_means: dict[str, float] = field(default_factory=dict[str, float])
    numerical_settings: list[str] = field(default_factory=list[str])
    start_weights: dict[str, str] = field(default_factory=dict[str, str])

    def start(self, seed: int) -> Start | None:
        """What a seed starts from: the other run's network of the same seed, or its first; None where not known."""
        if not self.start_weights:
            return None
        chosen = str(seed) if str(seed) in self.start_weights else min(self.start_weights, key=int)
        return Start(int(chosen), self.start_weights[chosen])

    def save(self, run: Path) -> None:
        """Write `run.json`."""
        write_json(run / "run.json", {**asdict(self), "problem": self.problem.to_json()})

    @property
    def resolution(self) -> Resolution:
        """Points along each axis in training; of a mesh, its nodes."""
        return self.problem.domain.shape

    @property
    def dimension(self) -> int:
        """Of space."""
        return self.problem.domain.dimension


@dataclass(frozen=True)
class Replica:
    """One seed of a run.

    Attributes:
        path: its folder.
        seed: its number.
        config: the settings of the run.
        problem: fields, frames and geometry of the training.
        start: the weights of another run that it starts from, if it does and they are known.
    """

    path: Path
    seed: int
    config: RunConfig
    problem: Problem
    start: Start | None = None

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line, one line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def best_path(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "best.safetensors"

    @property
    def checkpoints_path(self) -> Path:
        """The states that training continues from."""
        return self.path / "checkpoints"

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`, epoch after epoch; a last line that a crash cut off is left out.

        Raises:
            InputError: if any other line is damaged or missing.
        """
        if not self.metrics_path.is_file():
            return []
        rows: list[dict[str, Any]] = []
        lines = self.metrics_path.read_bytes().splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                held = all(type(row[key]) is kind for key, kind in _ROW.items())
                # Not every epoch has a validation.
                if not held or row["epoch"] != number or type(row.get("validation_loss", 0.0)) is not float:
                    raise ValueError(f"not the numbers of epoch {number}")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                if number == len(lines):
                    break
                raise InputError(f"{self.metrics_path} is damaged in line {number}: {error}") from error
            rows.append(row)
        return rows

    def facts(self) -> dict[str, Any]:
        """Parameters, seconds, memory, machine, best epoch, whether training has finished.

        Raises:
            InputError: if they are missing or damaged.
        """
        path = self.path / _FACTS_FILE
        facts = _read_json(path)
        for name, kinds in _FACTS.items():
            if name not in facts or type(facts[name]) not in kinds:
                raise InputError(f"{path} is damaged: its {name} is {facts.get(name)!r}")
        return facts

    def load_model(self) -> "nn.Module":
        """The trained operator of the best epoch, in evaluation mode on the CPU.

        Raises:
            InputError: if the weights are missing, damaged or those of another model.
        """
        from kitipde.denormals import without_denormals
        from kitipde.models import build_model
        from kitipde.models.inputs import InputCheck
        from kitipde.models.weights import unpack_weights

        if not self.best_path.is_file():
            raise InputError(f"{self.path} holds no trained weights yet (no {self.best_path.name})")
        model = build_model(self.config, self.problem)
        try:
            model.load_state_dict(unpack_weights(self.best_path.read_bytes()))
        except (ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.best_path} does not hold the weights of this run's model: {reason}") from error
        model.register_forward_pre_hook(InputCheck(self.problem))
        return without_denormals(model).eval()


@dataclass(frozen=True)
class Run:
    """A run folder: one configuration, one dataset, one or more seeds."""

    path: Path
    config: RunConfig
    facts: RunFacts

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def dataset_path(self) -> Path:
        """Where the dataset was when the run was trained; of an exported run, beside its folder."""
        return self.path / self.facts.dataset_path

    @property
    def dataset_identity(self) -> str:
        """Which dataset the run was trained on."""
        return self.facts.dataset_identity

    @property
    def dataset_recipe(self) -> str:
        """What that dataset was made from: two of the same recipe differ by rounding alone."""
        from datagen.store import recipe_of

        return recipe_of(self.facts.dataset_config, self.facts.dataset_identity)

    @property
    def equation(self) -> str:
        """What the dataset holds."""
        return self.facts.equation

    @cached_property
    def replicas(self) -> tuple[Replica, ...]:
        """The seeds that have been started, in order."""
        seeds = sorted(
            int(folder.name.removeprefix("seed-"))
            for folder in self.path.glob("seed-*")
            if folder.name.removeprefix("seed-").isdecimal()
        )
        return tuple(self.replica(seed) for seed in seeds)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that it is to have, begun or not, and those that it has."""
        first, number = self.config.training.seed, self.config.training.seeds
        return tuple(sorted({*range(first, first + number), *(replica.seed for replica in self.replicas)}))

    def replica(self, seed: int) -> Replica:
        """The folder of one seed, whether it exists yet or not."""
        facts = self.facts
        return Replica(self.path / f"seed-{seed}", seed, self.config, facts.problem, facts.start(seed))


def open_run(path: str | Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: if there is none, or what it holds is damaged.
    """
    folder = Path(path)
    if not (folder / "config.yaml").is_file():
        reason = "has no config.yaml" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} is not a run folder: it {reason}; make one with `kitipde train`")
    tree = read_config(str(folder / "config.yaml"))
    last = tree.get("training")
    if not (isinstance(last, dict) and _LAST_SETTING in last):
        raise InputError(f"{folder / 'config.yaml'} is cut off: a run's settings end with training.{_LAST_SETTING}")
    config = resolve_config(tree)
    facts = _read_facts(folder / "run.json", config)
    return Run(folder, config, facts)


def _read_facts(path: Path, config: RunConfig) -> RunFacts:
    stored = _read_json(path)
    try:
        problem = _problem_of(stored, config)
        facts = RunFacts(**{**stored, "problem": problem})
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged, or not of this version: {error}") from error
    kinds = {each.name: get_origin(each.type) or each.type for each in fields(facts)}
    wrong = [name for name, kind in kinds.items() if type(getattr(facts, name)) is not kind]
    if "start_weights" not in wrong and not all(seed.isdecimal() for seed in facts.start_weights):
        wrong.append("start_weights")
    if wrong:
        raise InputError(f"{path} is damaged: its {wrong[0]} is {getattr(facts, wrong[0])!r}")
    return facts


def _problem_of(stored: dict[str, Any], config: RunConfig) -> Problem:
    """The problem that a run keeps; one of the first edition had one resolution, and everything else in its settings.

    Raises:
        TypeError, KeyError, ValueError: it is not what a run keeps.
    """
    if "problem" in stored:
        return Problem.from_json(stored["problem"])
    dimension, points, data = stored.pop("dimension"), stored.pop("resolution"), config.data
    for name, number in (("dimension", dimension), ("resolution", points)):
        if type(number) is not int or number < 1:
            raise ValueError(f"its {name} is {number!r}")
    on_mesh = config.model.works_on == "mesh"
    domain = Domain("mesh", (points,), dimension) if on_mesh else Domain.square(points, dimension)
    return Problem(
        data.inputs or (), data.targets or (), (), (), data.input_frames or 1, data.output_frames or 1, domain
    )


def export_run(run: Run, out: Path) -> None:
    """Copy what a run's models need to be used and evaluated elsewhere: settings, best weights, metrics, facts.

    States that training continues from stay behind, and so do the paths and the system's name of this machine; the
    dataset is looked for beside the copy.

    Args:
        run: a run with at least one finished seed.
        out: the folder to make; it must not exist.

    Raises:
        InputError: a seed has not finished, or the folder cannot be written to.
    """
    for replica in map(run.replica, run.seeds):
        if not (replica.path / _FACTS_FILE).is_file() or not replica.facts()["finished"]:
            raise InputError(
                f"{run.path} is not finished (seed {replica.seed} is still to be trained): continue it with --resume"
            )
        for part in (replica.best_path, replica.metrics_path):
            if not part.is_file():
                raise InputError(f"{part} is missing: the run is incomplete")
    dataset = run.dataset_path.name
    config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"path": Path(dataset)})})
    # A symbolic link may lead to a folder that is still to be made.
    place, temporary = real(out), temporary_name(out)
    try:
        temporary.mkdir(parents=True)
        for replica in run.replicas:
            copy = temporary / replica.path.name
            copy.mkdir()
            shutil.copyfile(replica.best_path, copy / replica.best_path.name)
            shutil.copyfile(replica.metrics_path, copy / replica.metrics_path.name)
            write_json(copy / _FACTS_FILE, {name: fact for name, fact in replica.facts().items() if name != "platform"})
        replace(run.facts, dataset_path=f"../{dataset}").save(temporary)
        (temporary / "config.yaml").write_text(write_config(config), encoding="utf-8")
        os.replace(temporary, place)
    except OSError as error:
        raise InputError(f"cannot write {out}: {reason(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(path: str | Path, seed: int | None = None) -> "nn.Module":
    """The trained operator of a run, in evaluation mode on the CPU.

    It takes frames [batch, frame, field, *space] in physical units, and gives the next one, with the fields predicted.

    Args:
        path: the run folder.
        seed: which replica; by default the first.

    Raises:
        InputError: if there is no such run or seed, or it has no trained weights yet.
    """
    run = open_run(path)
    seeds = {replica.seed: replica for replica in run.replicas}
    if not seeds:
        raise InputError(f"{path} holds no trained weights yet")
    if seed is not None and seed not in seeds:
        raise InputError(f"{path} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    return seeds[next(iter(seeds)) if seed is None else seed].load_model()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the run is incomplete") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is damaged: it is not a JSON object")
    return document
