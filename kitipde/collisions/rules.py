"""Collisions of particle pairs: equations (2)-(5) of KITINet, and their adjoint.

Particles i = 1…N of one sample have positions x_i and velocities v_i in R^d. For a pair (i, j)

    X_r = |x_i − x_j|,   V_r = |v_i − v_j|,   X_cm = (x_i + x_j)/2,   V_cm = (v_i + v_j)/2            (2)
    Δv_ij = V_cm + ½ V_r n − v_i,   Δv_ji = V_cm − ½ V_r n − v_j,   n uniform on the unit sphere      (3)
    the pair collides if V_r e^(−X_r) / max V_r > 1 − coll_coef                                       (4)
    v'_i = v_i + Σ_j Δv_ij,   x*_i = (x_i + Σ_j X_cm) / (1 + k_i),   out = x* + dt·v'                 (5)

with k_i the number of collisions of i. The functions below work on lists of E pairs, so that no N×N×d tensor exists;
equation (4) is applied in `selection`, which finds the pairs.

The published scripts differ from (3): Δv_ij = (v_i − v_j)/2 + V_r n. Both are Δv_ij = drift·(V_cm − v_i) +
scatter·V_r n, with (drift, scatter) = (1, ½) in the paper, (−1, 1) in the scripts and (1, 0) without noise.

References:
    KITINet, section 3 and Algorithm 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.backends.scales import in_range, norm
from kitipde.memory import in_order

__all__ = [
    "LAWS",
    "Law",
    "Pairs",
    "centre",
    "collide",
    "collide_adjoint",
    "collision_rate",
    "extent",
    "relative_distance",
    "relative_speed",
    "shares",
    "unit_vectors",
    "velocity_change",
]

# Elements of the pair tensors that are held at once: enough to be efficient, few enough to stay in the cache.
CHUNK = 1 << 18


class Law(NamedTuple):
    """What a collision does: Δv_ij = drift·(V_cm − v_i) + scatter·V_r n."""

    drift: float
    scatter: float


LAWS = {"kiti": Law(1.0, 0.5), "kiti-published": Law(-1.0, 1.0), "mixing": Law(1.0, 0.0)}


class Pairs(NamedTuple):
    """E colliding pairs: particles `first` < `second` of `sample`; pairs of one sample follow one another."""

    sample: Int[Tensor, "E"]
    first: Int[Tensor, "E"]
    second: Int[Tensor, "E"]


def relative_distance(x_i: Float[Tensor, "*E d"], x_j: Float[Tensor, "*E d"]) -> Float[Tensor, "*E"]:
    """X_r = |x_i − x_j|, equation (2)."""
    return torch.linalg.vector_norm(x_i - x_j, dim=-1)


def relative_speed(v_i: Float[Tensor, "*E d"], v_j: Float[Tensor, "*E d"]) -> Float[Tensor, "*E"]:
    """V_r = |v_i − v_j|, equation (2), for velocities of any size."""
    return norm(v_i - v_j)


def centre(a_i: Float[Tensor, "*E d"], a_j: Float[Tensor, "*E d"]) -> Float[Tensor, "*E d"]:
    """X_cm or V_cm: the middle of two particles' positions or velocities, equation (2)."""
    return (a_i + a_j) / 2


def unit_vectors(
    pairs: int, dimension: int, generator: torch.Generator | None, like: Float[Tensor, "..."]
) -> Float[Tensor, "E d"]:
    """n of equation (3): directions uniform on the unit sphere of R^d (±1 for d = 1)."""
    normal = torch.randn(pairs, dimension, generator=generator, dtype=like.dtype, device=like.device)
    length = torch.linalg.vector_norm(normal, dim=-1, keepdim=True)
    return normal.div_(length.clamp_min(torch.finfo(like.dtype).tiny))


def velocity_change(
    v_i: Float[Tensor, "E d"], v_j: Float[Tensor, "E d"], direction: Float[Tensor, "E d"] | None, law: Law
) -> Float[Tensor, "E d"]:
    """Δv_ij of equation (3); Δv_ji = −Δv_ij, so a collision conserves momentum.

    Args:
        v_i: velocities of the first particles.
        v_j: velocities of the second particles.
        direction: n_ij; none when the law has no noise.
        law: the paper's, the published scripts' or the noiseless one.
    """
    change = law.drift * (centre(v_i, v_j) - v_i)
    if direction is None:
        return change
    return change + law.scatter * relative_speed(v_i, v_j)[..., None] * direction


