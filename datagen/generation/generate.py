"""Making a dataset: in parts that survive interruption, on any number of machines, the same bytes each time.

The samples of `data.h5` are solved in parts `data.h5.parts/part-00000.h5`, …, each written whole or not at all. When
all are there they are joined into `data.h5` and removed. Whoever runs the same recipe again, after a crash or on
another machine with the same folder, makes only the parts that are missing. A sample depends on the recipe and its
index alone.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice

import numpy as np

from datagen.equations.recipe import Recipe
from datagen.errors import InputError
from datagen.generation.machine import Machine
from datagen.generation.planning import SETTINGS, Parts, Plan, finished, plan, plan_anew
from datagen.solvers.random_fields import sample_seeds
from datagen.store.layout import Layout
from datagen.store.parts import REPLACES, clean_up, forget_parts, parts_folder
from datagen.store.verify import intact
from datagen.store.writer import atomic_path, merge_files, write_file
from datagen.words import duration_text, size_text

__all__ = [
    "Parts",
    "Plan",
    "Recipe",
    "begin_anew",
    "check_disk",
    "discard_damaged_parts",
    "finished",
    "forecast",
    "generate",
    "join",
    "parts_folder",
    "plan",
    "plan_anew",
    "wait_for_all",
]

Progress = Callable[[int, int], None]

_SPARE_BYTES = 16 * 1024 * 1024

# The forecast solves at most so many groups, and stops when it has taken so long.
_PROBES = 8
_PROBE_SECONDS = 1.0


def begin_anew(work: Plan) -> None:
    """Forget what was begun before; a finished file stays until the new one takes its place.

    Raises:
        InputError: the parts cannot be removed.
    """
    forget_parts(work.path, work.layout.config)


def forecast(work: Plan, recipe: Recipe, machine: Machine) -> str:
    """What is to be made, how large it is and how long this process will take, measured on pieces of some samples.

    Raises:
        InputError: a solution left the finite numbers, or takes too many time steps.
    """
    samples = work.samples_left(machine)
    size = f"{work.path.name}: {recipe.samples} samples, about {size_text(work.file_bytes)}"
    if not samples:
        return f"{size}; all are made"
    probe, ratio = recipe.probe()
    together = recipe.group(machine.device)
    probe.solve(range(together), machine.place)
    begin, measured = time.perf_counter(), 0
    # Samples can differ in their solver, and that in its time.
    for start in range(0, recipe.samples, -(-recipe.samples // _PROBES)):
        indices = range(start, start + together)
        _refuse_infinite(recipe, work.layout, indices, probe.solve(indices, machine.place))
        measured += 1
        if time.perf_counter() - begin > _PROBE_SECONDS:
            break
    groups = -(-samples // together)
    seconds = (time.perf_counter() - begin) / measured * ratio * -(-groups // machine.workers)
    return f"{size}; {samples} to be made here on {machine.place}, about {duration_text(seconds)}"


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
    check_disk(work, machine)
    with _begun(work):
        _make_parts(work, recipe, machine, progress or (lambda done, total: None))


def _make_parts(work: Plan, recipe: Recipe, machine: Machine, progress: Progress) -> None:
    numbers, total = work.shard(machine), work.samples_left(machine)
    done = 0
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
    _check_space(work, 0)
    merge_files(paths, work.path, work.layout, progress)
    clean_up(work.path)


def discard_damaged_parts(work: Plan, machine: Machine) -> Plan:
    """Remove parts of this share that cannot be read or do not match their checksums, so that they are made again."""
    damaged = set()
    for number in work.present:
        path = work.part_path(number)
        if number % machine.shards == machine.shard and not intact(path, len(work.parts[number])):
            path.unlink(missing_ok=True)
            damaged.add(number)
    return replace(work, present=work.present - damaged)


def check_disk(work: Plan, machine: Machine) -> None:
    """Refuse to begin what the disk cannot hold: the parts still to be made and, beside all parts, the finished file.

    Raises:
        InputError: not enough space.
    """
    _check_space(work, work.samples_left(machine))


def _check_space(work: Plan, missing: int) -> None:
    needed = work.file_bytes + work.file_bytes * missing // work.parts.samples + _SPARE_BYTES
    place = next(parent for parent in work.path.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if not work.present:
        # Parts of another plan are going to be removed.
        free += sum(item.stat().st_size for item in work.folder.glob("part-*.h5"))
    if free < needed:
        raise InputError(
            f"the disk of {place} has {size_text(free)} free; "
            f"{work.path.name} needs {size_text(needed)} while it is made"
        )


@contextmanager
def _begun(work: Plan) -> Iterator[None]:
    """The folder of parts, with the settings; after an error before any part is whole, all of it is gone again."""
    made = [folder for folder in (work.folder, *work.folder.parents) if not folder.exists()]
    try:
        with atomic_path(work.folder / SETTINGS) as temporary:
            temporary.write_text(work.layout.config)
        yield
    except Exception:
        if not any(work.folder.glob("part-*.h5")):
            # Other processes may be at work here: only what is empty goes.
            with suppress(OSError):
                for name in (SETTINGS, REPLACES):
                    (work.folder / name).unlink(missing_ok=True)
                for folder in dict.fromkeys((work.folder, *made)):
                    folder.rmdir()
        raise


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
    _refuse_infinite(recipe, work.layout, part, values)
    write_file(work.part_path(number), work.layout, sample_seeds(recipe.seed, part), values)


def _refuse_infinite(recipe: Recipe, layout: Layout, indices: Sequence[int], values: Mapping[str, np.ndarray]) -> None:
    dtypes = {one.name: one.dtype for one in layout.variables}
    for name, array in values.items():
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(array, dtypes[name])).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            sample = indices[int(np.argmin(finite))]
            raise InputError(
                f"sample {sample}: {name} is not finite in {dtypes[name]}: {recipe.causes()} is too extreme for it"
            )
