"""Taking over data that others made, piece by piece, whatever their size."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from datagen.errors import InputError
from datagen.store.layout import Layout
from datagen.store.writer import merge_files, write_file

__all__ = ["ingest"]

_PIECE_BYTES = 64 * 1024 * 1024


def ingest(
    path: Path,
    layout: Layout,
    samples: int,
    read: Callable[[slice], Mapping[str, np.ndarray]],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set from values that are read a few samples at a time.

    Args:
        path: the file to make.
        layout: what it holds.
        samples: how many.
        read: gives the per-sample variables of a slice of samples.
        progress: called with (samples done, samples).

    Raises:
        InputError: a value is not finite, the folder cannot be written to, or the disk is full.
    """
    folder = path.with_name(path.name + ".parts")
    if folder.exists():
        raise InputError(f"{folder} is in the way: the parts of an unfinished data set; remove it")
    step = max(1, _PIECE_BYTES // layout.sample_bytes())
    pieces = []
    try:
        for first in range(0, samples, step):
            last = min(first + step, samples)
            values = read(slice(first, last))
            for name, array in values.items():
                if not np.isfinite(array).all():
                    raise InputError(f"{name} of the samples {first} to {last - 1} holds values that are not finite")
            pieces.append(folder / f"part-{len(pieces):05d}.h5")
            # No seed of ours made them.
            write_file(pieces[-1], layout, np.full(last - first, -1, dtype=np.int64), values, status=1)
            if progress:
                progress(last, samples)
        merge_files(pieces, path, layout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
