"""Collisions as one differentiable operation that compilers and functional transforms do not look into.

How many pairs collide depends on the data. `torch.compile` and `torch.func.vmap` cannot follow that, so selection and
sums are registered as opaque operators: compiled graphs call them, and `vmap` over replicas folds the replicas into
the batch, where every sample is by itself anyway. Each replica keeps its own random numbers, so that it collides as it
would alone.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.noise import ROUNDING
from kitipde.collisions.operator import LAWS, Pairs, collide, collide_adjoint
from kitipde.collisions.precision import full_precision
from kitipde.collisions.selection import even_roundings, pairs_at_rate, pairs_by_coefficient

__all__ = ["Rule", "collided", "in_front"]


class Rule(NamedTuple):
    """How particles collide.

    Attributes:
        law: `kiti`, `kiti-published` or `mixing`.
        by_rate: whether `strength` is a number of collisions per particle, or coll_coef.
        dt: time step.
        update_position: False keeps x* = x.
    """

    law: str
    by_rate: bool
    dt: float
    update_position: bool


def collided(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    rule: Rule,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "4"]]:
    """x* + dt·v' of equations (2)-(5), and the statistics of the collisions.

    Args:
        x: positions.
        v: velocities, of the same dtype.
        key: seed of this call's random numbers.
        strength: coll_coef, or collisions per particle.
        rule: how particles collide.
    """
    out, statistics, _, _, _ = _Collide.apply(x, v, key, strength, *rule)  # pyright: ignore[reportGeneralTypeIssues]
    return out, statistics


class _Collide(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, v, key, strength, law, by_rate, dt, update_position):
        return _forward(x, v, key, strength, law, by_rate, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, v, key, _, law, _, dt, update_position = inputs
        _, statistics, *pairs = output
        ctx.mark_non_differentiable(statistics, *pairs)
        ctx.save_for_backward(v, key, *pairs)
        ctx.rule = (law, dt, update_position)

    @staticmethod
    def backward(ctx, gradient, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        v, key, *pairs = ctx.saved_tensors
        gradient_x, gradient_v = _Adjoint.apply(gradient, v, key, *pairs, *ctx.rule)  # pyright: ignore[reportGeneralTypeIssues]
        return gradient_x, gradient_v, *(None,) * 6


class _Adjoint(torch.autograd.Function):
    """A function of its own, so that functional transforms see no derivative of an operator without one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, v, key, sample, first, second, law, dt, update_position):
        return _backward(gradient, v, key, sample, first, second, law, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError("collisions can be differentiated once")


@torch.library.custom_op("kitipde::collide", mutates_args=())
def _forward(
    x: Tensor,
    v: Tensor,
    key: Tensor,
    strength: Tensor,
    law: str,
    by_rate: bool,
    dt: float,
    update_position: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    with full_precision(x.device):
        generators = _generators(key)
        select = _pairs_at_rates if by_rate else _pairs_by_coefficients
        sample, first, second = select(x, v, strength, key)
        # An operator's results may not share memory.
        pairs = Pairs(sample.clone(), first.clone(), second.clone())
        out, statistics = collide(x, v, pairs, generators, LAWS[law], dt, update_position)
    return out, statistics.reshape(*key.shape, 4), pairs.sample, pairs.first, pairs.second


@_forward.register_fake
def _(x, v, key, strength, law, by_rate, dt, update_position):
    pairs = torch.library.get_ctx().new_dynamic_size()
    columns = (torch.empty(pairs, dtype=torch.long, device=x.device) for _ in range(3))
    return torch.add(x, v), x.new_empty(*key.shape, 4), *columns


@_forward.register_vmap
def _(info, in_dims, x, v, key, strength, law, by_rate, dt, update_position):
    x, v, key, strength = in_front(info.batch_size, in_dims, x, v, key, strength)
    folded = _forward(x.flatten(0, 1), v.flatten(0, 1), key, strength, law, by_rate, dt, update_position)
    return (folded[0].reshape(x.shape), *folded[1:]), (0, 0, None, None, None)


@torch.library.custom_op("kitipde::collide_adjoint", mutates_args=())
def _backward(
    gradient: Tensor,
    v: Tensor,
    key: Tensor,
    sample: Tensor,
    first: Tensor,
    second: Tensor,
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Tensor, Tensor]:
    with full_precision(v.device):
        generators = _generators(key)
        pairs = Pairs(sample, first, second)
        return collide_adjoint(gradient, v, pairs, generators, LAWS[law], dt, update_position)


@_backward.register_fake
def _(gradient, v, key, sample, first, second, law, dt, update_position):
    return torch.empty_like(gradient), torch.empty_like(gradient)


@_backward.register_vmap
def _(info, in_dims, gradient, v, key, sample, first, second, law, dt, update_position):
    gradient, v, key = in_front(info.batch_size, in_dims, gradient, v, key)
    folded = _backward(gradient.flatten(0, 1), v.flatten(0, 1), key, sample, first, second, law, dt, update_position)
    return tuple(part.reshape(gradient.shape) for part in folded), (0, 0)


def in_front(size: int, in_dims: tuple[int | None, ...], *tensors: Tensor) -> list[Tensor]:
    """The tensors with the replicas as first axis, shared ones repeated."""
    return [
        tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(tensors, in_dims[: len(tensors)], strict=True)
    ]


def _generators(key: Int[Tensor, "..."]) -> list[torch.Generator]:
    """One source of random numbers for each replica."""
    return [torch.Generator(key.device).manual_seed(seed) for seed in key.reshape(-1).tolist()]


def _pairs_by_coefficients(x: Tensor, v: Tensor, strength: Tensor, key: Tensor) -> Pairs:
    coefficients = strength.reshape(-1).tolist()
    if len(set(coefficients)) == 1:
        return pairs_by_coefficient(x, v, coefficients[0])
    share = x.shape[0] // len(coefficients)
    parts = [
        pairs_by_coefficient(x[k * share : (k + 1) * share], v[k * share : (k + 1) * share], coefficient)
        for k, coefficient in enumerate(coefficients)
    ]
    shifted = (Pairs(part.sample + k * share, part.first, part.second) for k, part in enumerate(parts))
    return Pairs(*(torch.cat(columns) for columns in zip(*shifted, strict=True)))


def _pairs_at_rates(x: Tensor, v: Tensor, strength: Tensor, key: Tensor) -> Pairs:
    """A sample has rate·N/2 pairs, rounded up or down so that the batch as a whole has the wished number."""
    samples, particles, _ = x.shape
    # Another stream than that of the directions, which the backward pass draws again without this one.
    generators = _generators(key ^ ROUNDING)
    share = samples // len(generators)
    wished = strength.reshape(-1).to(torch.float64).cpu() * particles / 2
    starts = (torch.rand(1, generator=each, dtype=torch.float64, device=x.device) for each in generators)
    rounding = torch.stack([even_roundings(start, share) for start in starts])
    number = torch.floor(wished.to(x.device)[:, None] + rounding).long()
    return pairs_at_rate(x, v, number.flatten())
