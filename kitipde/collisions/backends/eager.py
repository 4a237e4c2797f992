"""Collisions as one differentiable operation that compilers and functional transforms do not look into.

How many pairs collide depends on the data. `torch.compile` and `torch.func.vmap` cannot follow that, so selection and
sums are registered as opaque operators: compiled graphs call them, and `vmap` hands them all replicas. These collide
one by one, or all at once where a sample is two particles, each with the random numbers that it would have alone.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.backends.counter_rng import ROUNDING
from kitipde.collisions.backends.precision import full_precision
from kitipde.collisions.backends.two_particles import collide_couples, collide_couples_adjoint, couples
from kitipde.collisions.pairs import even_roundings, pairs_at_rate, pairs_by_coefficient
from kitipde.collisions.rules import LAWS, Pairs, collide, collide_adjoint

__all__ = ["Rule", "collided", "directions", "in_front", "wished_pairs"]


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
    x: Float[Tensor, "samples N *d"],
    v: Float[Tensor, "samples N *d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    rule: Rule,
) -> tuple[Float[Tensor, "samples N *d"], Float[Tensor, "4"]]:
    """x* + dt·v' of equations (2)-(5), and the statistics of the collisions.

    Args:
        x: positions.
        v: velocities, of the same dtype.
        key: seed of this call's random numbers.
        strength: coll_coef, or collisions per particle.
        rule: how particles collide.
    """
    out, statistics, *_ = _Collide.apply(x, v, key, strength, *rule)  # pyright: ignore[reportGeneralTypeIssues]
    return out, statistics


class _Collide(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, v, key, strength, law, by_rate, dt, update_position):
        return _forward(x, v, key, strength, law, by_rate, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, v, key, _, law, _, dt, update_position = inputs
        _, statistics, kept, *pairs = output
        ctx.mark_non_differentiable(statistics, kept, *pairs)
        # What is known of the velocities: all of them, or what a couple's gradients need.
        ctx.save_for_backward(kept if _are_couples(v, key) else v, key, *pairs)
        ctx.rule = (law, dt, update_position)

    @staticmethod
    def backward(ctx, gradient, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        known, key, *pairs = ctx.saved_tensors
        # Without pairs these are the gradients of a sum, and one copy is enough: leaves must not share theirs. How many
        # pairs there are no graph can know.
        if ctx.rule[1] == 1 and not torch.compiler.is_compiling() and pairs[0].numel() == 0:
            return gradient, gradient.clone(), *(None,) * 6
        gradient_x, gradient_v = _Adjoint.apply(gradient, known, key, *pairs, *ctx.rule)  # pyright: ignore[reportGeneralTypeIssues]
        return gradient_x, gradient_v, *(None,) * 6


class _Adjoint(torch.autograd.Function):
    """A function of its own, so that functional transforms see no derivative of an operator without one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, known, key, sample, first, second, law, dt, update_position):
        return _backward(gradient, known, key, sample, first, second, law, dt, update_position)

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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    if _are_couples(x, key):
        return _couples_forward(x, v, key, strength, law, by_rate, dt, update_position)
    out = torch.add(x, v, alpha=dt)
    found, statistics = [], []
    with full_precision(x.device):
        for number, (random, position, velocity, pairs) in enumerate(_chosen(x, v, key, strength, by_rate)):
            moved = out if key.ndim == 0 else out[number]
            statistics.append(collide(position, velocity, pairs, random, LAWS[law], dt, update_position, moved)[1])
            found.append(pairs._replace(sample=pairs.sample + number * len(position)))
    # New tensors, as an operator's results may not share memory.
    sample, first, second = (torch.cat(columns) for columns in zip(*found, strict=True))
    return out, torch.stack(statistics).reshape(*key.shape, 4), x.new_empty(2, 0, 0), sample, first, second


