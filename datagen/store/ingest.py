"""Taking over data that others made, piece by piece, whatever their size."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from datagen.errors import InputError
from datagen.store.layout import Layout
from datagen.store.parts import being_replaced, clean_up, parts_folder
from datagen.store.reader import open_dataset
from datagen.store.verify import intact
from datagen.store.writer import atomic_path, merge_files, write_file

__all__ = ["ingest", "ingested"]

_PIECE_BYTES = 64 * 1024 * 1024


def ingest(
    path: Path,
    layout: Layout,
    samples: int,
    read: Callable[[slice], Mapping[str, np.ndarray]],
    progress: Callable[[int, int], None] | None = None,
    piece_bytes: int = _PIECE_BYTES,
    resumable: bool = False,
) -> None:
    """Write a data set from values that are read a few samples at a time.

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
    for name, array in layout.shared.items():
        with np.errstate(over="ignore"):
            if not np.isfinite(np.asarray(array, np.float32)).all():
                raise InputError(f"{name} holds values that are not finite in float32")
    folder = parts_folder(path)
    _begin(folder, layout, resumable)
    step = max(1, piece_bytes // layout.sample_bytes())
    pieces = []
    try:
        for first in range(0, samples, step):
            last = min(first + step, samples)
            pieces.append(folder / f"part-{len(pieces):05d}.h5")
            if not (resumable and intact(pieces[-1], last - first)):
                values = read(slice(first, last))
                for name, array in values.items():
                    if not np.isfinite(array).all():
                        raise InputError(
                            f"{name} of the samples {first} to {last - 1} holds values that are not finite"
                        )
                # No seed of ours made them.
                write_file(pieces[-1], layout, np.full(last - first, -1, dtype=np.int64), values, status=1)
            if progress:
                progress(last, samples)
        merge_files(pieces, path, layout)
        clean_up(path)
    finally:
        if not (resumable and any(folder.glob("part-*.h5"))):
            shutil.rmtree(folder, ignore_errors=True)


def ingested(path: Path, layout: Layout) -> bool:
    """Whether the data set is there already; what an interruption after its last piece left beside it is removed.

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


def _begin(folder: Path, layout: Layout, resumable: bool) -> None:
    settings = folder / "settings.json"
    if folder.exists() and not resumable:
        raise InputError(f"{folder} is in the way: the parts of an unfinished data set; remove it")
    if any(folder.glob("part-*.h5")) and not (settings.exists() and settings.read_text() == layout.config):
        raise InputError(f"{folder} holds an unfinished data set of other settings: --overwrite begins anew")
    if resumable:
        with atomic_path(settings) as temporary:
            temporary.write_text(layout.config)
