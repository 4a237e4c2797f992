"""Repeated application of an operator to its own predictions."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["rollout"]


def rollout(
    model: nn.Module, inputs: Float[Tensor, "batch frames *grid"], steps: int
) -> Float[Tensor, "batch steps *grid"]:
    """Predict `steps` frames: each prediction becomes the newest frame of the next input.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid].
        inputs: the known frames, oldest first.
        steps: frames to predict; one step is the plain operator.
    """
    window, predictions = inputs, []
    for _ in range(steps):
        following = model(window)
        predictions.append(following)
        window = torch.cat([window[:, 1:], following], dim=1)
    return torch.cat(predictions, dim=1)
