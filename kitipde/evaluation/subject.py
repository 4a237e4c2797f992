"""What a run is evaluated on: its own test split, or every sample of another file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.fields import sample_seeds
from datagen.resampling import check_grid
from datagen.store import Dataset, open_dataset
from kitipde.data.windows import split_samples
from kitipde.errors import InputError
from kitipde.runs import Run

__all__ = ["Subject", "check_resolutions", "choose_subject", "default_resolutions", "possible_resolutions"]


# Settings of a generator that change neither the equation nor the initial fields of its seeds: how finely it is solved,
# which instants are stored, and of the airfoil the mesh.
_NUMERICAL = {
    *("device", "samples", "seed", "resolution", "solve_resolution", "tolerance", "step", "courant"),
    *("frames", "interval", "final_time"),
    *("around", "layers", "far", "first", "evenness"),
}


@dataclass(frozen=True)
class Subject:
    """The samples that errors are measured on.

    Attributes:
        path: the dataset file.
        identity: which file it is, whatever its name.
        recipe: what it was made from: files of the same recipe differ by rounding alone.
        equation: what it holds.
        grid: stored points per axis.
        length: side of the periodic domain.
        samples: which samples of the file.
        own: whether this is the test split of the file that the run was trained on.
        known: how many samples of the file are left out because the run was trained, or its epoch chosen, on them.
        remade: whether the file was made again by the same settings, and differs from the run's by rounding.
    """

    path: Path
    identity: str
    recipe: str
    equation: str
    grid: tuple[int, ...]
    length: float
    samples: range
    own: bool
    known: int = 0
    remade: bool = False

    @property
    def folder(self) -> str:
        """Name of the folder, inside the run's, for what is measured on it."""
        return "test" if self.own else f"{self.path.stem}-{self.identity[:8]}"

    @property
    def description(self) -> str:
        """Which samples of which file, in words."""
        which = "test split" if self.own else "those not trained on" if self.known else "all"
        return f"{which}, {len(self.samples)} samples of {self.path.name}"

    @property
    def remark(self) -> str | None:
        """What a person should know of data that are not the run's own."""
        if self.own and self.remade:
            return f"{self.path} was made from the settings of its dataset, on a machine that rounds otherwise"
        if self.own:
            return None
        used = "all its samples are used"
        if self.known:
            used = f"{self.known} of its samples are the same by seed and settings and are left out"
        return f"{self.path} is not the dataset it was trained on; {used}"


def choose_subject(run: Run, data: Path | None = None) -> Subject:
    """The test split of the run's dataset, or all samples of another one that the run does not know.

    Args:
        run: the run to evaluate.
        data: a dataset file; None for the one that the run was trained on.

    Raises:
        InputError: if the run's dataset is missing or has changed, or the given one holds another equation, or nothing
            that is new to the run.
    """
    path = data or run.dataset_path
    if data is None and not path.is_file():
        raise InputError(
            f"the dataset of {run.path} is missing: {path} does not exist; say where it is with --data FILE"
        )
    with open_dataset(path) as dataset:
        own = dataset.identity == run.dataset_identity or dataset.recipe == run.dataset_recipe
        if data is None and not own:
            raise InputError(
                f"the dataset of {run.path} has changed: {path} is not the file it was trained on "
                f"(identity {dataset.identity[:12]}, trained on {run.dataset_identity[:12]}); evaluate on it as new "
                f"data with --data {path}"
            )
        if dataset.equation != run.equation:
            raise InputError(f"{path} holds {dataset.equation}, but {run.path} was trained on {run.equation}")
        if dataset.mesh is None and len(dataset.grid) != run.facts.dimension:
            raise InputError(f"{path} is {len(dataset.grid)}-D, but {run.path} was trained in {run.facts.dimension}-D")
        return _subject(run, dataset, own)


def check_resolutions(subject: Subject, resolutions: Sequence[int], method: str) -> None:
    """Refuse a resolution that the stored grid cannot give.

    Raises:
        InputError: naming the resolution and those that are possible.
    """
    for resolution in resolutions:
        check_grid(subject.grid[:1], (resolution,), method)


def default_resolutions(run: Run, subject: Subject) -> tuple[int, ...]:
    """Half the training resolution, itself and its double, as far as the stored grid gives them."""
    trained = run.facts.resolution
    wanted = (trained // 2, trained, 2 * trained)
    return possible_resolutions(subject, wanted, run.config.data.downsample) or (subject.grid[0],)


def possible_resolutions(subject: Subject, wanted: Iterable[int], method: str) -> tuple[int, ...]:
    """Those of the wanted resolutions that the stored grid gives, ascending."""
    possible = []
    for resolution in sorted(wanted):
        try:
            check_resolutions(subject, (resolution,), method)
        except InputError:
            continue
        possible.append(resolution)
    return tuple(possible)


def _subject(run: Run, dataset: Dataset, own: bool) -> Subject:
    if own:
        samples, known = split_samples(dataset.samples, run.config.data).test, 0
    else:
        samples, known = _new_samples(run, dataset)
    if not samples:
        raise InputError(f"{dataset.path} has no test samples for {run.path} (data.test is 0)")
    return Subject(
        path=Path(dataset.path),
        identity=dataset.identity,
        recipe=dataset.recipe,
        equation=dataset.equation,
        grid=dataset.grid,
        length=dataset.length,
        samples=samples,
        own=own,
        known=known,
        remade=own and dataset.identity != run.dataset_identity,
    )


def _new_samples(run: Run, dataset: Dataset) -> tuple[range, int]:
    """The samples of another file that are in neither training nor validation split, and how many are.

    A seed is a function, whatever the grid: a longer or finer file from the same generator begins with the samples of
    the run.
    """
    made = run.facts.dataset_config or _config_of_trained_on(run)
    seeded = {"seed", "samples"} <= made.keys() and "seed" in dataset.parameters
    if not seeded or _law(made) != _law(dataset.config):
        return range(dataset.samples), 0
    split = split_samples(int(made["samples"]), run.config.data)
    known = np.isin(dataset.parameter("seed"), sample_seeds(int(made["seed"]), (*split.train, *split.validation)))
    new = np.flatnonzero(~known)
    if not new.size:
        raise InputError(
            f"every sample of {dataset.path} is in the training or validation split of {run.path} (the same seeds and "
            "settings); make others with another --seed"
        )
    samples = range(int(new[0]), int(new[-1]) + 1)
    if len(samples) > new.size:
        raise InputError(
            f"samples that {run.path} was trained on lie among the others of {dataset.path}; give a file without them"
        )
    return samples, int(known.sum())


def _config_of_trained_on(run: Run) -> Mapping[str, Any]:
    """The settings of the run's dataset, for a run that does not have them, if the file is still there."""
    try:
        with open_dataset(run.dataset_path) as dataset:
            return dataset.config if dataset.identity == run.dataset_identity else {}
    except InputError:
        return {}


def _law(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _NUMERICAL}
