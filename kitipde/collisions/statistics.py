"""What collisions do, layer by layer, and a warning when a network has come to need them.

Each residual adds the statistics of every training step to a small buffer on its own device. Nothing is copied to the
host until `collect`, which is called once an epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

__all__ = ["CollisionStatistics", "Tallied", "collect", "gap_warning", "tally", "tally_buffer"]

STATISTICS = 4
# The eval-mode loss is usually the smaller one: collisions disturb, and weights improve during the epoch that the
# train-mode loss averages. This many times larger it is no accident, and less is enough where particles collide often.
GAP = 2.0
FREQUENT, FREQUENT_GAP = 1.0, 1.1


@dataclass(frozen=True)
class CollisionStatistics:
    """Means over the training steps since the last collection.

    Attributes:
        collisions_per_particle: mean of k_i.
        colliding_share: share of particles with k_i > 0.
        momentum_drift: |Σ(v' − v)| over √(n Σ|v|²), n particles: 0 up to rounding.
        energy_drift: Σ|v'|² / Σ|v|² − 1; 0 when no particle collides twice.
    """

    collisions_per_particle: float
    colliding_share: float
    momentum_drift: float
    energy_drift: float


@runtime_checkable
class Tallied(Protocol):
    """A module whose collisions are counted."""

    layer: int
    collision_tally: Tensor


def tally_buffer() -> Tensor:
    """An empty tally: sums of the statistics, and the number of steps."""
    return torch.zeros(STATISTICS + 1)


def tally(buffer: Tensor, statistics: Tensor) -> None:
    """Adds one step to a tally, in place and without synchronisation (also under vmap, with a batched buffer)."""
    step = torch.ones_like(statistics[..., :1])
    buffer.add_(torch.cat([statistics.detach(), step], dim=-1).to(buffer.dtype))


def collect(model: nn.Module, buffers: Mapping[str, Tensor] | None = None) -> dict[int, CollisionStatistics]:
    """The statistics of each colliding layer since the last call, which are then forgotten.

    The only place where statistics reach the host.

    Args:
        model: any module with residuals in it.
        buffers: the stacked buffers of replicas, as `torch.func.stack_module_state` gives them, when it is those that
            have been trained; the statistics are then means over the replicas.
    """
    collected: dict[int, CollisionStatistics] = {}
    for name, module in model.named_modules():
        if not isinstance(module, Tallied):
            continue
        held = module.collision_tally if buffers is None else buffers[f"{name}.collision_tally".lstrip(".")]
        *sums, steps = held.detach().reshape(-1, STATISTICS + 1).double().sum(0).tolist()
        held.zero_()
        if steps:
            collected[module.layer] = CollisionStatistics(*(value / steps for value in sums))
    return collected


def gap_warning(
    train_mode_loss: float, eval_mode_loss: float, statistics: Mapping[int, CollisionStatistics]
) -> str | None:
    """A warning in words when the network does well only while its particles collide.

    Collisions are switched off in evaluation. A network that has learnt to use them has a small loss while training
    and a large one afterwards, which the training loss alone hides.

    Args:
        train_mode_loss: loss with collisions.
        eval_mode_loss: loss of the same samples without them.
        statistics: from `collect`.
    """
    if not statistics:
        return None
    worst, rate = max(
        ((layer, each.collisions_per_particle) for layer, each in statistics.items()), key=lambda pair: pair[1]
    )
    if not eval_mode_loss > (FREQUENT_GAP if rate > FREQUENT else GAP) * train_mode_loss:
        return None
    return (
        f"the network has come to need its collisions: its loss is {train_mode_loss:.3g} with them but "
        f"{eval_mode_loss:.3g} without, and evaluation is always without (most in layer {worst}: "
        f"{rate:.2g} collisions per particle and step). Set how often particles collide with "
        "residual.target_rate=0.05, or lower residual.coll_coef, or let them die out with residual.schedule=annealed"
    )
