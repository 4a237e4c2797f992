"""From a dataset file to the tensors that a model sees.

A *window* is one learning problem: the frames that are given and those that follow. For an operator between two fields
(Burgers: u(0) ↦ u(1)) there is one of each.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datagen.geometry import Geometry, Resolution
from datagen.store import Dataset
from kitipde.config import DataConfig
from kitipde.errors import DamagedError, InputError

__all__ = ["Batch", "Split", "Windows", "load_inputs", "load_windows", "refuse_not_finite", "split_samples"]


@dataclass(frozen=True)
class Split:
    """Which samples of a file are for what. No sample is in two of them."""

    train: Sequence[int]
    validation: Sequence[int]
    test: Sequence[int]


class Batch(NamedTuple):
    """What a step is made of; of stacked seeds the first axes are [seed, sample].

    Attributes:
        inputs: given frames, oldest first.
        targets: frames that follow.
        context: static fields, then parameters as constant fields; maybe none.
        known: the frames that follow of inputs that are not predicted; maybe none.
    """

    inputs: Float[Tensor, "sample input_frames inputs *space"]
    targets: Float[Tensor, "sample output_frames targets *space"]
    context: Float[Tensor, "sample context *space"]
    known: Float[Tensor, "sample output_frames known *space"]


@dataclass(frozen=True)
class Windows:
    """The windows of some samples on one geometry, in physical units.

    Attributes:
        inputs: given frames, oldest first.
        targets: frames to predict.
        context: static fields, then parameters as constant fields.
        known: later frames of inputs that are not predicted.
        samples: index in the file of each window.
        geometry: where the fields live.
        times: of the target frames of the first window; none for a dataset without time.
        units: of the targets.
    """

    inputs: Float[Tensor, "windows input_frames inputs *space"]
    targets: Float[Tensor, "windows output_frames targets *space"]
    context: Float[Tensor, "windows context *space"]
    known: Float[Tensor, "windows output_frames known *space"]
    samples: tuple[int, ...]
    geometry: Geometry
    times: np.ndarray | None
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)


def split_samples(total: int, config: DataConfig) -> Split:
    """Share out a file: the last samples test; of the others the first train and the next validate, or as drawn.

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
    last = range(total - test, total)
    if config.split_seed is None:
        return Split(range(train), range(train, train + validation), last)
    drawn = np.random.default_rng(config.split_seed).permutation(total - test)[: train + validation].tolist()
    return Split(tuple(sorted(drawn[:train])), tuple(sorted(drawn[train:])), last)


def load_windows(
    dataset: Dataset,
    config: DataConfig,
    samples: Sequence[int],
    resolution: Resolution | None = None,
    *,
    training: bool = False,
) -> Windows:
    """Read the windows of some samples: the first of each, or in training as many as `data.windows` says.

    Args:
        dataset: an open file.
        config: which variables and frames, all of them named (`kitipde.problem.choice`).
        samples: which samples.
        resolution: points along each axis, or all; none for the stored grid.
        training: whether they are the training split.

    Raises:
        InputError: for frames that the file does not hold, values that are not finite, or a grid it cannot be brought
            to.
    """
    assert config.targets is not None
    wanted, starts = config.wanted_frames, _starts(dataset, config, training and config.windows == "all")
    reader = _Reader(dataset, config, samples, resolution, starts)
    inputs, context, known = reader.given(wanted if wanted > 1 else 0)
    later = config.given_frames * config.stride
    targets = _together([reader.read(name, later, wanted) for name in config.targets])
    times = None
    if dataset.times is not None and "time" in dataset.fields[config.targets[0]]:
        times = np.asarray(dataset.times)[starts[0] + later :: config.stride][:wanted]
    return Windows(
        inputs,
        targets,
        context,
        known,
        samples=tuple(int(sample) for sample in samples for _ in starts),
        geometry=reader.geometry,
        times=times,
        units=tuple(str(dataset.description(name).get("units", "")) for name in config.targets),
    )


