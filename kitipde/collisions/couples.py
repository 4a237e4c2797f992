"""Equations (2)-(5) where a sample is two particles: all that a collision changes is their difference.

With X = x_1 − x_2, V = v_1 − v_2 and one collision, equation (5) is

    x*_1 = x_1 − X/4,   v'_1 = v_1 + c,   c = scatter·|V| n − drift/2·V,        x*_1 + x*_2 and v'_1 + v'_2 as before

so that out_1 = x_1 + dt·v_1 + h and out_2 = x_2 + dt·v_2 − h with h = dt·c − X/4. The results are those of
`operator.collide` and `operator.collide_adjoint`, up to rounding and from the same random numbers, in a fraction of
their time: samples are copied whole, and what the gradients need, no more than v, is kept in its place.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kitipde.collisions.operator import CHUNK, Law, Pairs, shares, unit_vectors

__all__ = ["collide_couples", "collide_couples_adjoint", "couples"]


def couples(wanted: Bool[Tensor, "samples"]) -> Pairs:
    """The only pair of each wanted sample."""
    sample = wanted.nonzero().flatten()
    first = torch.zeros_like(sample)
    return Pairs(sample, first, first + 1)


def collide_couples(
    x: Float[Tensor, "samples 2 *d"],
    v: Float[Tensor, "samples 2 *d"],
    wanted: Sequence[Int[Tensor, "wanted"]],
    generators: Sequence[torch.Generator],
    law: Law,
    dt: float,
    update_position: bool,
    out: Float[Tensor, "samples 2 *d"],
) -> tuple[Float[Tensor, "replicas 4"], Int[Tensor, "E"], Float[Tensor, "2 E D"]]:
    """Equation (5) where the two particles of some samples collide, for all replicas of a network at once.

    Args:
        x: positions; a particle's coordinates may be spread over several axes. As many samples of each replica, the
            first replica's first.
        v: velocities.
        wanted: which samples of each replica are to collide, each once, counted over all replicas; those that are not
            finite, or have V = 0, do not.
        generators: source of each replica's directions.
        law: what a collision does.
        dt: time step.
        update_position: False keeps x* = x.
        out: x + dt·v; becomes x* + dt·v'.

    Returns:
        The statistics of `operator.collide`; the samples that collided; n and V/|V| of each, none for a law without n.
    """
    dimension, sample, counts = math.prod(v.shape[2:]), torch.cat(list(wanted)), [len(each) for each in wanted]
    kept = v.new_empty(2, len(sample) if law.scatter else 0, dimension)
    length = max(1, CHUNK // max(1, dimension))
    if law.scatter:
        for own, generator in zip(kept[0].split(counts), generators, strict=True):
            for part in own.split(length):
                part.copy_(unit_vectors(len(part), dimension, generator, v))
    happened = torch.ones_like(sample, dtype=torch.bool)
    gained = v.new_zeros(len(sample))
    for start in range(0, len(sample), length):
        chunk = slice(start, start + length)
        part, direction = sample[chunk], kept[0, chunk]
        velocity, position = _differences(v, part), _differences(x, part)
        # No matrix products, which are faster: their rounding must not depend on what is computed beside.
        speed, distance = (torch.linalg.vector_norm(each, dim=1) for each in (velocity, position))
        if law.scatter:
            torch.div(velocity, speed[:, None], out=kept[1, chunk])
        sound = (speed > 0) & (speed + distance).isfinite()
        some = slice(None)
        if not bool(sound.all()):
            happened[chunk] = some = sound
            part, velocity, position, speed = (each[sound] for each in (part, velocity, position, speed))
        change = velocity * (-law.drift / 2)
        if law.scatter:
            change.addcmul_(direction[some], speed[:, None], value=law.scatter)
        # |v'|² − |v|² of both
        gained[chunk][some] = 2 * (change * velocity.add_(change)).sum(1)
        change *= dt
        if update_position:
            change.sub_(position, alpha=0.25)
        _move_apart(out, part, change)
    statistics = []
    for own, energy, particles in zip(happened.split(counts), gained.split(counts), v.chunk(len(counts)), strict=True):
        collided = 2 * int(own.sum())
        # What the one gains in momentum the other loses, to the bit.
        known = shares(particles, collided, collided, v.new_zeros(()), energy.sum()) if collided else v.new_zeros(4)
        statistics.append(known)
    if not bool(happened.all()):
        sample = sample[happened]
        kept = kept[:, happened] if law.scatter else kept
    return torch.stack(statistics), sample, kept


def collide_couples_adjoint(
    gradient: Float[Tensor, "samples 2 *d"],
    sample: Int[Tensor, "E"],
    kept: Float[Tensor, "2 E D"],
    law: Law,
    dt: float,
    update_position: bool,
    out: tuple[Float[Tensor, "samples 2 *d"], Float[Tensor, "samples 2 *d"]],
) -> None:
    """Gradients of `collide_couples` with respect to x and v, pairs and directions held constant.

    Args:
        gradient: gradient g with respect to x* + dt·v'.
        sample: which samples collided.
        kept: n and V/|V| of each.
        law: as in `collide_couples`.
        dt: as in `collide_couples`.
        update_position: as in `collide_couples`.
        out: g and dt·g, the gradients without collisions; become the results.
    """
    gradient_x, gradient_v = out
    length = max(1, CHUNK // max(1, kept.shape[2]))
    for start in range(0, len(sample), length):
        part = sample[start : start + length]
        on_change = _differences(gradient, part)
        on_velocity = on_change * (-law.drift / 2)
        if law.scatter:
            direction, heading = kept[:, start : start + length]
            along = (direction * on_change).sum(1, keepdim=True)
            on_velocity.addcmul_(heading, along, value=law.scatter)
        _move_apart(gradient_v, part, on_velocity.mul_(dt))
        if update_position:
            _move_apart(gradient_x, part, on_change.mul_(-0.25))


def _differences(points: Float[Tensor, "samples 2 *d"], sample: Int[Tensor, "E"]) -> Float[Tensor, "E D"]:
    """First minus second particle of these samples, all coordinates on one axis."""
    # Where a sample lies together in memory, as in the token layout, this copies it whole.
    both = points.movedim(1, -1).index_select(0, sample)
    return (both[..., 0] - both[..., 1]).flatten(1)


def _move_apart(points: Float[Tensor, "samples 2 *d"], sample: Int[Tensor, "E"], change: Float[Tensor, "E D"]) -> None:
    """Adds a change to the first particle of these samples and takes it from the second, in place."""
    places = points.movedim(1, -1)
    both = change.new_empty(len(sample), *places.shape[1:])
    change = change.view(both.shape[:-1])
    both[..., 0] = change
    torch.neg(change, out=both[..., 1])
    places.index_add_(0, sample, both)
