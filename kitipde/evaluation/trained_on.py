"""Which samples of another file a run has seen already: those are no test samples.

A sample counts as seen if the run was trained on it, or its epoch was chosen on it. Two kinds of evidence:

- *By seed and settings.* Files of one recipe whose settings differ in numerical ones only
  (`datagen.equations.settings`) hold the same samples under the same seeds, on whatever grid.
- *By values.* Otherwise samples are compared on the points that the two grids have in common. They are the same if
  their inputs agree to float32 rounding everywhere, and their targets in the main: a solver that steps otherwise, or
  stores other frames, does not make an input new, another equation does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datagen.equations.registry import physical_settings
from datagen.equations.settings import declared_in
from datagen.solvers.random_fields import sample_seeds
from datagen.store import Dataset, open_dataset
from kitipde.errors import InputError
from kitipde.problem.windows import split_samples
from kitipde.runs import Run

__all__ = ["SeenSamples", "seen_samples"]

# Values of a sample by which candidates are found, and the fewest common points that tell samples apart.
_PROBES, _FEWEST_POINTS = 64, 8
# Of a processor that rounds otherwise, and of a file that went through another program.
_ROUNDINGS = 8
# Relative L2 distance of targets about their mean up to which they are those of the same problem.
_SAME_TARGET = 0.1
# Values that are held at once.
_BATCH_VALUES = 2**22


@dataclass(frozen=True)
class SeenSamples:
    """What a run knows of a file.

    Attributes:
        samples: those that it was trained on, or its epoch chosen on, ascending.
        evidence: how they were recognised, in words.
        obstacle: why the file could not be searched for them, in words; empty if it was.
    """

    samples: tuple[int, ...] = ()
    evidence: str = ""
    obstacle: str = ""


def seen_samples(run: Run, dataset: Dataset) -> SeenSamples:
    """The samples of a file that are in the training or validation split of a run.

    Args:
        run: the run.
        dataset: an open file, other than the one that it was trained on.
    """
    with _own_dataset(run) as trained:
        by_seed = _by_seed(run, dataset, trained)
        if by_seed is not None:
            return by_seed
        if trained is None:
            return SeenSamples(obstacle=f"its own, {run.dataset_path}, is missing or has changed")
        try:
            return _by_values(run, trained, dataset)
        except InputError as error:
            return SeenSamples(obstacle=str(error))


@contextmanager
def _own_dataset(run: Run) -> Iterator[Dataset | None]:
    """The file that a run was trained on; None if it is not there any more."""
    try:
        trained = open_dataset(run.dataset_path)
    except InputError:
        yield None
        return
    with trained:
        yield trained if trained.identity == run.dataset_identity else None


def _by_seed(run: Run, dataset: Dataset, trained: Dataset | None) -> SeenSamples | None:
    """None if the recipes cannot tell: a seed is the same function for the same physical settings alone."""
    made, declared = run.facts.dataset_config, run.facts.numerical_settings
    if not made and trained is not None:
        made, declared = trained.config, list(declared_in(trained.attributes))
    if not {"seed", "samples"} <= made.keys() or "seed" not in dataset.parameters:
        return None
    theirs = physical_settings(dataset.config, declared_in(dataset.attributes))
    if not {"seed", "samples"} <= dataset.config.keys() or physical_settings(made, declared) != theirs:
        return None
    split = split_samples(int(made["samples"]), run.config.data)
    seeds = sample_seeds(int(made["seed"]), (*split.train, *split.validation))
    found = np.flatnonzero(np.isin(dataset.parameter("seed"), seeds))
    return SeenSamples(tuple(found.tolist()), "by seed and settings")


def _by_values(run: Run, trained: Dataset, dataset: Dataset) -> SeenSamples:
    split = split_samples(trained.samples, run.config.data)
    # One of several fields is enough: all follow from the same initial state.
    names = (run.facts.problem.inputs[0], run.facts.problem.targets[0])
    found = _same_samples(
        Path(trained.path),
        trained.identity,
        Path(dataset.path),
        dataset.identity,
        names,
        (*split.train, *split.validation),
    )
    if found is None:
        return SeenSamples(obstacle="the two have too little in common to tell samples by their values")
    return SeenSamples(found, "by their values")


@lru_cache(maxsize=16)
def _same_samples(
    own: Path, _own_identity: str, other: Path, _other_identity: str, names: tuple[str, str], seen: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Samples of the other file that are among those seen of the own one; None if the two cannot be compared.

    Remembered, since runs of a study are evaluated on one file one after another.
    """
    with open_dataset(own) as trained, open_dataset(other) as dataset:
        pairs = [_pair(trained, dataset, name, last) for name, last in zip(names, (False, True), strict=True)]
        given, wanted = pairs
        if given is None:
            return None
        if _tells_samples_apart(given[0], seen):
            close = _always if wanted is None else _nearly_same(*wanted)
            return _matches(*given, seen, range(dataset.samples), close)
        # The same input in every sample: the targets tell which is which.
        if wanted is None or not _tells_samples_apart(wanted[0], seen):
            return None
        return _matches(*wanted, seen, range(dataset.samples), _always)


