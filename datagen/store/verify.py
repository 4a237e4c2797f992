"""Is a file what it claims to be? Every checksum computed anew, every number looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.errors import InputError
from datagen.store.reader import Dataset, open_dataset, reading
from datagen.store.writer import TEXTS, identity_of, sample_checksum

__all__ = ["Verification", "intact", "verify"]


@dataclass(frozen=True)
class Verification:
    """What was checked, when nothing was wrong."""

    samples: int
    values: int
    identity: str


def verify(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Read every chunk of a dataset: Fletcher's sums, SHA-256 of each sample, finiteness, identity.

    Args:
        path: the file.
        progress: called with (samples checked, samples).

    Raises:
        InputError: the first thing found wrong.
    """
    with open_dataset(path) as data, reading(data.path):
        arrays = data.identifying_arrays()
        for name, array in arrays.items():
            _finite(data, name, array)
        if identity_of(str(data.attributes["config"]), arrays) != data.identity:
            raise InputError(f"{path} is damaged: its identity does not match its settings and checksums")
        if TEXTS in data.attributes and data.attributes[TEXTS] != data.checksum_of_texts():
            raise InputError(f"{path} is damaged: its texts (equation, units, names) do not match their checksum")
        sums = arrays["checksum"]
        if len(sums) != data.samples:
            raise InputError(f"{path} is damaged: {len(sums)} checksums for {data.samples} samples")
        values = 0
        for index in range(data.samples):
            values += _check_sample(data, index, int(sums[index]))
            if progress:
                progress(index + 1, data.samples)
        return Verification(data.samples, values, data.identity)


def intact(path: str | Path, samples: int) -> bool:
    """Whether a file is a dataset of so many samples in which nothing is wrong."""
    try:
        return verify(path).samples == samples
    except InputError:
        return False


def _check_sample(data: Dataset, index: int, expected: int) -> int:
    values = {name: np.asarray(data.variable(name)[index]) for name in data.sample_variables}
    for name, array in values.items():
        _finite(data, f"{name} of sample {index}", array)
    if sample_checksum(values) != expected:
        raise InputError(f"{data.path} is damaged: sample {index} does not match its checksum")
    return sum(array.size for array in values.values())


def _finite(data: Dataset, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{data.path}: {name} holds {int((~np.isfinite(values)).sum())} values that are not finite")