def collision_rate(
    distance: Float[Tensor, "*E"], speed: Float[Tensor, "*E"], fastest: Float[Tensor, "*E"]
) -> Float[Tensor, "*E"]:
    """V_r e^(−X_r) / max V_r, the left side of equation (4); zero where all velocities of a sample are equal."""
    return torch.where(fastest > 0, speed / fastest, 0) * torch.exp(-distance)


def collide(
    x: Float[Tensor, "samples N *d"],
    v: Float[Tensor, "samples N *d"],
    pairs: Pairs,
    generator: torch.Generator,
    law: Law,
    dt: float,
    update_position: bool,
    out: Float[Tensor, "samples N *d"] | None = None,
) -> tuple[Float[Tensor, "samples N *d"], Float[Tensor, "4"]]:
    """Equation (5): x* + dt·v' after the collisions of these pairs, and what they did.

    Args:
        x: positions; a particle's coordinates may be spread over several axes.
        v: velocities.
        pairs: the pairs that collide.
        generator: source of the directions.
        law: what a collision does.
        dt: time step.
        update_position: False keeps x* = x.
        out: x + dt·v if it is known; becomes the result.

    Returns:
        The new positions; and collisions per particle, share of particles that collided, |Σ(v' − v)| over Σ|v| (its
        scale), and (Σ|v'|² − Σ|v|²) over Σ|v|².
    """
    out = torch.add(x, v, alpha=dt) if out is None else out
    if len(pairs.sample) == 0:
        return out, v.new_zeros(4)
    touched, slot_i, slot_j = _colliding_particles(pairs, *x.shape[:2])
    position, velocity, count = touched.of(x), touched.of(v), touched.collisions.to(x.dtype)

    velocity_sum, centre_sum = torch.zeros_like(velocity), torch.zeros_like(position)
    for part, direction in _chunks(pairs, velocity, generator, law):
        first, second = slot_i[part], slot_j[part]
        change = velocity_change(velocity[first], velocity[second], direction, law)
        _add(velocity_sum, first, second, change, -1)
        if update_position:
            middle = centre(position[first], position[second])
            _add(centre_sum, first, second, middle, 1)
    after = velocity + velocity_sum
    start = (position + centre_sum) / (1 + count)[:, None] if update_position else position
    touched.put(out, torch.add(start, after, alpha=dt))
    # |v'|² − |v|², over the particles that collided
    gained = (velocity_sum * (2 * velocity + velocity_sum)).sum()
    return out, shares(*extent(v), count.sum(), len(count), torch.linalg.vector_norm(velocity_sum.sum(0)), gained)


def collide_adjoint(
    gradient: Float[Tensor, "samples N *d"],
    v: Float[Tensor, "samples N *d"],
    pairs: Pairs,
    generator: torch.Generator,
    law: Law,
    dt: float,
    update_position: bool,
    out: tuple[Float[Tensor, "samples N *d"], Float[Tensor, "samples N *d"]] | None = None,
) -> tuple[Float[Tensor, "samples N *d"], Float[Tensor, "samples N *d"]]:
    """Gradients of `collide` with respect to x and v, the pairs and the directions held constant.

    The directions are drawn a second time from a generator in the same state, instead of being stored.
    At V_r = 0 the gradient of V_r is taken as 0.

    Args:
        gradient: gradient g with respect to x* + dt·v'.
        v: velocities before the collisions.
        pairs: as in `collide`.
        generator: as in `collide`, in the state it had there.
        law: as in `collide`.
        dt: as in `collide`.
        update_position: as in `collide`.
        out: g and dt·g, the gradients without collisions, if they are known; become the results.
    """
    gradient_x, gradient_v = (gradient.clone(), gradient * dt) if out is None else out
    if len(pairs.sample) == 0:
        return gradient_x, gradient_v
    touched, slot_i, slot_j = _colliding_particles(pairs, *v.shape[:2])
    gradient_out, velocity, count = touched.of(gradient), touched.of(v), touched.collisions.to(v.dtype)

    # out_i holds (x_i + Σ X_cm) / (1 + k_i): each position counts once with its own weight, half with each partner's.
    weighted = gradient_out / (1 + count)[:, None]
    position_gradient = weighted.clone() if update_position else gradient_out.clone()
    velocity_gradient = gradient_out * dt
    for part, direction in _chunks(pairs, velocity, generator, law):
        first, second = slot_i[part], slot_j[part]
        on_change = dt * (gradient_out[first] - gradient_out[second])
        on_velocity = (-law.drift / 2) * on_change
        if direction is not None:
            # The gradient of V_r has no unit.
            apart, speed, _ = in_range(velocity[first] - velocity[second])
            speed, along = speed[:, None], (direction * on_change).sum(-1, keepdim=True)
            on_velocity += law.scatter * torch.where(speed > 0, along / speed, 0) * apart
        _add(velocity_gradient, first, second, on_velocity, -1)
        if update_position:
            on_centre = centre(weighted[first], weighted[second])
            _add(position_gradient, first, second, on_centre, 1)
    touched.put(gradient_x, position_gradient)
    touched.put(gradient_v, velocity_gradient)
    return gradient_x, gradient_v


