"""Which share of the work this process has, and what it has to do it with."""

import os
from dataclasses import dataclass

from datagen.errors import InputError
from datagen.solvers.etdrk4 import choose_device

__all__ = ["Machine", "parse_shard"]


@dataclass(frozen=True)
class Machine:
    """One process among those that make a dataset.

    Attributes:
        device: "cpu" or "cuda": the kind, on which the last bits of the samples depend.
        place: the very device, such as "cuda:3".
        shard: which share is this process's.
        shards: how many shares there are.
        launched: whether the shares are the ranks of one launch, so that the first can wait for the others.
        workers: threads that solve.
    """

    device: str
    place: str
    shard: int = 0
    shards: int = 1
    launched: bool = False
    workers: int = 1

    @classmethod
    def here(cls, device: str = "auto", shard: str = "", workers: int = 0) -> "Machine":
        """What this process finds around it.

        Under `torchrun`, or `srun`, the ranks share the work between them; `shard` does so by hand.

        Args:
            device: "auto", "cpu" or "cuda".
            shard: "i/n" with 0 ≤ i < n, or empty.
            workers: threads, or 0 for one for each processor of this rank.

        Raises:
            InputError: an unknown or absent device, a shard that is not one, a negative number.
        """
        if workers < 0:
            raise InputError(f"workers {workers} is negative (allowed: 0 for one a processor, or 1 and more)")
        kind = choose_device(device)
        rank, ranks, local_rank, local_ranks = _launcher()
        index, count, launched = rank, ranks, ranks > 1
        if shard:
            index, count = parse_shard(shard)
            launched = False
        if kind == "cuda":
            import torch

            place = f"cuda:{local_rank % torch.cuda.device_count()}"
            workers = 1
        else:
            place = "cpu"
            workers = workers or max(1, len(os.sched_getaffinity(0)) // local_ranks)
        return cls(kind, place, index, count, launched, workers)

    @property
    def joins(self) -> bool:
        """Whether this process makes the finished file of all parts."""
        return self.shards == 1 or (self.launched and self.shard == 0)


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of "i/n".

    Raises:
        InputError: unless 0 ≤ i < n.
    """
    index, _, count = text.partition("/")
    if index.isdecimal() and count.isdecimal() and int(index) < int(count):
        return int(index), int(count)
    raise InputError(f"shard '{text}' is not one (allowed: i/n with 0 <= i < n, such as 0/3, 1/3, 2/3)")


def _launcher() -> tuple[int, int, int, int]:
    """Rank, ranks, and both within this machine, as the launcher tells them."""
    for names in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
        # Set for the tasks of `srun` only: a batch script outside of it is one process, whatever it asked for.
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
    ):
        rank, ranks, local_rank, local_ranks = (os.environ.get(name, "") for name in names)
        if rank.isdecimal() and ranks.isdecimal():
            # SLURM writes "4(x2),3" for two machines of four tasks and one of three.
            digits = local_ranks.split("(")[0].split(",")[0]
            return (
                int(rank),
                int(ranks),
                int(local_rank) if local_rank.isdecimal() else 0,
                int(digits) if digits.isdecimal() and int(digits) else 1,
            )
    return 0, 1, 0, 1
