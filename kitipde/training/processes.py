"""What processes that share a run have to agree on. Alone, each of these is what it is given."""

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kitipde.training.interrupt import Interrupt

__all__ = ["Processes"]

# Keys of random numbers count the calls of an epoch; those of the processes lie this far apart. Torch's generator on a
# CPU takes the low 32 bits of a key alone: there multiples of 2^32 over the golden ratio lie apart.
KEYS_APART = (1 << 40) + 0x9E3779B9

# Processes look after this many steps of a run whether one of them was asked to stop: looking waits for all of them.
STEPS_BETWEEN_LOOKS = 8


class Processes:
    """The processes of a run, each with its share of every batch.

    Args:
        fabric: launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.count, self.rank = fabric.world_size, fabric.global_rank
        self.first = fabric.is_global_zero

    def share(self, samples: Tensor) -> Tensor:
        """This process's part of the last axis."""
        return samples[..., self.rank :: self.count]

    def total(self, mine: Tensor) -> Tensor:
        """The sum over all processes, in all of them."""
        if self.count == 1:
            return mine
        summed = self.fabric.all_reduce(mine.clone(), reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed

    def any(self, mine: bool) -> bool:
        """Whether it is so in any of them."""
        return mine if self.count == 1 else bool(self.total(torch.tensor(float(mine), device=self.fabric.device)))

    def asked_to_stop(self, interrupt: Interrupt, step: int) -> bool:
        """Whether one of them was asked to stop, as far as that is looked at after a step of the run."""
        if self.count > 1 and step % STEPS_BETWEEN_LOOKS:
            return False
        return self.any(interrupt.requested)

    def gather(self, sums: Iterable[Tensor]) -> None:
        """Add up in the first process what each has counted; the others begin again from zero."""
        if self.count == 1:
            return
        for each in sums:
            total = self.total(each)
            each.copy_(total if self.first else torch.zeros_like(total))

    def set_apart(self, objective: nn.Module) -> None:
        """Each process has random numbers of its own: the keys in an objective are moved, in place."""
        for name, buffer in objective.named_buffers():
            if name.endswith("_key"):
                buffer.add_(KEYS_APART * self.rank)
