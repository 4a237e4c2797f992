"""From a dataset file to the tensors that a model sees.

A *window* is one learning problem: the frames that are given and those that follow. For an operator between two fields
(Burgers: u(0) ↦ u(1)) there is one of each.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datagen.store import Dataset
from kitipde.config import DataConfig
from kitipde.errors import DamagedError, InputError, unknown

__all__ = ["Split", "Windows", "grid_coordinates", "load_windows", "refuse_not_finite", "split_samples"]


@dataclass(frozen=True)
class Split:
    """Which samples of a file are for what. No sample is in two of them."""

    train: range
    validation: range
    test: range


@dataclass(frozen=True)
class Windows:
    """Inputs and targets of some samples on one grid, in physical units.

    Attributes:
        inputs: given frames, oldest first.
        targets: frames to predict.
        samples: index in the file of each.
        coordinates: of the grid, one array per axis.
        times: of the target frames; none for a dataset without time.
        field: name of the target variable.
        units: of the target variable.
    """

    inputs: Float[Tensor, "samples input_frames *grid"]
    targets: Float[Tensor, "samples output_frames *grid"]
    samples: tuple[int, ...]
    coordinates: tuple[np.ndarray, ...]
    times: np.ndarray | None
    field: str
    units: str

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def grid(self) -> tuple[int, ...]:
        """Points per axis."""
        return tuple(self.inputs.shape[2:])

    @property
    def dimension(self) -> int:
        """Spatial axes."""
        return len(self.grid)


def split_samples(total: int, config: DataConfig) -> Split:
    """Share out a file: the first samples train, the next validate, the last test.

    Raises:
        InputError: if the file has fewer samples than asked for, or too few to share.
    """
    tenth = max(1, total // 10)
    validation = tenth if config.validation is None else config.validation
    test = tenth if config.test is None else config.test
    train = total - validation - test if config.train is None else config.train
    if train < 1 or train + validation + test > total:
        raise InputError(
            f"the dataset has {total} samples, but data.train + data.validation + data.test need "
            f"{max(train, 1)} + {validation} + {test} = {max(train, 1) + validation + test}"
        )
    return Split(range(train), range(train, train + validation), range(total - test, total))


def load_windows(
    dataset: Dataset, config: DataConfig, samples: Sequence[int], resolution: int | None = None
) -> Windows:
    """Read the windows of some samples.

    Args:
        dataset: an open file.
        config: which variables and frames.
        samples: which samples.
        resolution: points per axis; none for the stored grid.

    Raises:
        InputError: for a variable or frames that the file does not hold, values that are not finite, or a grid it
            cannot be brought to.
    """
    dataset.refuse_unequal_axes()
    for role, name in (("data.input", config.input), ("data.target", config.target)):
        if name not in dataset.fields:
            raise unknown(f"variable in {role} of {dataset.path}", name, dataset.fields)
        if dataset.fields[name][0] != "sample":
            raise InputError(
                f"{role}={name}: all samples of {dataset.path} share this field, it tells none from another"
            )
    given, wanted = _frames(dataset, config)

    def read(name: str, frames: slice | None) -> Tensor:
        array = dataset.read(name, samples, frames, resolution, config.downsample)
        refuse_not_finite(dataset, name, samples, array)
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor if frames is not None else tensor.unsqueeze(1)

    inputs, targets = read(config.input, given), read(config.target, wanted)
    return Windows(
        inputs,
        targets,
        samples=tuple(samples),
        coordinates=grid_coordinates(dataset, inputs.shape[2:]),
        times=None if wanted is None or dataset.times is None else np.asarray(dataset.times)[wanted],
        field=config.target,
        units=str(dataset.description(config.target).get("units", "")),
    )


def refuse_not_finite(dataset: Dataset, name: str, samples: Sequence[int], values: np.ndarray) -> None:
    """What is not finite would make every loss so.

    Raises:
        DamagedError: naming the first sample with such a value.
    """
    if np.isfinite(values).all():
        return
    first = next(sample for sample, each in zip(samples, values, strict=True) if not np.isfinite(each).all())
    raise DamagedError(
        f"{name} of sample {first} of {dataset.path} holds values that are not finite "
        f"(all that is wrong with the file: kitipde info {shlex.quote(str(dataset.path))} --verify)"
    )


def _frames(dataset: Dataset, config: DataConfig) -> tuple[slice | None, slice | None]:
    """Which frames of input and target; none for a variable without time."""
    has_time = ["time" in dataset.fields[name] for name in (config.input, config.target)]
    if not any(has_time):
        if config.input_frames > 1 or config.output_frames > 1:
            raise InputError(
                f"data.input_frames and data.output_frames must be 1: '{config.input}' and '{config.target}' of "
                f"{dataset.path} have no time axis"
            )
        return None, None
    if not all(has_time):
        raise InputError(
            f"data.input '{config.input}' and data.target '{config.target}' must both have a time axis or neither"
        )
    stored, needed = len(dataset.times if dataset.times is not None else ()), config.input_frames + config.output_frames
    if needed > stored:
        raise InputError(
            f"{dataset.path} has {stored} frames, but data.input_frames + data.output_frames need "
            f"{config.input_frames} + {config.output_frames} = {needed}"
        )
    return slice(0, config.input_frames), slice(config.input_frames, needed)


def grid_coordinates(dataset: Dataset, grid: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Coordinates of a periodic grid of another size: equally spaced from the stored origin, without the end point."""
    axes = [name for name in ("x", "y") if name in dataset.coordinates]
    return tuple(
        float(dataset.coordinates[axis][0]) + np.arange(points) * (dataset.length / points)
        for axis, points in zip(axes, grid, strict=True)
    )
