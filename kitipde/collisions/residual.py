"""The residual that joins a layer's skip x and its update v: one interface for every kind.

    residual = make_residual(config, layer, layers)
    residual.train(); y = residual(x, v)     # x* + dt·v' after collisions
    residual.eval();  y = residual(x, v)     # x + dt·v, the bits of the plain addition

Residuals have no parameters and leave nothing in a state dict, so checkpoints of plain and colliding models are
interchangeable. Each call draws one number from torch's default generators, the seed of its own numbers, unless
`key_noise` has said where seeds come from.
"""

import hashlib
import importlib.util
import math
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kitipde.collisions.backends.counter_rng import normal_like, uniform_like
from kitipde.collisions.backends.eager import Rule, collided, directions, wished_pairs
from kitipde.collisions.backends.gaussian import collided_by_matrices
from kitipde.collisions.backends.scales import unit_of
from kitipde.collisions.backends.two_particles import couples
from kitipde.collisions.backends.two_particles_in_place import CouplesInSum, SumInPlace
from kitipde.collisions.layouts import check_particles, numbers, to_features, to_particles
from kitipde.collisions.rules import LAWS
from kitipde.collisions.schedule import share
from kitipde.collisions.statistics import tally, tally_buffer
from kitipde.config import ResidualConfig
from kitipde.errors import InputError
from kitipde.memory import has_points_first

__all__ = ["check_particles", "key_noise", "make_residual", "make_residuals"]


def make_residuals(config: ResidualConfig, layers: int) -> nn.ModuleList:
    """The residuals of a model's layers; those of `kiti-acceleration` hand their velocities on.

    Args:
        config: the residual's settings.
        layers: how many layers the model has.
    """
    residuals = nn.ModuleList(make_residual(config, layer, layers) for layer in range(layers))
    carriers = [each for each in residuals if isinstance(each, AccelerationResidual)]
    for before, after in pairwise(carriers):
        after.follow(before)
    return residuals


def make_residual(config: ResidualConfig, layer: int, layers: int) -> nn.Module:
    """The residual of one layer.

    Args:
        config: the residual's settings.
        layer: which layer, from 0.
        layers: how many layers the model has.

    Returns:
        A module with `forward(x, v)`, x and v feature maps [B, C, *S], the result like x.

    Raises:
        InputError: config.layers names a layer that the model does not have.
    """
    if isinstance(config.layers, tuple) and any(each >= layers for each in config.layers):
        raise InputError(f"residual.layers={list(config.layers)}: the model has layers 0 to {layers - 1}")
    chosen = {"all": range(layers), "last": (layers - 1,)}.get(str(config.layers), config.layers)
    if config.kind == "plain" or layer not in chosen:
        return PlainResidual(config)
    kinds = {"kiti-acceleration": AccelerationResidual, "gaussian": NoiseResidual, "dropout": DropoutResidual}
    return kinds.get(config.kind, CollisionResidual)(config, layer)


def key_noise(model: nn.Module, *seeds: int) -> None:
    """From now on each collision draws its directions from these seeds, its place in the model and a count of calls.

    For replicas of a model that are trained together under `torch.func.vmap`: each model is given its own seeds before
    `torch.func.stack_module_state`, and collides as it would when trained alone with them. Repeating the call, each
    epoch with (seed, epoch) say, is what makes a resumed run go on with the same directions.

    Args:
        model: any module with residuals in it.
        seeds: numbers that the directions depend on.
    """
    for place, module in enumerate(each for each in model.modules() if isinstance(each, ScheduledResidual)):
        digest = hashlib.blake2b(repr((seeds, place)).encode(), digest_size=8).digest()
        # Two bits are left for counting.
        module.collision_key.fill_(int.from_bytes(digest, "big") >> 2)
        module.keyed = True


