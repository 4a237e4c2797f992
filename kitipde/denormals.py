"""No denormal numbers on a CPU: those below the smallest normal one, 1.2e-38 in float32, are zero.

Processors compute with them in microcode, a matrix product with some of them takes ten times as long, and training
makes them: Adam with weight decay in its gradient shrinks the weights of modes and channels that have none of their
own until nothing is left (`benchmarks/denormals.py`). GPUs have them at no cost.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["denormals_flushed", "without_denormals"]


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Within this block, or function, results that would be denormal are zero, and denormal factors count as zero.

    Threads have it from the one that starts them, which torch does in the first large operation.
    """
    already = bool(torch.full((1,), torch.finfo(torch.float32).tiny) * 0.5 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


@torch.no_grad()
def without_denormals(model: nn.Module) -> nn.Module:
    """The model with its denormal weights set to zero, in place: they change no prediction, and may be from a GPU."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor[tensor.abs() < torch.finfo(tensor.dtype).tiny] = 0
    return model
