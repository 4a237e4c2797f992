"""No denormal numbers on a CPU: those below the smallest normal one, 1.2e-38 in float32, are zero.

Processors compute with them in microcode, a matrix product with some of them takes ten times as long, and training
makes them: Adam with weight decay in its gradient shrinks the weights of modes and channels that have none of their
own until nothing is left (`benchmarks/denormals.py`). GPUs have them at no cost.
"""

import torch
from torch import nn

__all__ = ["flush_denormals", "without_denormals"]


def flush_denormals() -> None:
    """From now on results that would be denormal are zero, and denormal factors count as zero, in this process.

    Threads have it from the one that started them: to be called before the first large operation.
    """
    torch.set_flush_denormal(True)


@torch.no_grad()
def without_denormals(model: nn.Module) -> nn.Module:
    """The model with its denormal weights set to zero, in place: they change no prediction, and may be from a GPU."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor[tensor.abs() < torch.finfo(tensor.dtype).tiny] = 0
    return model
