"""Making a data set: in parts that survive interruption, on any number of machines, the same bytes each time.

The samples of `data.h5` are solved in parts `data.h5.parts/part-00000.h5`, …, each written whole or not at all. When
all are there they are joined into `data.h5` and removed. Whoever runs the same recipe again, after a crash or on
another machine with the same folder, makes only the parts that are missing. A sample depends on the recipe and its
index alone.
"""

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from datagen.errors import InputError
from datagen.fields import sample_seeds
from datagen.machine import Machine
from datagen.store.layout import Layout
from datagen.store.parts import clean_up, parts_folder, remove_all
from datagen.store.reader import open_dataset
from datagen.store.verify import verify
from datagen.store.writer import atomic_path, merge_files, write_file

__all__ = [
    "Plan",
    "Recipe",
    "check_disk",
    "discard_damaged_parts",
    "finished",
    "forecast",
    "generate",
    "join",
    "parts_folder",
    "plan",
    "remove_all",
    "wait_for_all",
]

Progress = Callable[[int, int], None]

_PART_BYTES = 64 * 1024 * 1024
_FEWEST_PARTS = 16
_SPARE_BYTES = 16 * 1024 * 1024

# The forecast solves at most so many groups, and stops when it has taken so long.
_PROBES = 8
_PROBE_SECONDS = 1.0


class Recipe(Protocol):
    """A data set as a frozen dataclass: its fields are all that its samples depend on."""

    equation: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def samples(self) -> int: ...

    @property
    def seed(self) -> int: ...

    def layout(self) -> Layout: ...

    def solve(self, indices: Sequence[int], device: str) -> Mapping[str, np.ndarray]:
        """Values of every per-sample variable of the layout, of a whole group."""
        ...

    def group(self, device: str) -> int:
        """How many samples are solved together on "cpu" or "cuda".

        Transforms of several fields at once may round otherwise than one after the other, and the time step is that of
        the fastest flow among them. So groups are cut from the data set once and for all, and always solved whole.
        """
        ...

    def probe(self, device: str) -> tuple["Recipe", float]:
        """A recipe whose samples are cheaper, and by what factor, to measure the speed with."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a generation will make.

    Attributes:
        path: the finished file.
        folder: where its parts wait.
        layout: what the file holds.
        parts: sample indices of each part.
        missing: numbers of the parts still to be made, of all shards.
        file_bytes: size of the finished file before compression.
    """

    path: Path
    folder: Path
    layout: Layout
    parts: tuple[range, ...]
    missing: tuple[int, ...]
    file_bytes: int

    def part_path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.h5"

    def shard(self, machine: Machine) -> tuple[int, ...]:
        """The missing parts that this process is to make."""
        return tuple(number for number in self.missing if number % machine.shards == machine.shard)


def _config_text(recipe: Recipe, device: str) -> str:
    """The settings as the file keeps them; rounding differs between kinds of devices, so the kind belongs to them."""
    return json.dumps({"equation": recipe.equation, **asdict(recipe), "device": device}, sort_keys=True)


