"""The residual that joins a layer's skip x and its update v: one interface for every kind.

    residual = make_residual(config, layer, layers)
    residual.train(); y = residual(x, v)     # x* + dt·v' after collisions
    residual.eval();  y = residual(x, v)     # x + dt·v, the bits of the plain addition

Residuals have no parameters and leave nothing in a state dict, so checkpoints of plain and colliding models are
interchangeable. Random numbers come from torch's default generator, by one draw for each forward pass.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.collisions.collision import Rule, collided
from kitipde.collisions.diagnostics import tally, tally_buffer
from kitipde.collisions.particles import check_particles, to_features, to_particles
from kitipde.collisions.schedule import share
from kitipde.config import ResidualConfig

__all__ = ["check_particles", "make_residual"]


def make_residual(config: ResidualConfig, layer: int, layers: int) -> nn.Module:
    """The residual of one layer.

    Args:
        config: the residual's settings.
        layer: which layer, from 0.
        layers: how many layers the model has.

    Returns:
        A module with `forward(x, v)`, x and v feature maps [B, C, *S], the result like x.
    """
    if config.kind == "plain":
        return PlainResidual(config)
    return CollisionResidual(config, layer)


class PlainResidual(nn.Module):
    """x + dt·v."""

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.dt = config.dt

    def forward(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        return drifted(x, v, self.dt)


class CollisionResidual(nn.Module):
    """x* + dt·v' while training (equations (2)-(5) of KITINet), x + dt·v in evaluation."""

    collision_strength: Tensor
    collision_tally: Tensor

    def __init__(self, config: ResidualConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        by_rate = config.target_rate is not None
        self.full_strength = float(config.target_rate if config.target_rate is not None else config.coll_coef)
        self.rule = Rule(config.kind, by_rate, config.dt, config.update_position)
        start = torch.tensor(self.full_strength * share(config, 0.0), dtype=torch.float64)
        self.register_buffer("collision_strength", start, persistent=False)
        self.register_buffer("collision_tally", tally_buffer(), persistent=False)

    def forward(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        if not self.training:
            return drifted(x, v, self.config.dt)
        result = torch.promote_types(x.dtype, v.dtype)
        working = torch.promote_types(result, torch.float32)
        position, velocity = (
            to_particles(features.to(working), self.config.layout, self.config.collision_heads) for features in (x, v)
        )
        key = torch.randint(1 << 62, (), device=x.device)
        moved, statistics = collided(position, velocity, key, self.collision_strength, self.rule)
        tally(self.collision_tally, statistics)
        return to_features(moved, x, self.config.layout).to(result)


def drifted(x: Tensor, v: Tensor, dt: float) -> Tensor:
    """x + dt·v; for dt = 1 the bits of x + v."""
    return x + v if dt == 1 else x + dt * v
