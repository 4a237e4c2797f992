"""Equations (2)-(5) by the kernels for GPUs, as operations with gradients that replicas share under `vmap`.

Selecting by rate needs the scores of all pairs, N² numbers for each sample, once.

This module needs Triton, which torch brings along on Linux for CUDA.
"""

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.backends.counter_rng import ROUNDING
from kitipde.collisions.backends.eager import Rule, in_front
from kitipde.collisions.backends.gaussian import statistics, thresholds
from kitipde.collisions.backends.kernels import adjoint_kernel, collide_kernel, fastest_kernel
from kitipde.collisions.backends.scales import ordinary
from kitipde.collisions.rules import LAWS

__all__ = ["fused_collide", "fused_collide_adjoint", "fused_collided", "fused_speeds"]

# What a kernel is given is typed for its own compiler.
# pyright: reportArgumentType=false

# Particles of a block. Small: few pairs collide, and a tile is computed as a whole if one does.
BLOCK = 16


def fused_collided(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    rule: Rule,
    most: int,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "4"]]:
    """x* + dt·v' of equations (2)-(5), and the statistics of the collisions.

    Args:
        x: positions.
        v: velocities, of the same dtype.
        key: seed of this call's directions.
        strength: coll_coef, or collisions per particle.
        rule: how particles collide.
        most: the largest number of pairs of a sample that a rate asks for.
    """
    if x.shape[1] < 2 or x.numel() == 0:
        return torch.add(x, v, alpha=rule.dt), x.new_zeros(4)
    with torch.no_grad():
        threshold = thresholds(x, v, key ^ ROUNDING, strength, rule.by_rate, most)
    out, count, change, _ = _Fused.apply(x, v, key, threshold, rule.law, rule.dt, rule.update_position)  # pyright: ignore[reportGeneralTypeIssues]
    return out, statistics(v, change, count[..., None])