class PlainResidual(nn.Module):
    """x + dt·v."""

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.dt = config.dt

    def forward(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        return drifted(x, v, self.dt)

    def in_sum(self, like: Float[Tensor, "B C *S"]) -> SumInPlace | None:
        """What this call does to x + v in its place, on a CPU; none if it needs x and v. Both are like this tensor."""
        return SumInPlace() if self.dt == 1 else None


class ScheduledResidual(nn.Module, ABC):
    """What all kinds but `plain` have: a strength that follows a schedule, and the plain addition in evaluation."""

    collision_strength: Tensor
    collision_key: Tensor

    def __init__(self, config: ResidualConfig, layer: int, full_strength: float) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        self.full_strength = full_strength
        start = torch.tensor(full_strength * share(config, 0.0, 1.0), dtype=torch.float64)
        self.register_buffer("collision_strength", start, persistent=False)
        # Where the next random numbers come from, if `key_noise` has set it; else torch's default generator.
        self.register_buffer("collision_key", torch.zeros((), dtype=torch.long), persistent=False)
        self.keyed = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A model that becomes bfloat16 goes on counting its steps beyond 256.
        types = {name: buffer.dtype for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, kept in types.items():
            self._buffers[name] = self.get_buffer(name).to(kept)
        return self

    def new_key(self) -> Int[Tensor, ""]:
        """The seed of this call's directions."""
        if not self.keyed:
            return torch.randint(1 << 62, (), device=self.collision_key.device)
        key = self.collision_key.clone()
        self.collision_key.add_(1)
        return key

    def forward(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        return self.trained(x, v) if self.training else drifted(x, v, self.config.dt)

    def in_sum(self, like: Float[Tensor, "B C *S"]) -> SumInPlace | None:
        """What this call does to x + v in its place, on a CPU; none if it needs x and v. Both are like this tensor."""
        return SumInPlace() if self.config.dt == 1 and not self.training else None

    @abstractmethod
    def trained(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """What replaces the addition while training."""


class CollisionResidual(ScheduledResidual):
    """x* + dt·v' while training: equations (2)-(5) of KITINet."""

    collision_tally: Tensor
    law: str | None = None

    def __init__(self, config: ResidualConfig, layer: int) -> None:
        by_rate = config.target_rate is not None
        super().__init__(config, layer, float(config.target_rate if by_rate else config.coll_coef))  # pyright: ignore[reportArgumentType]
        self.rule = Rule(self.law or config.kind, by_rate, config.dt, config.update_position)
        self.register_buffer("collision_tally", tally_buffer(), persistent=False)

    def trained(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        moved, statistics = self.collided(x, v, None, self.rule)
        tally(self.collision_tally, statistics)
        return moved

    def in_sum(self, like: Float[Tensor, "B C *S"]) -> SumInPlace | None:
        config = self.config
        if not self.training or config.dt != 1:
            return super().in_sum(like)
        # Only of a key of its own it is known what the call would draw, before it is drawn.
        if not (self.keyed and self.rule.by_rate) or config.noise == "gaussian" or like.dtype.itemsize < 4:
            return None
        samples, particles = numbers(config.layout, config.collision_heads, like.shape)
        seed = int(self.collision_key)
        wanted = wished_pairs(samples, particles, float(self.collision_strength), seed, like.device)
        if not wanted.any():
            in_sum = SumInPlace()
            tally(self.collision_tally, torch.zeros_like(self.collision_tally[:-1]))
        elif config.layout == "token" and particles == 2:
            in_sum = CouplesInSum(
                couples(wanted > 0).sample,
                directions(seed, like.device),
                LAWS[self.rule.law],
                self.rule.update_position,
                partial(tally, self.collision_tally),
            )
        else:
            return None
        self.collision_key.add_(1)
        return in_sum

    def collided(
        self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"], key: Int[Tensor, ""] | None, rule: Rule
    ) -> tuple[Float[Tensor, "B C *S"], Float[Tensor, "4"]]:
        """The feature map after the collisions of its particles, computed in float32 at least.

        Calls with the same key and positions and velocities have the same collisions.
        """
        position, velocity = self.particles(x, v)
        moved, statistics = self.particles_collided(position, velocity, self.new_key() if key is None else key, rule)
        moved = to_features(moved, x, self.config.layout, has_points_first(x))
        return moved.to(torch.promote_types(x.dtype, v.dtype)), statistics

    def particles(
        self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]
    ) -> tuple[Float[Tensor, "samples N *d"], Float[Tensor, "samples N *d"]]:
        """Positions and velocities of the particles of two feature maps, in float32 at least."""
        working = torch.promote_types(torch.promote_types(x.dtype, v.dtype), torch.float32)
        arguments = self.config.layout, self.config.collision_heads, has_points_first(x)
        return to_particles(x.to(working), *arguments), to_particles(v.to(working), *arguments)

    def particles_collided(
        self,
        position: Float[Tensor, "samples N *d"],
        velocity: Float[Tensor, "samples N *d"],
        key: Int[Tensor, ""],
        rule: Rule,
    ) -> tuple[Float[Tensor, "samples N *d"], Float[Tensor, "4"]]:
        """x* + dt·v' of particles, by the way that is best where they are."""
        most = math.ceil(self.full_strength * position.shape[1] / 2) + 1
        # Autocast would take the distances from products in half precision.
        with torch.autocast(position.device.type, enabled=False):
            if self.config.noise == "exact" and not has_kernels(position):
                return collided(position, velocity, key, self.collision_strength, rule)
            arguments = position.flatten(2), velocity.flatten(2), key, self.collision_strength
            if self.config.noise == "gaussian":
                moved, statistics = collided_by_matrices(*arguments, *rule, most)
            else:
                from kitipde.collisions.backends.triton_kernel import fused_collided

                moved, statistics = fused_collided(*arguments, rule, most)
        return moved.reshape(position.shape), statistics


class AccelerationResidual(CollisionResidual):
    """The "a-edition" of appendix D: the update is an acceleration a, and velocity passes from layer to layer.

    The collisions start from u = v + dt·a, where v is the velocity that the layer before has left behind, or standard
    normal in the first. Evaluation is x + dt·a, as for every kind: the appendix does not say what else it would be.
    """

    law = "kiti"
    before: "AccelerationResidual | None"

    def __init__(self, config: ResidualConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.velocity: Tensor | None = None
        # Velocities that nobody takes would stay, with the graph they came from: such a model cannot be copied.
        self.followed = False
        # Outside of the module's registered children: the layer before is a neighbour, not a part.
        object.__setattr__(self, "before", None)

    def follow(self, before: "AccelerationResidual") -> None:
        """Takes the velocities that `before` leaves behind."""
        object.__setattr__(self, "before", before)
        before.followed = True

    def in_sum(self, like: Float[Tensor, "B C *S"]) -> SumInPlace | None:
        # Velocities go on to the next layer.
        return None if self.training else super().in_sum(like)

    def trained(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        before, dt = self.before, self.config.dt
        carried = None if before is None else before.velocity
        # A layer of another width or grid begins anew.
        if carried is not None and carried.shape != v.shape:
            carried = None
        start = normal_like(self.new_key(), v) if carried is None else carried
        if before is not None:
            before.velocity = None
        velocity, key = start + dt * v, self.new_key()
        moved, statistics = self.collided(x, velocity, key, self.rule)
        if self.followed:
            # The same collisions without a change of position end at x + dt·v', which shows v'.
            held, _ = self.collided(x, velocity, key, self.rule._replace(update_position=False))
            self.velocity = (held - x) / dt
        tally(self.collision_tally, statistics)
        return moved


class NoiseResidual(CollisionResidual):
    """The control of `kiti`: independent normal noise on v, in each sample as large as its collisions would be.

    The pairs that would collide are chosen as for `kiti`, with the same random numbers. Their collisions change v_i by
    m_i + Σ_j ½ V_r n_ij, where m_i = ½ Σ_j (v_j − v_i) is what `mixing` does, in the mean square over n by

        Σ_i E|Δv_i|² = Σ_i |m_i|² + ¼ Σ_i Σ_j V_r² = Σ_i m_i·(m_i − v_i),

    the last because Σ_i Σ_j V_r² = 2 Σ_i Σ_j v_i·(v_i − v_j) over the pairs that collide. This over N·d is the variance
    of the noise in each coordinate of each of the sample's particles.
    """

    law = "mixing"

    def __init__(self, config: ResidualConfig, layer: int) -> None:
        super().__init__(config, layer)
        # Only velocities are looked at.
        self.rule = self.rule._replace(dt=1.0, update_position=False)

    def in_sum(self, like: Float[Tensor, "B C *S"]) -> SumInPlace | None:
        return None if self.training else super().in_sum(like)

    def trained(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        if v.numel() == 0:
            return drifted(x, v, self.config.dt)
        key = self.new_key()
        position, velocity = self.particles(x, v)
        unit = unit_of(velocity)
        velocity = velocity / unit
        mixed, _ = self.particles_collided(position, velocity, key, self.rule)
        change = mixed - (position + velocity)
        variance = (change * (change - velocity)).mean(tuple(range(1, velocity.ndim)), keepdim=True)
        # The root has no gradient at zero, where there is no noise either, nor where a value is not finite.
        deviation = unit * torch.where(variance > 0, torch.where(variance > 0, variance, 1).sqrt(), 0)
        size = to_features(deviation.expand_as(velocity), x, self.config.layout, has_points_first(x))
        return drifted(x, v + (size * normal_like(key, size)).to(v.dtype), self.config.dt)


class DropoutResidual(ScheduledResidual):
    """x + dt·v with elements of v dropped, and the others scaled up."""

    def __init__(self, config: ResidualConfig, layer: int) -> None:
        super().__init__(config, layer, config.dropout)

    def trained(self, x: Float[Tensor, "B C *S"], v: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        probability = self.collision_strength.to(v.dtype)
        kept = (uniform_like(self.new_key(), v) >= probability) / (1 - probability)
        return drifted(x, v * kept.to(v.dtype), self.config.dt)


def drifted(x: Tensor, v: Tensor, dt: float) -> Tensor:
    """x + dt·v; for dt = 1 the bits of x + v."""
    return x + v if dt == 1 else x + dt * v


def has_kernels(features: Tensor) -> bool:
    """Whether collisions of these features run in Triton's kernels."""
    return features.is_cuda and _kernels_can_be_built()


@torch.compiler.assume_constant_result
@cache
def _kernels_can_be_built() -> bool:
    missing = missing_for_kernels()
    if missing is not None:
        warnings.warn(f"collisions run without GPU kernels, which is slower: {missing}", stacklevel=2)
    return missing is None


def missing_for_kernels() -> str | None:
    """What Triton lacks on this machine to build kernels, in words; none if nothing is missing."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    # The launcher of each kernel is a small C program.
    if not os.environ.get("CC") and not any(map(shutil.which, ("gcc", "clang"))):
        return "Triton finds no C compiler (install gcc, or set the environment variable CC)"
    return None
