"""What a run is evaluated on: its own test split, or every sample of another file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.geometry import Geometry, Method, Resolution
from datagen.store import Dataset, open_dataset
from kitipde.errors import InputError
from kitipde.evaluation.trained_on import SeenSamples, seen_samples
from kitipde.problem.windows import split_samples
from kitipde.runs import Run

__all__ = ["Subject", "check_resolutions", "choose_subject", "default_resolutions", "possible_resolutions"]


@dataclass(frozen=True)
class Subject:
    """The samples that errors are measured on.

    Attributes:
        path: the dataset file.
        identity: which file it is, whatever its name.
        recipe: what it was made from: files of the same recipe differ by rounding alone.
        equation: what it holds.
        geometry: where the stored fields live.
        samples: which samples of the file, ascending; there may be gaps.
        own: whether this is the test split of the file that the run was trained on.
        seen: samples of the file that are left out because the run was trained, or its epoch chosen, on them.
        remade: whether the file was made again by the same settings, and differs from the run's by rounding.
    """

    path: Path
    identity: str
    recipe: str
    equation: str
    geometry: Geometry
    samples: Sequence[int]
    own: bool
    seen: SeenSamples
    remade: bool = False

    @property
    def folder(self) -> str:
        """Name of the folder, inside the run's, for what is measured on it."""
        return "test" if self.own else f"{self.path.stem}-{self.identity[:8]}"

    @property
    def description(self) -> str:
        """Which samples of which file, in words."""
        which = "test split" if self.own else "those not trained on" if self.seen.samples else "all"
        return f"{which}, {len(self.samples)} samples of {self.path.name}"

    @property
    def remark(self) -> str | None:
        """What a person should know of data that are not the run's own."""
        if self.own and self.remade:
            return f"{self.path} was made from the settings of its dataset, on a machine that rounds otherwise"
        if self.own:
            return None
        used = "all its samples are used"
        if self.seen.samples:
            used = f"{len(self.seen.samples)} of its samples are the same {self.seen.evidence} and are left out"
        elif self.seen.obstacle:
            used += f", unsearched for those that it was trained on: {self.seen.obstacle}"
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
        run.facts.problem.domain.refuse_other(dataset.geometry, path, run.path)
        return _subject(run, dataset, own)


def check_resolutions(subject: Subject, resolutions: Sequence[Sequence[int]], method: Method) -> None:
    """Refuse a resolution that the stored grid cannot give.

    Raises:
        InputError: naming the resolution and those that are possible.
    """
    for resolution in resolutions:
        subject.geometry.reductions(resolution, method)


def default_resolutions(run: Run, subject: Subject) -> tuple[Resolution, ...]:
    """Half the training resolution, itself and its double, as far as the stored grid gives them."""
    domain = run.facts.problem.domain
    wanted: list[Sequence[int]] = [domain.shape]
    for numerator, denominator in ((1, 2), (2, 1)):
        # What is halved and doubled are the distances between points.
        gaps = [points + round(more) for points, (_, more) in zip(domain.shape, domain.placements, strict=False)]
        if gaps and all(gap * numerator % denominator == 0 for gap in gaps):
            scaled = (gap * numerator // denominator for gap in gaps)
            wanted.append(tuple(gap - round(more) for gap, (_, more) in zip(scaled, domain.placements, strict=True)))
    return possible_resolutions(subject, wanted, run.config.data.downsample) or (subject.geometry.shape,)


def possible_resolutions(subject: Subject, wanted: Iterable[Sequence[int]], method: Method) -> tuple[Resolution, ...]:
    """Those of the wanted resolutions that the stored grid gives, ascending."""
    return subject.geometry.possible(wanted, method)


def _subject(run: Run, dataset: Dataset, own: bool) -> Subject:
    if own:
        samples, seen = split_samples(dataset.samples, run.config.data).test, SeenSamples()
    else:
        samples, seen = _new_samples(run, dataset)
    if not samples:
        raise InputError(f"{dataset.path} has no test samples for {run.path} (data.test is 0)")
    return Subject(
        path=Path(dataset.path),
        identity=dataset.identity,
        recipe=dataset.recipe,
        equation=dataset.equation,
        geometry=dataset.geometry,
        samples=samples,
        own=own,
        seen=seen,
        remade=own and dataset.identity != run.dataset_identity,
    )


def _new_samples(run: Run, dataset: Dataset) -> tuple[Sequence[int], SeenSamples]:
    """The samples of another file that a run has not seen, wherever they lie, and those that it has.

    Raises:
        InputError: if it has seen all of them.
    """
    seen = seen_samples(run, dataset)
    new = np.setdiff1d(np.arange(dataset.samples), seen.samples).tolist()
    if dataset.samples and not new:
        raise InputError(
            f"every sample of {dataset.path} is in the training or validation split of {run.path} (the same "
            f"{seen.evidence}); give a file with others, of another --seed for example"
        )
    whole = range(new[0], new[-1] + 1)
    return whole if len(whole) == len(new) else tuple(new), seen