def load_inputs(
    dataset: Dataset, config: DataConfig, samples: Sequence[int], resolution: Resolution | None, frames: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, context and known later frames of some samples, for a prediction of so many frames: no targets.

    Raises:
        InputError: as `load_windows`.
    """
    return _Reader(dataset, config, samples, resolution, [config.start]).given(frames if frames > 1 else 0)


@dataclass(frozen=True)
class _Reader:
    """Reads fields of some samples, window after window."""

    dataset: Dataset
    config: DataConfig
    samples: Sequence[int]
    resolution: Resolution | None
    starts: Sequence[int]

    @property
    def geometry(self) -> Geometry:
        """Where the fields are read."""
        geometry = self.dataset.geometry
        return geometry if self.resolution is None else geometry.coarsened(self.resolution, self.config.downsample)

    def given(self, later_frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, context, and so many later frames of the inputs that are not predicted."""
        config = self.config
        assert config.inputs is not None
        inputs = _together([self.read(name, 0, config.given_frames) for name in config.inputs])
        known = [name for name in config.inputs if name not in (config.targets or ())]
        moving = [name for name in known if "time" in self.dataset.fields[name]]
        empty = inputs.new_zeros(len(inputs), later_frames, 0, *inputs.shape[3:])
        later = config.given_frames * config.stride
        forcing = [self.read(name, later, later_frames) for name in moving] if later_frames else []
        return inputs, self.context(inputs), _together(forcing) if forcing else empty

    def read(self, name: str, first: int, frames: int) -> Float[Tensor, "window frame *space"]:
        """So many frames of one field, from the first of each window on."""
        dataset, starts, stride = self.dataset, self.starts, self.config.stride
        if "time" not in dataset.fields[name]:
            return self._values(name, None)[:, None].repeat_interleave(len(starts), dim=0)
        span = slice(starts[0] + first, starts[-1] + first + (frames - 1) * stride + 1)
        moving = self._values(name, span)
        if len(starts) == 1:
            return moving[:, ::stride]
        parts = [moving[:, start - starts[0] :][:, ::stride][:, :frames] for start in starts]
        return torch.stack(parts, dim=1).flatten(0, 1)

    def context(self, like: Float[Tensor, "window frame field *space"]) -> Float[Tensor, "window channel *space"]:
        """Static fields, and parameters as constant fields."""
        dataset, samples, channels = self.dataset, self.samples, []
        for name in self.config.static:
            field = self._values(name, None)
            channels.append(field if dataset.fields[name][0] == "sample" else field.expand(len(samples), *field.shape))
        for name in self.config.parameters:
            numbers = torch.from_numpy(np.asarray(dataset.parameter(name)[list(samples)], np.float64))
            if not numbers.isfinite().all():
                raise DamagedError(f"{name} of {dataset.path} holds values that are not finite")
            channels.append(numbers.reshape(-1, *(1,) * (like.ndim - 3)).expand(-1, *like.shape[3:]))
        if not channels:
            return like.new_zeros(len(like), 0, *like.shape[3:])
        # Parameters in float64 keep their digits; fields are widened to it beside them.
        dtype = torch.float64 if any(each.dtype == torch.float64 for each in channels) else torch.float32
        together = torch.stack([each.to(dtype) for each in channels], dim=1)
        return together.repeat_interleave(len(self.starts), dim=0)

    def _values(self, name: str, frames: slice | None) -> Tensor:
        dataset = self.dataset
        array = dataset.read(name, self.samples, frames, self.resolution, self.config.downsample)
        own = dataset.fields[name][0] == "sample"
        refuse_not_finite(dataset, name, self.samples if own else (), array)
        return torch.from_numpy(np.ascontiguousarray(array))


def _together(fields: Sequence[Tensor]) -> Float[Tensor, "window frame field *space"]:
    """Without a copy of a field alone."""
    return fields[0].unsqueeze(2) if len(fields) == 1 else torch.stack(list(fields), dim=2)


def refuse_not_finite(dataset: Dataset, name: str, samples: Sequence[int], values: np.ndarray) -> None:
    """What is not finite would make every loss so.

    Raises:
        DamagedError: naming the first sample with such a value.
    """
    if np.isfinite(values).all():
        return
    first = next((sample for sample, each in zip(samples, values, strict=False) if not np.isfinite(each).all()), None)
    which = name if first is None else f"{name} of sample {first}"
    raise DamagedError(
        f"{which} of {dataset.path} holds values that are not finite "
        f"(all that is wrong with the file: kitipde info {shlex.quote(str(dataset.path))} --verify)"
    )


def _starts(dataset: Dataset, config: DataConfig, every: bool) -> list[int]:
    """The first frames of a sample's windows."""
    assert config.inputs is not None
    assert config.targets is not None
    names = (*config.inputs, *config.targets)
    moving = [name for name in names if "time" in dataset.fields[name]]
    if not moving:
        if config.given_frames > 1 or config.wanted_frames > 1:
            raise InputError(
                f"data.input_frames and data.output_frames must be 1: {', '.join(map(repr, dict.fromkeys(names)))} of "
                f"{dataset.path} have no time axis"
            )
        return [0]
    still = next((name for name in names if name not in moving), None)
    if still is not None:
        role = "data.inputs" if still in config.inputs else "data.targets"
        raise InputError(
            f"{role}: '{still}' of {dataset.path} has no time axis, and '{moving[0]}' has one: "
            f"{'give it as data.static' if still in config.inputs else 'all targets must have one, or none'}"
        )
    stored = len(dataset.times if dataset.times is not None else ())
    needed = (config.given_frames + config.wanted_frames - 1) * config.stride + 1
    if config.start + needed > stored:
        raise InputError(
            f"{dataset.path} has {stored} frames, but data.input_frames + data.output_frames need "
            f"{config.given_frames} + {config.wanted_frames} = {config.given_frames + config.wanted_frames}"
            + (f", {config.stride} apart, from frame {config.start}" if (config.start, config.stride) != (0, 1) else "")
        )
    last = stored - needed if every else config.start
    return list(range(config.start, last + 1))
