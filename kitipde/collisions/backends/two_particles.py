"""Equations (2)-(5) where a sample is two particles: all that a collision changes is their difference.

With X = x_1 − x_2, V = v_1 − v_2 and one collision, equation (5) is

    x*_1 = x_1 − X/4,   v'_1 = v_1 + c,   c = scatter·|V| n − drift/2·V,        x*_1 + x*_2 and v'_1 + v'_2 as before

so that out_1 = x_1 + dt·v_1 + h and out_2 = x_2 + dt·v_2 − h with h = dt·c − X/4. The results are those of
`operator.collide` and `operator.collide_adjoint`, up to rounding and from the same random numbers, in a fraction of
their time: samples are copied whole, and what the gradients need, no more than v, is kept in its place.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kitipde.collisions.backends.scales import norm
from kitipde.collisions.rules import CHUNK, Law, Pairs, extent, shares, unit_vectors

__all__ = [
    "collide_couples",
    "collide_couples_adjoint",
    "collide_differences",
    "couples",
    "differences",
    "gradients_of_differences",
    "move_apart",
    "those_that_did",
]


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
    sample, counts = torch.cat(list(wanted)), [len(each) for each in wanted]

    def apart(part: slice) -> tuple[Tensor, Tensor]:
        return differences(x, sample[part]), differences(v, sample[part])

    happened, gained, kept = collide_differences(
        apart, math.prod(v.shape[2:]), sample, counts, generators, law, dt, update_position, out
    )
    statistics = []
    for own, energy, particles in zip(happened.split(counts), gained.split(counts), v.chunk(len(counts)), strict=True):
        collided = 2 * int(own.sum())
        # What the one gains in momentum the other loses, to the bit.
        found = (collided, collided, v.new_zeros(()), energy.sum())
        statistics.append(shares(*extent(particles), *found) if collided else v.new_zeros(4))
    return torch.stack(statistics), *those_that_did(happened, sample, kept)


def collide_differences(
    apart: Callable[[slice], tuple[Float[Tensor, "part D"], Float[Tensor, "part D"]]],
    dimension: int,
    sample: Int[Tensor, "E"],
    counts: Sequence[int],
    generators: Sequence[torch.Generator],
    law: Law,
    dt: float,
    update_position: bool,
    out: Float[Tensor, "samples 2 *d"],
) -> tuple[Bool[Tensor, "E"], Float[Tensor, "E"], Float[Tensor, "2 E D"]]:
    """The collisions of `collide_couples` where only X and V of those that are wanted are known.

    Args:
        apart: X and V of a part of the samples; they are asked for once, part by part, and are written over.
        dimension: D.
        sample: which are wanted, replica by replica.
        counts: how many of each replica.
        generators: as in `collide_couples`.
        law: as in `collide_couples`.
        dt: as in `collide_couples`.
        update_position: as in `collide_couples`.
        out: as in `collide_couples`.

    Returns:
        Which of them did collide; |v'|² − |v|² of both particles; n and V/|V| of each, none for a law without n.
    """
    kept = out.new_empty(2, len(sample) if law.scatter else 0, dimension)
    length = max(1, CHUNK // max(1, dimension))
    if law.scatter:
        for own, generator in zip(kept[0].split(list(counts)), generators, strict=True):
            for part in own.split(length):
                part.copy_(unit_vectors(len(part), dimension, generator, out))
    happened = torch.ones_like(sample, dtype=torch.bool)
    gained = out.new_zeros(len(sample))
    for chunk in _parts(len(sample), length):
        part, direction = sample[chunk], kept[0, chunk]
        position, velocity = apart(chunk)
        # No matrix products, which are faster: their rounding must not depend on what is computed beside.
        speed, distance = norm(velocity), torch.linalg.vector_norm(position, dim=1)
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
        gained[chunk][some] = 2 * (change * velocity.add_(change)).sum(1)
        change *= dt
        if update_position:
            change.sub_(position, alpha=0.25)
        move_apart(out, part, change)
    return happened, gained, kept


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

    def apart(part: slice) -> Tensor:
        return differences(gradient, sample[part])

    for part, on_position, on_velocity in gradients_of_differences(apart, len(sample), kept, law, dt):
        move_apart(out[1], sample[part], on_velocity)
        if update_position:
            move_apart(out[0], sample[part], on_position)


def gradients_of_differences(
    apart: Callable[[slice], Float[Tensor, "part D"]], number: int, kept: Float[Tensor, "2 E D"], law: Law, dt: float
) -> Iterator[tuple[slice, Float[Tensor, "part D"], Float[Tensor, "part D"]]]:
    """What collisions add to g and dt·g, part by part: to the first particle's gradient, from the second's.

    Args:
        apart: the first particle's g minus the second's, of a part of the samples that collided; asked for once, part
            by part, and written over.
        number: how many did.
        kept: as in `collide_couples_adjoint`.
        law: as in `collide_couples_adjoint`.
        dt: as in `collide_couples_adjoint`.

    Yields:
        Which part; the term in the gradient of positions, if they are updated; that in the gradient of velocities.
    """
    for chunk in _parts(number, max(1, CHUNK // max(1, kept.shape[2]))):
        on_change = apart(chunk)
        on_velocity = on_change * (-law.drift / 2)
        if law.scatter:
            direction, heading = kept[:, chunk]
            along = (direction * on_change).sum(1, keepdim=True)
            on_velocity.addcmul_(heading, along, value=law.scatter)
        yield chunk, on_change.mul_(-0.25), on_velocity.mul_(dt)


def differences(points: Float[Tensor, "samples 2 *d"], sample: Int[Tensor, "E"]) -> Float[Tensor, "E D"]:
    """First minus second particle of these samples, all coordinates on one axis."""
    # Where a sample lies together in memory, as in the token layout, this copies it whole.
    both = points.movedim(1, -1).index_select(0, sample)
    return (both[..., 0] - both[..., 1]).flatten(1)


def move_apart(points: Float[Tensor, "samples 2 *d"], sample: Int[Tensor, "E"], change: Float[Tensor, "E D"]) -> None:
    """Adds a change to the first particle of these samples and takes it from the second, in place."""
    places = points.movedim(1, -1)
    both = change.new_empty(len(sample), *places.shape[1:])
    change = change.view(both.shape[:-1])
    both[..., 0] = change
    torch.neg(change, out=both[..., 1])
    places.index_add_(0, sample, both)


def those_that_did(
    happened: Bool[Tensor, "E"], sample: Int[Tensor, "E"], kept: Float[Tensor, "2 E D"]
) -> tuple[Int[Tensor, "collided"], Float[Tensor, "2 collided D"]]:
    """The samples that collided and what is kept of them."""
    if bool(happened.all()):
        return sample, kept
    return sample[happened], kept[:, happened] if kept.shape[1] else kept


def _parts(number: int, length: int) -> Iterator[slice]:
    return (slice(start, min(start + length, number)) for start in range(0, number, length))