def plan(recipe: Recipe, path: Path, device: str) -> Plan:
    """Look at what is there and divide up the rest.

    Raises:
        InputError: the parts of a data set with other settings are in the way.
    """
    layout = replace(recipe.layout(), config=_config_text(recipe, device))
    size = layout.sample_bytes()
    group = recipe.group(device)
    step = group * max(1, min(_PART_BYTES // size, -(-recipe.samples // _FEWEST_PARTS)) // group)
    parts = tuple(range(first, min(first + step, recipe.samples)) for first in range(0, recipe.samples, step))
    folder = parts_folder(path)
    begun = folder / "recipe.json"
    # Settings under which nothing was made yet (a first attempt that failed) bind nobody.
    if begun.exists() and any(folder.glob("part-*.h5")):
        difference = _difference(json.loads(begun.read_text()), json.loads(layout.config))
        if difference:
            raise InputError(
                f"{folder} holds an unfinished data set of other settings ({difference}): "
                "give the same settings to continue it, or --overwrite to begin anew"
            )
    empty = Plan(path, folder, layout, parts, (), size * recipe.samples)
    missing = tuple(number for number in range(len(parts)) if not empty.part_path(number).exists())
    return replace(empty, missing=missing)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The settings that differ, in words; empty if none does."""
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} was {old.get(name)} and is now {new.get(name)}" for name in names)


def finished(recipe: Recipe, path: Path, device: str) -> bool:
    """Whether the file is there already; what an interruption after its last part left beside it is removed.

    Raises:
        InputError: there is a file of that name with something else in it.
    """
    if not path.exists():
        return False
    with open_dataset(path) as data:
        difference = _difference(data.config, json.loads(_config_text(recipe, device)))
    if difference:
        raise InputError(f"{path} exists with other settings ({difference}); --overwrite replaces it")
    clean_up(path)
    return True


def forecast(work: Plan, recipe: Recipe, machine: Machine) -> str:
    """What is to be made, how large it is and how long this process will take, measured on pieces of some samples."""
    numbers = work.shard(machine)
    samples = sum(len(work.parts[number]) for number in numbers)
    size = f"{work.path.name}: {recipe.samples} samples, about {_readable(work.file_bytes)}"
    if not samples:
        return f"{size}; all are made"
    probe, ratio = recipe.probe(machine.place)
    together = recipe.group(machine.device)
    probe.solve(range(together), machine.place)
    begin, measured = time.perf_counter(), 0
    # Samples can differ in their solver, and that in its time.
    for start in range(0, recipe.samples, -(-recipe.samples // _PROBES)):
        probe.solve(range(start, start + together), machine.place)
        measured += 1
        if time.perf_counter() - begin > _PROBE_SECONDS:
            break
    groups = -(-samples // together)
    seconds = (time.perf_counter() - begin) / measured * ratio * -(-groups // machine.workers)
    return f"{size}; {samples} to be made here on {machine.place}, about {_duration(seconds)}"


def generate(work: Plan, recipe: Recipe, machine: Machine, progress: Progress | None = None) -> None:
    """Make the parts of this process's share that are missing; `join` makes the file of all.

    Args:
        work: from `plan`.
        recipe: what to solve.
        machine: share, device and workers.
        progress: called with (samples of this share made, samples of this share to be made).

    Raises:
        InputError: the folder cannot be written to, the disk is full, or a solution left the finite numbers.
    """
    numbers = work.shard(machine)
    check_disk(work, numbers)
    _begin(work)
    total = sum(len(work.parts[number]) for number in numbers)
    done = 0
    if progress:
        progress(0, total)
    size = recipe.group(machine.device)
    groups = [(number, group) for number in numbers for group in _groups(work.parts[number], size)]
    gathered: list[Mapping[str, np.ndarray]] = []
    for (number, group), values in zip(groups, _solve_all(recipe, machine, groups), strict=True):
        kept = min(group.stop, work.parts[number].stop) - group.start
        gathered.append({name: array[:kept] for name, array in values.items()})
        done += kept
        if group.stop >= work.parts[number].stop:
            _write_part(work, recipe, number, gathered)
            gathered = []
        if progress:
            progress(done, total)


def wait_for_all(work: Plan, machine: Machine, patience: float = 1800.0) -> None:
    """Wait until the other ranks of this launch have delivered their parts.

    Raises:
        InputError: nothing new came for `patience` seconds.
    """
    missing, since = list(work.missing), time.monotonic()
    while True:
        before, missing = len(missing), [number for number in missing if not work.part_path(number).exists()]
        if not missing:
            return
        if len(missing) < before:
            since = time.monotonic()
        if time.monotonic() - since > patience:
            raise InputError(f"{len(missing)} parts of other ranks did not come; the same command continues")
        time.sleep(0.2)


def join(work: Plan, progress: Progress | None = None) -> None:
    """Join all parts into the finished file and remove them.

    Raises:
        InputError: a part is missing or damaged, the folder cannot be written to, or the disk is full.
    """
    paths = [work.part_path(number) for number in range(len(work.parts))]
    absent = [path.name for path in paths if not path.exists()]
    if absent:
        raise InputError(f"{work.folder} lacks {len(absent)} of {len(paths)} parts (first: {absent[0]})")
    check_disk(work, ())
    merge_files(paths, work.path, work.layout, progress)
    clean_up(work.path)


def discard_damaged_parts(work: Plan, machine: Machine) -> Plan:
    """Remove parts of this share that cannot be read or do not match their checksums, so that they are made again."""
    damaged = []
    for number in range(machine.shard, len(work.parts), machine.shards):
        path = work.part_path(number)
        if number not in work.missing and not _intact(path, len(work.parts[number])):
            path.unlink(missing_ok=True)
            damaged.append(number)
    return replace(work, missing=tuple(sorted((*work.missing, *damaged))))


def check_disk(work: Plan, numbers: Sequence[int]) -> None:
    """Refuse to begin what the disk cannot hold: the parts still to be made and, beside all parts, the finished file.

    Raises:
        InputError: not enough space.
    """
    samples = sum(len(part) for part in work.parts)
    missing = sum(len(work.parts[number]) for number in numbers)
    needed = work.file_bytes + work.file_bytes * missing // samples + _SPARE_BYTES
    place = next(parent for parent in work.path.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"the disk of {place} has {_readable(free)} free; "
            f"{work.path.name} needs {_readable(needed)} while it is made"
        )


def _intact(path: Path, samples: int) -> bool:
    try:
        return verify(path).samples == samples
    except InputError:
        return False


def _begin(work: Plan) -> None:
    with atomic_path(work.folder / "recipe.json") as temporary:
        temporary.write_text(work.layout.config)


def _groups(part: range, size: int) -> list[range]:
    """The groups of a part; the last one may reach beyond the last sample there is."""
    return [range(first, first + size) for first in range(part.start, part.stop, size)]


def _solve_all(
    recipe: Recipe, machine: Machine, groups: Sequence[tuple[int, range]]
) -> Iterator[Mapping[str, np.ndarray]]:
    """Solutions in the order of the groups, with a few more under way than there are workers."""
    import torch

    # What one thread says of its own number of threads, the mathematics library takes as said of all.
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(machine.workers, initializer=_one_thread)
    try:
        jobs = (pool.submit(recipe.solve, group, machine.place) for _, group in groups)
        running = deque(islice(jobs, 2 * machine.workers))
        while running:
            yield running.popleft().result()
            running.extend(islice(jobs, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _write_part(work: Plan, recipe: Recipe, number: int, gathered: Sequence[Mapping[str, np.ndarray]]) -> None:
    part = work.parts[number]
    values = {name: np.concatenate([one[name] for one in gathered]) for name in gathered[0]}
    for name, array in values.items():
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            raise InputError(
                f"sample {part[int(np.argmin(finite))]}: {name} is not finite; the time step is too large for it"
            )
    write_file(work.part_path(number), work.layout, sample_seeds(recipe.seed, part), values)


def _readable(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