@dataclass(frozen=True)
class _Common:
    """A field of a file at one instant, on the points that it has in common with another file.

    Attributes:
        dataset: the open file.
        name: of the field.
        frame: which instant; none for a field without time.
        points: along each axis.
    """

    dataset: Dataset
    name: str
    frame: int | None
    points: tuple[slice, ...]

    def read(self, samples: Sequence[int]) -> Float[np.ndarray, "samples points"]:
        frames = None if self.frame is None else slice(self.frame, self.frame + 1)
        values = self.dataset.read(self.name, samples, frames)
        values = values if frames is None else values[:, 0]
        return values[(slice(None), *self.points)].reshape(len(samples), -1)

    def probes(self, samples: Sequence[int]) -> Float[np.ndarray, "samples probes"]:
        """A few values of each sample, always at the same points, read in bounded memory."""
        count = max(1, _BATCH_VALUES // prod(self.dataset.grid))
        places, parts = None, []
        for start in range(0, len(samples), count):
            values = self.read(samples[start : start + count])
            if places is None:
                size = values.shape[1]
                places = np.random.default_rng(0).permutation(size)[: min(size, _PROBES)]
            parts.append(values[:, places].astype(np.float64))
        return np.concatenate(parts)


def _pair(trained: Dataset, dataset: Dataset, name: str, last: bool) -> tuple[_Common, _Common] | None:
    """A field in both files, at the first or last instant that both have; None if there is nothing to compare."""
    files = trained, dataset
    if any(name not in file.fields or file.fields[name][0] != "sample" for file in files):
        return None
    points = _common_points(trained, dataset)
    frames = _common_frames(trained, dataset, name, last)
    if points is None or frames is None:
        return None
    first, second = (_Common(file, name, *of) for file, of in zip(files, zip(frames, points, strict=True), strict=True))
    return first, second


def _common_points(a: Dataset, b: Dataset) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Which points of each grid are those of the other; None if too few are."""
    if a.mesh is not None or b.mesh is not None:
        same = a.mesh is not None and b.mesh is not None and len(a.mesh.x) == len(b.mesh.x)
        return ((slice(None),), (slice(None),)) if same else None
    if len(a.grid) != len(b.grid):
        return None
    strides, total = [], 1
    for one, other in zip(a.grid, b.grid, strict=True):
        # Counted from the first point: of grids without their end point, or of grids that include it.
        open_points, closed_points = gcd(one, other), gcd(one - 1, other - 1) + 1
        if min(one, other) == 1 or open_points >= closed_points:
            strides.append((one // open_points, other // open_points))
            total *= open_points
        else:
            strides.append(((one - 1) // (closed_points - 1), (other - 1) // (closed_points - 1)))
            total *= closed_points
    if total < min(_FEWEST_POINTS, prod(a.grid), prod(b.grid)):
        return None
    first, second = (tuple(slice(None, None, pair[place]) for pair in strides) for place in (0, 1))
    return first, second


def _common_frames(a: Dataset, b: Dataset, name: str, last: bool) -> tuple[int | None, int | None] | None:
    """The first or last instant that a field has in both; without one, its first or last frame that both have."""
    timed = ["time" in file.fields[name] for file in (a, b)]
    if not any(timed) or a.times is None or b.times is None:
        return (None, None) if not any(timed) else None
    same = np.argwhere(np.isclose(np.asarray(a.times)[:, None], np.asarray(b.times)[None, :], rtol=1e-6, atol=0))
    if len(same):
        one, other = same[-1 if last else 0].tolist()
    elif all(timed):
        one = other = min(len(a.times), len(b.times)) - 1 if last else 0
    else:
        return None
    return (one if timed[0] else None), (other if timed[1] else None)


def _tells_samples_apart(field: _Common, samples: Sequence[int]) -> bool:
    """Whether a field differs between samples by more than rounding."""
    few = field.probes(samples[:64])
    return len(samples) == 1 or bool((np.ptp(few, axis=0) > _tolerance(few)).any())


def _matches(
    own: _Common, other: _Common, seen: Sequence[int], samples: Sequence[int], close: Callable[[int, int], bool]
) -> tuple[int, ...]:
    """The samples whose values are those of one that was seen; candidates are found by a few values of each."""
    known, new = own.probes(seen), other.probes(samples)
    tolerance = _tolerance(known)
    # Values that agree have sums that do: only neighbours along a line need be looked at.
    weights = np.random.default_rng(1).standard_normal(known.shape[1])
    sums, width = known @ weights, tolerance * np.abs(weights).sum()
    order = np.argsort(sums)
    places = new @ weights
    low = np.searchsorted(sums[order], places - width, "left")
    high = np.searchsorted(sums[order], places + width, "right")
    found = []
    for row in np.flatnonzero(low < high).tolist():
        near = order[low[row] : high[row]]
        near = near[(np.abs(known[near] - new[row]) <= tolerance).all(1)].tolist()
        if any(_equal(own, other, seen[at], samples[row]) and close(seen[at], samples[row]) for at in near):
            found.append(samples[row])
    return tuple(found)


def _tolerance(values: np.ndarray) -> float:
    return _ROUNDINGS * float(np.finfo(np.float32).eps) * float(np.abs(values).max())


def _equal(own: _Common, other: _Common, seen: int, sample: int) -> bool:
    """Whether two samples agree on all common points, to rounding."""
    a, b = (field.read((at,)).astype(np.float64) for field, at in ((own, seen), (other, sample)))
    return bool((np.abs(a - b) <= _tolerance(a)).all())


def _always(_seen: int, _sample: int) -> bool:
    return True


def _nearly_same(own: _Common, other: _Common) -> Callable[[int, int], bool]:
    """Whether two samples' targets are those of the same problem."""

    def close(seen: int, sample: int) -> bool:
        a, b = (field.read((at,)).astype(np.float64) for field, at in ((own, seen), (other, sample)))
        allowed = _SAME_TARGET * np.linalg.norm(a - a.mean()) + _tolerance(a) * np.sqrt(a.size)
        return bool(np.linalg.norm(a - b) <= allowed)

    return close