class _Fused(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, v, key, threshold, law, dt, update_position):
        return _forward(x, v, key, threshold, law, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, v, key, threshold, *rule = inputs
        _, count, change, speeds = output
        ctx.mark_non_differentiable(count, change, speeds)
        ctx.save_for_backward(x, v, key, threshold, speeds, count)
        ctx.rule = rule

    @staticmethod
    def backward(ctx, gradient, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_FusedAdjoint.apply(gradient, *ctx.saved_tensors, *ctx.rule), *(None,) * 5  # pyright: ignore[reportGeneralTypeIssues]


class _FusedAdjoint(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, x, v, key, threshold, speeds, count, law, dt, update_position):
        return _backward(gradient, x, v, key, threshold, speeds, count, law, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError("collisions can be differentiated once")


@torch.library.custom_op("kitipde::fused_collide", mutates_args=())
def _forward(
    x: Tensor, v: Tensor, key: Tensor, threshold: Tensor, law: str, dt: float, update_position: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    speeds = fused_speeds(v)
    return *fused_collide(x, v, key.reshape(-1), threshold, speeds, law, dt, update_position), speeds


@_forward.register_fake
def _(x, v, key, threshold, law, dt, update_position):
    return torch.empty_like(x), x.new_empty(x.shape[:2]), torch.empty_like(x), x.new_empty(x.shape[0], 2)


@_forward.register_vmap
def _(info, in_dims, x, v, key, threshold, law, dt, update_position):
    x, v, key, threshold = in_front(info.batch_size, in_dims, x, v, key, threshold)
    folded = _forward(x.flatten(0, 1), v.flatten(0, 1), key, threshold.flatten(), law, dt, update_position)
    return tuple(each.unflatten(0, x.shape[:2]) for each in folded), (0, 0, 0, 0)


@torch.library.custom_op("kitipde::fused_collide_adjoint", mutates_args=())
def _backward(
    gradient: Tensor,
    x: Tensor,
    v: Tensor,
    key: Tensor,
    threshold: Tensor,
    speeds: Tensor,
    count: Tensor,
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Tensor, Tensor]:
    return fused_collide_adjoint(gradient, x, v, key.reshape(-1), threshold, speeds, count, law, dt, update_position)


@_backward.register_fake
def _(gradient, x, v, key, threshold, speeds, count, law, dt, update_position):
    return torch.empty_like(x), torch.empty_like(x)


@_backward.register_vmap
def _(info, in_dims, gradient, x, v, key, threshold, speeds, count, law, dt, update_position):
    tensors = in_front(info.batch_size, in_dims, gradient, x, v, key, threshold, speeds, count)
    folded = [each if each is tensors[3] else each.flatten(0, 1) for each in tensors]
    parts = _backward(*folded, law, dt, update_position)
    return tuple(each.unflatten(0, tensors[0].shape[:2]) for each in parts), (0, 0)


def fused_speeds(v: Float[Tensor, "samples N d"]) -> Float[Tensor, "samples 2"]:
    """The largest component of v in each sample, and max V_r in the unit that follows from it; NaN if v has one."""
    samples, particles, dimension = v.shape
    blocks = triton.cdiv(particles, BLOCK)
    size = torch.linalg.vector_norm(v, torch.inf, (1, 2))
    partial = v.new_empty(samples, blocks)
    fastest_kernel[(samples, blocks)](
        v, size, partial, particles, dimension, *v.stride(), BLOCK=BLOCK, LIMIT=ordinary(v.dtype)
    )
    return torch.stack([size, partial.amax(dim=1)], 1)


def fused_collide(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    keys: Int[Tensor, "replicas"],
    threshold: Float[Tensor, "samples"],
    speeds: Float[Tensor, "samples 2"],
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "samples N"], Float[Tensor, "samples N d"]]:
    """x* + dt·v' of equation (5), k, and Σ_j Δv_ij.

    Args:
        x: positions.
        v: velocities.
        keys: seeds, one for each equal share of the samples.
        threshold: a pair collides if ln(V_r / max V_r) − X_r is larger; log(1 − coll_coef) is equation (4).
        speeds: of `fused_speeds`.
        law: `kiti`, `kiti-published` or `mixing`.
        dt: time step.
        update_position: False keeps x* = x.
    """
    samples, particles, dimension = x.shape
    position_sum, velocity_sum = torch.zeros_like(x), torch.zeros_like(x)
    keys, threshold, speeds = (each.contiguous() for each in (keys, threshold, speeds))
    count = x.new_empty(samples, particles)
    grid = (samples, triton.cdiv(particles, BLOCK))
    collide_kernel[grid](
        x, v, keys, threshold, speeds, position_sum, velocity_sum, count, *LAWS[law], max(1, samples // len(keys)),
        particles, dimension, *x.stride(), *v.stride(), *velocity_sum.stride(), BLOCK=BLOCK, LIMIT=ordinary(v.dtype),
    )  # fmt: skip
    k = count[..., None]
    start = (x + (k * x + position_sum) / 2) / (1 + k) if update_position else x
    moved, plain = torch.add(start, v + velocity_sum, alpha=dt), torch.add(x, v, alpha=dt)
    # Compilers rely on results that lie in memory like x, where that is possible.
    return torch.where(k > 0, moved, plain, out=torch.empty_like(x)), count, velocity_sum


def fused_collide_adjoint(
    gradient: Float[Tensor, "samples N d"],
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    keys: Int[Tensor, "replicas"],
    threshold: Float[Tensor, "samples"],
    speeds: Float[Tensor, "samples 2"],
    count: Float[Tensor, "samples N"],
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "samples N d"]]:
    """Gradients of `fused_collide`'s first result with respect to x and v; arguments as there."""
    samples, particles, dimension = x.shape
    position_sum, velocity_sum = torch.zeros_like(x), torch.zeros_like(x)
    keys, threshold, speeds, count = (each.contiguous() for each in (keys, threshold, speeds, count))
    grid = (samples, triton.cdiv(particles, BLOCK))
    adjoint_kernel[grid](
        gradient, x, v, keys, threshold, speeds, count, position_sum, velocity_sum, *LAWS[law],
        max(1, samples // len(keys)), particles, dimension, *gradient.stride(), *x.stride(), *v.stride(),
        *velocity_sum.stride(), BLOCK=BLOCK, LIMIT=ordinary(v.dtype),
    )  # fmt: skip
    if update_position:
        k = count[..., None]
        weighted = gradient / (1 + k)
        position_sum = position_sum.add_(k * weighted).div_(2).add_(weighted)
    else:
        position_sum.copy_(gradient)
    return position_sum, velocity_sum.add_(gradient).mul_(dt)