def _couples_forward(
    x: Tensor, v: Tensor, key: Tensor, strength: Tensor, law: str, by_rate: bool, dt: float, update_position: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where each sample is two particles: all replicas in one."""
    positions, velocities = _in_one(key, x), _in_one(key, v)
    out = torch.add(positions, velocities, alpha=dt)
    wanted, generators = [], []
    with full_precision(x.device):
        for number, (random, position, _, pairs) in enumerate(_chosen(x, v, key, strength, by_rate)):
            wanted.append(pairs.sample + number * len(position))
            generators.append(random)
        statistics, sample, kept = collide_couples(
            positions, velocities, wanted, generators, LAWS[law], dt, update_position, out
        )
    first = torch.zeros_like(sample)
    return out.view(x.shape), statistics.reshape(*key.shape, 4), kept, sample, first, first + 1


@_forward.register_fake
def _(x, v, key, strength, law, by_rate, dt, update_position):
    pairs = torch.library.get_ctx().new_dynamic_size()
    columns = (torch.empty(pairs, dtype=torch.long, device=x.device) for _ in range(3))
    kept = x.new_empty(2, 0, 0)
    if _are_couples(x, key):
        kept = x.new_empty(2, pairs if LAWS[law].scatter else 0, math.prod(x.shape[key.ndim + 2 :]))
    return torch.add(x, v), x.new_empty(*key.shape, 4), kept, *columns


@_forward.register_vmap
def _(info, in_dims, x, v, key, strength, law, by_rate, dt, update_position):
    x, v, key, strength = in_front(info.batch_size, in_dims, x, v, key, strength)
    results = _forward(x, v, key, strength, law, by_rate, dt, update_position)
    return results, (0, 0, None, None, None, None)


@torch.library.custom_op("kitipde::collide_adjoint", mutates_args=())
def _backward(
    gradient: Tensor,
    known: Tensor,
    key: Tensor,
    sample: Tensor,
    first: Tensor,
    second: Tensor,
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Tensor, Tensor]:
    if _are_couples(gradient, key):
        on_out = _in_one(key, gradient)
        of_x, of_v = on_out.clone(), on_out * dt
        # What is kept is that of all replicas.
        kept = known if key.ndim == 0 else known[0]
        with full_precision(gradient.device):
            collide_couples_adjoint(on_out, sample, kept, LAWS[law], dt, update_position, (of_x, of_v))
        return of_x.view(gradient.shape), of_v.view(gradient.shape)
    results = gradient.clone(), gradient * dt
    batches = _batches(key, gradient, known)
    with full_precision(gradient.device):
        for number, (seed, on_out, velocity) in enumerate(batches):
            own = slice(None) if key.ndim == 0 else sample // len(velocity) == number
            pairs = Pairs(sample[own] - number * len(velocity), first[own], second[own])
            parts = results if key.ndim == 0 else (results[0][number], results[1][number])
            random = directions(seed, gradient.device)
            collide_adjoint(on_out, velocity, pairs, random, LAWS[law], dt, update_position, parts)
    return results


@_backward.register_fake
def _(gradient, known, key, sample, first, second, law, dt, update_position):
    return torch.empty_like(gradient), torch.empty_like(gradient)


@_backward.register_vmap
def _(info, in_dims, gradient, known, key, sample, first, second, law, dt, update_position):
    gradient, known, key = in_front(info.batch_size, in_dims, gradient, known, key)
    return _backward(gradient, known, key, sample, first, second, law, dt, update_position), (0, 0)


def _are_couples(particles: Float[Tensor, "..."], key: Int[Tensor, "..."]) -> bool:
    """Whether each sample is two particles, whose one collision needs no lists."""
    return particles.shape[key.ndim + 1] == 2


def _in_one(key: Int[Tensor, "..."], tensor: Float[Tensor, "..."]) -> Float[Tensor, "all ..."]:
    """The samples of all replicas, one after another."""
    return tensor if key.ndim == 0 else tensor.flatten(0, 1)


def in_front(size: int, in_dims: tuple[int | None, ...], *tensors: Tensor) -> list[Tensor]:
    """The tensors with the replicas as first axis, shared ones repeated."""
    return [
        tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(tensors, in_dims[: len(tensors)], strict=True)
    ]


def _batches(key: Int[Tensor, "..."], *tensors: Tensor) -> list[tuple[int, *tuple[Tensor, ...]]]:
    """Each replica's key and its part of the tensors; a single one has no axis of its own."""
    if key.ndim == 0:
        return [(int(key), *tensors)]
    return [(seed, *(tensor[number] for tensor in tensors)) for number, seed in enumerate(key.tolist())]


def _chosen(
    x: Tensor, v: Tensor, key: Tensor, strength: Tensor, by_rate: bool
) -> Iterator[tuple[torch.Generator, Tensor, Tensor, Pairs]]:
    """Of each replica the source of its directions, its particles, and the pairs that collide."""
    select = _pairs_at_rate if by_rate else _pairs_by_coefficient
    for number, (seed, position, velocity) in enumerate(_batches(key, x, v)):
        pairs = select(position, velocity, float(strength.reshape(-1)[number]), seed)
        yield directions(seed, x.device), position, velocity, pairs


def wished_pairs(samples: int, particles: int, rate: float, seed: int, device: torch.device) -> Int[Tensor, "samples"]:
    """A sample has rate·N/2 pairs, rounded up or down so that the batch as a whole has the wished number."""
    # Another stream than that of the directions, which the backward pass draws again without this one.
    start = torch.rand(1, generator=directions(seed ^ ROUNDING, device), dtype=torch.float64, device=device)
    return torch.floor(rate * particles / 2 + even_roundings(start, samples)).long()


def directions(seed: int, device: torch.device) -> torch.Generator:
    """Where the directions of a call's collisions come from."""
    return torch.Generator(device).manual_seed(seed)


def _pairs_by_coefficient(x: Tensor, v: Tensor, coll_coef: float, seed: int) -> Pairs:
    return pairs_by_coefficient(x, v, coll_coef)


def _pairs_at_rate(x: Tensor, v: Tensor, rate: float, seed: int) -> Pairs:
    samples, particles = x.shape[:2]
    number = wished_pairs(samples, particles, rate, seed, x.device)
    # Of two particles there is one pair: whether it is finite and has V_r > 0 is seen where it collides.
    return couples(number > 0) if particles == 2 else pairs_at_rate(x, v, number)