class Touched(NamedTuple):
    """T particles of a batch, and how often each collides."""

    sample: Int[Tensor, "T"]
    particle: Int[Tensor, "T"]
    collisions: Int[Tensor, "T"]

    def of(self, points: Float[Tensor, "samples N *d"]) -> Float[Tensor, "T D"]:
        """A copy of their coordinates, all on one axis."""
        return points[self.sample, self.particle].flatten(1)

    def put(self, points: Float[Tensor, "samples N *d"], coordinates: Float[Tensor, "T D"]) -> None:
        """Gives them these coordinates, in place."""
        points[self.sample, self.particle] = coordinates.reshape(-1, *points.shape[2:])


@dataclass(frozen=True)
class Run:
    """Successive places, from `start` on, which are had without looking each of them up."""

    start: int

    def __getitem__(self, part: slice) -> slice:
        return slice(self.start + part.start, self.start + part.stop)


def _colliding_particles(
    pairs: Pairs, samples: int, particles: int
) -> tuple[Touched, Int[Tensor, "E"] | Run, Int[Tensor, "E"] | Run]:
    """The T particles that collide, and each pair's places among them."""
    sample, particle = torch.cat([pairs.sample, pairs.sample]), torch.cat([pairs.first, pairs.second])
    both = sample * particles + particle
    count = torch.bincount(both, minlength=samples * particles)
    if len(both) and int(count.max()) == 1:
        # Each has one partner: first all i, then all j.
        return Touched(sample, particle, torch.ones_like(both)), Run(0), Run(len(pairs.sample))
    touched = count.nonzero().flatten()
    slot_i, slot_j = ((count > 0).cumsum(0) - 1)[both].chunk(2)
    return Touched(touched // particles, touched % particles, count[touched]), slot_i, slot_j


def _add(
    total: Float[Tensor, "T d"],
    first: Int[Tensor, "E"] | slice,
    second: Int[Tensor, "E"] | slice,
    terms: Float[Tensor, "E d"],
    sign: int,
) -> None:
    """Adds the pairs' terms to their first particles and sign times them to the second, in place."""
    if isinstance(first, slice) or isinstance(second, slice):
        total[first].add_(terms)
        total[second].add_(terms, alpha=sign)
    else:
        total.index_add_(0, first, terms).index_add_(0, second, terms, alpha=sign)


def _chunks(
    pairs: Pairs, like: Float[Tensor, "T d"], generator: torch.Generator, law: Law
) -> Iterator[tuple[slice, Float[Tensor, "chunk d"] | None]]:
    """Successive runs of pairs with their directions, if the law has any."""
    dimension = like.shape[-1]
    length = max(1, CHUNK // max(1, dimension))
    for start in range(0, len(pairs.sample), length):
        part = slice(start, min(start + length, len(pairs.sample)))
        yield part, unit_vectors(part.stop - start, dimension, generator, like) if law.scatter else None


def extent(v: Float[Tensor, "samples N *d"]) -> tuple[int, Float[Tensor, ""]]:
    """How many particles there are, at least one, and √Σ|v|² over them."""
    # Over memory in its order: a norm over strided particles takes far longer.
    return max(1, v.shape[0] * v.shape[1]), torch.linalg.vector_norm(in_order(v))


def shares(
    particles: int,
    scale: Float[Tensor, ""],
    collisions: Float[Tensor, ""] | int,
    collided: int,
    momentum: Float[Tensor, ""],
    energy: Float[Tensor, ""],
) -> Float[Tensor, "4"]:
    """The statistics of `collide`; no drift is measured where Σ|v|² or its change leaves the range of the type.

    Args:
        particles: how many there are.
        scale: √Σ|v|² over all of them.
        collisions: Σ k_i.
        collided: how many have k_i > 0.
        momentum: |Σ(v' − v)|.
        energy: Σ|v'|² − Σ|v|².
    """
    square = scale.square()
    measured = (square > 0) & (square + energy).isfinite()
    return torch.stack(
        [
            torch.as_tensor(collisions / particles, dtype=scale.dtype, device=scale.device),
            scale.new_tensor(collided / particles),
            # |Σ(v' − v)| over √(size·Σ|v|²), which is Σ|v| for particles of equal speed
            torch.where(measured, momentum / (scale * particles**0.5), 0),
            torch.where(measured, energy / square, 0),
        ]
    )
