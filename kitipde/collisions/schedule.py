"""How collisions come and go over a run.

With t in [0, 1] the share of the run that is done, w the warm-up's share and η/η_max the learning rate over its highest
value, the strength (coll_coef, target_rate or dropout) is multiplied by

    t / w                      while t < w
    1                          constant
    1 − s                      linear,   s = (t − w) / (1 − w)
    (1 + cos πs) / 2           cosine
    (1 − s) η / η_max          annealed

At a small learning rate a network has no time left to get over what was noise: it has to fall with the rate, and to
zero also where the rate does not.
"""

import math
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from kitipde.config import ResidualConfig

__all__ = ["Scheduled", "advance", "share"]


@runtime_checkable
class Scheduled(Protocol):
    """A module whose strength follows the schedule of its settings."""

    config: ResidualConfig
    full_strength: float
    collision_strength: Tensor


def share(config: ResidualConfig, fraction: float, learning_rate: float) -> float:
    """What the strength is multiplied by after this fraction of the run, at this share of the highest learning rate."""
    if fraction < config.warmup:
        return max(fraction, 0.0) / config.warmup
    done = min((fraction - config.warmup) / (1 - config.warmup), 1.0)
    return {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "annealed": (1 - done) * learning_rate,
    }[config.schedule]


def advance(model: nn.Module, fraction: float, learning_rate: float = 1.0) -> None:
    """Moves the schedule of every residual in a model, in place, so that compiled and captured steps see it.

    Args:
        model: any module with residuals in it.
        fraction: share of the run that is done, epoch / epochs.
        learning_rate: η / η_max, for strengths that follow it.
    """
    for module in model.modules():
        if isinstance(module, Scheduled):
            module.collision_strength.fill_(module.full_strength * share(module.config, fraction, learning_rate))
