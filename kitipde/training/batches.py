"""Which samples make up a step, and how they get to the device."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from kitipde.problem.windows import Batch

__all__ = ["Fields", "batch_order", "draw", "drawn_frames"]

# Share of a GPU's free memory that data may take; the rest is for the network and its feature maps.
RESIDENT_SHARE = 0.25


class Fields:
    """The windows of a split: on the device when they fit there, else fetched one step ahead.

    Args:
        windows: of all samples.
        device: where the network is.
        resident: whether they are held on the device; by default if they fit.
    """

    def __init__(self, windows: Batch, device: torch.device, resident: bool | None = None) -> None:
        self.device = device
        self.samples, self.frames = len(windows.targets), windows.targets.shape[1]
        self.resident = _fits(windows, device) if resident is None else resident
        self.windows = Batch(*(each.to(device) for each in windows)) if self.resident else windows

    @property
    def home(self) -> torch.device:
        """Where the fields are held."""
        return self.windows.inputs.device

    def batches(self, indices: Sequence[Int[Tensor, "K batch"]]) -> Iterator[Batch]:
        """The windows of some steps, [K, batch, …].

        Args:
            indices: samples of each step, where the fields are (`home`).
        """
        if self.resident:
            for index in indices:
                yield Batch(*(each[index] for each in self.windows))
            return
        stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        ahead = self._fetch(indices[0], stream) if indices else None
        for step in range(len(indices)):
            assert ahead is not None
            if stream is not None:
                torch.cuda.current_stream(self.device).wait_stream(stream)
                for tensor in ahead:
                    tensor.record_stream(torch.cuda.current_stream(self.device))
            current, ahead = ahead, self._fetch(indices[step + 1], stream) if step + 1 < len(indices) else None
            yield current

    def _fetch(self, index: Tensor, stream: "torch.cuda.Stream | None") -> Batch:
        chosen = [each[index] for each in self.windows]
        if stream is None:
            return Batch(*(each.to(self.device) for each in chosen))
        with torch.cuda.stream(stream):
            pinned = [each.pin_memory() for each in chosen]
            return Batch(*(each.to(self.device, non_blocking=True) for each in pinned))


def batch_order(seed: int, epoch: int, samples: int) -> Int[Tensor, "samples"]:
    """The order of the training samples in an epoch: a function of seed and epoch, the same for every residual kind.

    Comparisons between residuals are therefore paired, and nothing about it needs saving.
    """
    return torch.randperm(samples, generator=_generator(seed, epoch))


def draw(values: int, count: int, *seeds: int) -> Int[Tensor, "count"]:
    """Whole numbers below `values`, a function of the seeds."""
    # A word of its own: a seed more than the order of the samples has.
    return torch.randint(values, (count,), generator=_generator(*seeds, 1))


def drawn_frames(
    frames: int, samples: int, seeds: Sequence[int], epoch: int, indices: Sequence[Tensor], device: torch.device
) -> list[Int[Tensor, "K batch"]]:
    """One frame of each sample of some steps: a function of seed, epoch and sample.

    Args:
        frames: to draw from.
        samples: of the split.
        seeds: of the K replicas.
        epoch: from 0.
        indices: samples of each step.
        device: where the network is.
    """
    drawn = torch.stack([draw(frames, samples, seed, epoch) for seed in seeds])
    return [drawn.to(index.device).gather(1, index).to(device) for index in indices]


def _generator(*seeds: int) -> torch.Generator:
    (entropy,) = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy >> np.uint64(1)))


def _fits(fields: Sequence[Tensor], device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    needed = sum(field.numel() * field.element_size() for field in fields)
    return needed <= RESIDENT_SHARE * free
