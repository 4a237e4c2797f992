"""Steps that are tried and change nothing: whether they fit into memory, which matrix products they make."""

import torch
from torch import Tensor

from kitipde.config import TrainingConfig
from kitipde.training.batches import Fields
from kitipde.training.ensemble import Ensemble

__all__ = ["differentiate", "trial_loss"]


def trial_loss(ensemble: Ensemble, fields: Fields, config: TrainingConfig, samples: int) -> Tensor:
    """The loss of a step on the first samples, with the longest way back there is."""
    ensemble.train()
    indices = torch.arange(samples, device=fields.home) % fields.samples
    indices = indices.expand(ensemble.count, -1)
    (batch,) = fields.batches([indices])
    last = fields.frames - 1
    starts = torch.zeros_like(indices) if config.unroll == "one-step" else last if config.unroll == "pushforward" else 0
    return ensemble(batch, starts).sum()


def differentiate(ensemble: Ensemble, fields: Fields, config: TrainingConfig, samples: int) -> None:
    """Compute the gradient of that loss and leave no trace of it: counters and random keys are put back."""
    held = [buffer.clone() for buffer in ensemble.buffers()]
    trained = [parameter for parameter in ensemble.parameters() if parameter.requires_grad]
    # Not into `.grad`: processes that share a batch would exchange what arrives there.
    torch.autograd.grad(trial_loss(ensemble, fields, config, samples), trained, allow_unused=True)
    for buffer, before in zip(ensemble.buffers(), held, strict=True):
        buffer.copy_(before)
