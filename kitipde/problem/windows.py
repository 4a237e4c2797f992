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

from datagen.geometry import Geometry, Grid, Resolution
from datagen.store import Dataset
from kitipde.config import DataConfig
from kitipde.errors import DamagedError, InputError

__all__ = ["Batch", "Split", "Windows", "load_windows", "refuse_not_finite", "split_samples"]


@dataclass(frozen=True)
class Split:
    """Which samples of a file are for what. No sample is in two of them."""

    train: Sequence[int]
    validation: Sequence[int]
    test: Sequence[int]


class Batch(NamedTuple):
    """What a step is made of; the first axes may be [seed, sample] instead of [sample].

    Attributes:
        inputs: given frames, oldest first.
        targets: frames that follow.
        context: static fields, then parameters as constant fields; maybe none.
        known: the frames that follow of inputs that are not predicted; maybe none.
    """

    inputs: Float[Tensor, "*sample input_frames inputs *space"]
    targets: Float[Tensor, "*sample output_frames targets *space"]
    context: Float[Tensor, "*sample context *space"]
    known: Float[Tensor, "*sample output_frames known *space"]


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

    @property
    def batch(self) -> Batch:
        """All of them."""
        return Batch(self.inputs, self.targets, self.context, self.known)


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
    dataset: Dataset, config: DataConfig, samples: Sequence[int], resolution: Resolution | None = None
) -> Windows:
    """Read the windows of some samples.

    Args:
        dataset: an open file.
        config: which variables and frames, all of them named (`kitipde.problem.choice`).
        samples: which samples.
        resolution: points along each axis, or all; none for the stored grid.

    Raises:
        InputError: for frames that the file does not hold, values that are not finite, or a grid it cannot be brought
            to.
    """
    assert config.inputs is not None
    assert config.targets is not None
    given, wanted = config.given_frames, config.wanted_frames
    starts = _starts(dataset, config)
    geometry = dataset.geometry
    if resolution is not None and isinstance(geometry, Grid):
        geometry = geometry.coarsened(resolution, config.downsample)

    def read(name: str, first: int, frames: int) -> Tensor:
        """[window, frame, *space] of one field."""
        has_time, array = "time" in dataset.fields[name], None
        if not has_time:
            array = checked(name, dataset.read(name, samples, None, resolution, config.downsample))
            return torch.from_numpy(array)[:, None]
        span = slice(starts[0] + first, starts[-1] + first + (frames - 1) * config.stride + 1)
        array = checked(name, dataset.read(name, samples, span, resolution, config.downsample))
        moving = torch.from_numpy(array)
        if len(starts) == 1:
            return moving[:, :: config.stride]
        parts = [moving[:, start - starts[0] :][:, :: config.stride][:, :frames] for start in starts]
        return torch.stack(parts, dim=1).flatten(0, 1)

    def checked(name: str, array: np.ndarray) -> np.ndarray:
        refuse_not_finite(dataset, name, samples, array)
        return np.ascontiguousarray(array)

    def together(fields: Sequence[Tensor]) -> Tensor:
        """[window, frame, field, *space]; without a copy of a field alone."""
        return fields[0].unsqueeze(2) if len(fields) == 1 else torch.stack(list(fields), dim=2)

    later = given * config.stride
    inputs = together([read(name, 0, given) for name in config.inputs])
    targets = together([read(name, later, wanted) for name in config.targets])
    known = [name for name in config.inputs if name not in config.targets and "time" in dataset.fields[name]]
    # The last known frame is never needed: nothing is predicted from it. It is there so that frames count alike.
    forcing = together([read(name, later, wanted) for name in known]) if known and _repeats(config) else None
    times = None
    if dataset.times is not None and "time" in dataset.fields[config.targets[0]]:
        times = np.asarray(dataset.times)[starts[0] + later :: config.stride][:wanted]
    return Windows(
        inputs,
        targets,
        _context(dataset, config, samples, resolution, len(starts), inputs),
        inputs.new_zeros(len(inputs), wanted, 0, *inputs.shape[3:]) if forcing is None else forcing,
        samples=tuple(int(sample) for sample in samples for _ in starts),
        geometry=geometry,
        times=times,
        units=tuple(str(dataset.description(name).get("units", "")) for name in config.targets),
    )


def _context(
    dataset: Dataset,
    config: DataConfig,
    samples: Sequence[int],
    resolution: Resolution | None,
    repeats: int,
    like: Tensor,
) -> Tensor:
    """Static fields and parameters as channels, [window, channel, *space]."""
    channels = []
    for name in config.static:
        array = dataset.read(name, samples, None, resolution, config.downsample)
        shared = dataset.fields[name][0] != "sample"
        refuse_not_finite(dataset, name, () if shared else samples, array)
        field = torch.from_numpy(np.ascontiguousarray(array))
        channels.append(field.expand(len(samples), *field.shape) if shared else field)
    for name in config.parameters:
        values = torch.from_numpy(np.asarray(dataset.parameter(name)[list(samples)], np.float64))
        if not values.isfinite().all():
            raise DamagedError(f"{name} of {dataset.path} holds values that are not finite")
        channels.append(values.reshape(-1, *(1,) * (like.ndim - 3)).expand(-1, *like.shape[3:]))
    if not channels:
        return like.new_zeros(len(like), 0, *like.shape[3:])
    # Parameters in float64 keep their digits; fields are widened to it beside them.
    stacked = torch.stack([each.to(max((c.dtype for c in channels), key=lambda d: d.itemsize)) for each in channels], 1)
    return stacked.repeat_interleave(repeats, dim=0)


def _repeats(config: DataConfig) -> bool:
    return config.wanted_frames > 1


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


def _starts(dataset: Dataset, config: DataConfig) -> list[int]:
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
    last = stored - needed if config.windows == "all" else config.start
    return list(range(config.start, last + 1))
