"""What a run is evaluated on: its own test split, or every sample of another file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datagen.resampling import check_grid
from datagen.store import Dataset, open_dataset
from kitipde.data.windows import split_samples
from kitipde.errors import InputError
from kitipde.runs import Run

__all__ = ["Subject", "check_resolutions", "choose_subject", "default_resolutions", "possible_resolutions"]


@dataclass(frozen=True)
class Subject:
    """The samples that errors are measured on.

    Attributes:
        path: the dataset file.
        identity: which file it is, whatever its name.
        equation: what it holds.
        grid: stored points per axis.
        length: side of the periodic domain.
        samples: which samples of the file.
        own: whether this is the test split of the file that the run was trained on.
    """

    path: Path
    identity: str
    equation: str
    grid: tuple[int, ...]
    length: float
    samples: range
    own: bool

    @property
    def folder(self) -> str:
        """Name of the folder, inside the run's, for what is measured on it."""
        return "test" if self.own else f"{self.path.stem}-{self.identity[:8]}"

    @property
    def description(self) -> str:
        """Which samples of which file, in words."""
        which = "test split" if self.own else "all"
        return f"{which}, {len(self.samples)} samples of {self.path.name}"


def choose_subject(run: Run, data: Path | None = None) -> Subject:
    """The test split of the run's dataset, or all samples of another one.

    Args:
        run: the run to evaluate.
        data: a dataset file; None for the one that the run was trained on.

    Raises:
        InputError: if the run's dataset is missing or has changed, or the given one holds another equation.
    """
    path = data or run.dataset_path
    if data is None and not path.is_file():
        raise InputError(
            f"the dataset of {run.path} is missing: {path} does not exist; say where it is with --data FILE"
        )
    with open_dataset(path) as dataset:
        own = dataset.identity == run.dataset_identity
        if data is None and not own:
            raise InputError(
                f"the dataset of {run.path} has changed: {path} is not the file it was trained on "
                f"(identity {dataset.identity[:12]}, trained on {run.dataset_identity[:12]}); evaluate on it as new "
                f"data with --data {path}"
            )
        if dataset.equation != run.equation:
            raise InputError(f"{path} holds {dataset.equation}, but {run.path} was trained on {run.equation}")
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
    samples = split_samples(dataset.samples, run.config.data).test if own else range(dataset.samples)
    if not samples:
        raise InputError(f"{dataset.path} has no test samples for {run.path} (data.test is 0)")
    return Subject(
        path=Path(dataset.path),
        identity=dataset.identity,
        equation=dataset.equation,
        grid=dataset.grid,
        length=dataset.length,
        samples=samples,
        own=own,
    )
