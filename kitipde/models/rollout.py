"""From the given frames to as many as are asked for."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.models.spectral import weights_kept

__all__ = ["rollout"]


def rollout(
    model: nn.Module, inputs: Float[Tensor, "batch frames *grid"], steps: int
) -> Float[Tensor, "batch steps *grid"]:
    """Predict `steps` frames.

    A model that marches in its own latent space says so (`marches`) and gives all frames at once; any other is applied
    again and again, each prediction becoming the newest frame of the next input.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid], or takes the number of steps as a second argument.
        inputs: the known frames, oldest first.
        steps: frames to predict; one step is the plain operator.
    """
    if getattr(model, "marches", False):
        return model(inputs, steps)
    window, predictions = inputs, []
    with weights_kept(model):
        for _ in range(steps):
            following = model(window)
            predictions.append(following)
            window = torch.cat([window[:, 1:], following], dim=1)
    return torch.cat(predictions, dim=1)
