"""Taking over data that others made, piece by piece, whatever their size."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from datagen.errors import InputError
from datagen.store.layout import Layout, Variable
from datagen.store.parts import being_replaced, clean_up, own_folder, parts_folder, remove_leftovers
from datagen.store.reader import open_dataset
from datagen.store.verify import intact
from datagen.store.writer import atomic_path, merge_files, write_file

__all__ = ["PIECE_BYTES", "ingest", "ingested", "refuse_not_finite"]

PIECE_BYTES = 64 * 1024 * 1024
"""Most that is read at a time."""

_NAMED = 5
"""Most samples that a message names."""


def ingest(
    path: Path,
    layout: Layout,
    samples: int,
    read: Callable[[slice], Mapping[str, np.ndarray]],
    progress: Callable[[int, int], None] | None = None,
    piece_bytes: int = PIECE_BYTES,
    resumable: bool = False,
) -> None:
    """Write a dataset from values that are read a few samples at a time.

    Args:
        path: the file to make.
        layout: what it holds.
        samples: how many.
        read: gives the per-sample variables of a slice of samples.
        progress: called with (samples done, samples).
        piece_bytes: most that is read at a time, if a sample is not larger.
        resumable: whether pieces stay when the work is interrupted; the same call then continues after them.

    Raises:
        InputError: a value is not finite, the folder cannot be written to, or the disk is full; or pieces of other
            settings are in the way.
    """
    for variable in layout.variables:
        if variable.name in layout.shared:
            refuse_not_finite(variable.name, _rounded(layout.shared[variable.name], variable))
    folder = _begun(path, layout) if resumable else _empty_folder(path)
    step = max(1, piece_bytes // layout.sample_bytes())
    stored = {variable.name: variable for variable in layout.variables}
    pieces = []
    try:
        for first in range(0, samples, step):
            last = min(first + step, samples)
            pieces.append(folder / f"part-{len(pieces):05d}.h5")
            if not (resumable and intact(pieces[-1], last - first)):
                values = {name: _rounded(array, stored[name]) for name, array in read(slice(first, last)).items()}
                for name, array in values.items():
                    refuse_not_finite(name, array, first)
                # No seed of ours made them.
                write_file(pieces[-1], layout, np.full(last - first, -1, dtype=np.int64), values, status=1)
            if progress:
                progress(last, samples)
        merge_files(pieces, path, layout)
        if resumable:
            clean_up(path)
    finally:
        if not (resumable and any(folder.glob("part-*.h5"))):
            shutil.rmtree(folder, ignore_errors=True)


def refuse_not_finite(name: str, values: np.ndarray, first: int | None = None) -> None:
    """Refuse infinities and NaN, with the samples that hold them.

    Args:
        name: of the variable.
        values: its values, sample after sample, or those that all samples share.
        first: number of the first of these samples; None if all samples share the values.

    Raises:
        InputError: there are some.
    """
    finite = np.isfinite(values)
    if finite.all():
        return
    if first is None:
        raise InputError(f"{name} holds values that are not finite")
    found = (first + np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))).tolist()
    numbers = ", ".join(map(str, found[:_NAMED])) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    raise InputError(f"{name} of sample{'s' if len(found) > 1 else ''} {numbers} holds values that are not finite")


def _rounded(values: np.ndarray, variable: Variable) -> np.ndarray:
    # What is too large becomes infinite, which is then refused by its sample.
    with np.errstate(over="ignore"):
        return np.asarray(values, variable.dtype)


def ingested(path: Path, layout: Layout) -> bool:
    """Whether the dataset is there already; what an interruption after its last piece left beside it is removed.

    Raises:
        InputError: there is a file of that name with something else in it.
    """
    if not path.exists():
        return False
    with open_dataset(path) as data:
        if data.config != json.loads(layout.config):
            if being_replaced(path, layout.config):
                return False
            raise InputError(f"{path} exists with other settings or from other files; --overwrite replaces it")
    clean_up(path)
    return True


def _begun(path: Path, layout: Layout) -> Path:
    """The folder of pieces that an interruption leaves for the next attempt."""
    folder = parts_folder(path)
    settings = folder / "settings.json"
    if any(folder.glob("part-*.h5")) and not (settings.exists() and settings.read_text() == layout.config):
        raise InputError(f"{folder} holds an unfinished dataset of other settings: --overwrite begins anew")
    with atomic_path(settings) as temporary:
        temporary.write_text(layout.config)
    return folder


def _empty_folder(path: Path) -> Path:
    """A folder of this process's own, so that pieces of others, killed or at work, are never in the way."""
    remove_leftovers(path)
    return own_folder(path)
