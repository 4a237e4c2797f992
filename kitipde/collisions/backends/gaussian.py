"""Collisions as matrix products, with the sum of the random directions drawn from its normal limit.

With the acceptance matrix a (a_ij = 1 if i and j collide) the sums of equation (5) need no list of pairs:

    Σ_j drift·(V_cm − v_i) = drift·(a v − k v)/2,       x* = ((1 + k/2) x + a x/2) / (1 + k)

The random part ξ_i = Σ_j s V_r n_ij, n_ji = −n_ij, has mean zero and covariance Λ/d in each coordinate, with Λ the
Laplacian of the graph of collisions with weights w_ij = a_ij (s V_r)². `noise: gaussian` draws ξ = L z, L Lᵀ = Λ/d, z
standard normal: one Cholesky factor of N×N instead of d numbers for every pair.

In what sense this is the exact law: mean, covariance over particles and coordinates, conservation of momentum and the
mean of the energy agree in every dimension. Fourth moments of a coordinate agree to 2/(d + 2) for a particle's only
collision and better for many; the speed after one collision is fixed in the exact law and fluctuates by 1/√(2d) here.
From d = 64 on, samples of ten thousand do not tell the coordinates apart.

The gradient of the amplitude V_r is the exact law's, averaged over all directions with the same ξ: with y = Λ⁺ξ,
E[n_ij | ξ] = s V_r (y_i − y_j), hence ∂/∂v_i = s² Σ_j a_ij ((y_i − y_j)·(g_i − g_j)) (v_i − v_j). It has the same
expectation as that of pair by pair directions and a smaller variance, and does not divide by V_r.

Shapes are fixed and nothing goes to the host, but memory is O(N²) for each sample.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kitipde.collisions.backends.counter_rng import ROUNDING, normal_like, uniform
from kitipde.collisions.backends.precision import gram, product, solve_upper
from kitipde.collisions.backends.scales import unit_of
from kitipde.collisions.pairs import even_roundings
from kitipde.collisions.rules import LAWS, Law

__all__ = ["acceptance", "collided_by_matrices", "laplacian_noise", "statistics", "thresholds"]


def collided_by_matrices(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    law: str,
    by_rate: bool,
    dt: float,
    update_position: bool,
    most: int,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "4"]]:
    """x* + dt·v' with normal noise, and the statistics of the collisions.

    Args:
        x: positions.
        v: velocities.
        key: seed of this call's random numbers.
        strength: coll_coef, or collisions per particle.
        law: `kiti` or `kiti-published`.
        by_rate: which of the two `strength` is.
        dt: time step.
        update_position: False keeps x* = x.
        most: the largest number of collisions per particle that a schedule asks for; used with `by_rate`.
    """
    plain = torch.add(x, v, alpha=dt)
    if x.shape[1] < 2 or x.numel() == 0:
        return plain, x.new_zeros(4)
    accepted, sound = acceptance(x.detach(), v.detach(), key ^ ROUNDING, strength, by_rate, most)
    # Zero times a value that is not finite is no zero: such samples take no part.
    position, velocity = torch.where(sound, x, 0), torch.where(sound, v, 0)
    change = velocity_sums(velocity, accepted, LAWS[law], key)
    count = accepted.sum(dim=2, keepdim=True)
    start = (
        (position + (count * position + product(accepted, position)) / 2) / (1 + count) if update_position else position
    )
    collided = torch.where(count > 0, torch.add(start, velocity + change, alpha=dt), plain)
    return torch.where(sound, collided, plain), statistics(velocity, change, count)


def velocity_sums(
    v: Float[Tensor, "samples N d"], accepted: Float[Tensor, "samples N N"], law: Law, key: Int[Tensor, ""]
) -> Float[Tensor, "samples N d"]:
    """Σ_j Δv_ij: the pull to the centres of mass, and the noise."""
    pull = law.drift / 2 * (product(accepted, v) - accepted.sum(dim=2, keepdim=True) * v)
    return pull + laplacian_noise(v, accepted, normal_like(key, v), law.scatter) if law.scatter else pull


def acceptance(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    by_rate: bool,
    most: int,
) -> tuple[Float[Tensor, "samples N N"], Bool[Tensor, "samples 1 1"]]:
    """The acceptance matrix of equation (4), without copying anything to the host.

    Distances are those of Gram matrices; unlike `selection` no pair is checked again, so that pairs within rounding of
    the threshold may fall on the other side. A relative speed within rounding of zero is taken as zero.
    """
    score, sound = _scores(x, v)
    upper = score > _thresholds(score, key, strength, by_rate, most)[:, None, None]
    return (upper | upper.mT).to(x.dtype), sound


def thresholds(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    by_rate: bool,
    most: int,
) -> Float[Tensor, "samples"]:
    """What ln(V_r / max V_r) − X_r has to exceed in each sample: ln(1 − coll_coef), or a quantile."""
    if not by_rate:
        return torch.log1p(-strength.to(x.dtype)).expand(len(x)).contiguous()
    return _thresholds(_scores(x, v)[0], key, strength, by_rate, most)


def laplacian_noise(
    v: Float[Tensor, "samples N d"],
    accepted: Float[Tensor, "samples N N"],
    normal: Float[Tensor, "samples N d"],
    scatter: float,
) -> Float[Tensor, "samples N d"]:
    """ξ with covariance Λ/d in each coordinate, Λ the Laplacian of the weights a_ij (scatter·V_r)².

    Args:
        v: velocities.
        accepted: symmetric acceptance matrix of zeros and ones.
        normal: standard normal numbers z.
        scatter: s, what V_r is multiplied by.
    """
    return _LaplacianNoise.apply(v, accepted, normal, scatter)[0]  # pyright: ignore[reportReturnType, reportIndexIssue, reportOptionalSubscript]


class _LaplacianNoise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v, accepted, normal, scatter):
        colliding, unit = accepted.amax(dim=2, keepdim=True), unit_of(v)
        factor = _factor(scatter**2 * accepted * _squared_distances(v / unit)[0], colliding)
        noise = colliding * product(factor, normal)
        mean = noise.sum(1, keepdim=True) / colliding.sum(1, keepdim=True).clamp_min(1)
        return (noise - colliding * mean) / v.shape[2] ** 0.5 * unit, factor

    @staticmethod
    def setup_context(ctx, inputs, output):
        v, accepted, normal, scatter = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(v, accepted, normal, output[1])
        ctx.scatter = scatter

    @staticmethod
    def backward(ctx, gradient, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        v, accepted, normal, factor = ctx.saved_tensors
        # In the unit of the factor; the gradient has none.
        v = v / unit_of(v)
        potential = solve_upper(factor.mT, normal) / v.shape[2] ** 0.5
        along = product(potential, gradient.mT)
        own = along.diagonal(dim1=1, dim2=2)
        weight = ctx.scatter**2 * accepted * (own[:, :, None] + own[:, None, :] - along - along.mT)
        return weight.sum(2, keepdim=True) * v - product(weight, v), None, None, None


def _factor(
    weights: Float[Tensor, "samples N N"], colliding: Float[Tensor, "samples N 1"]
) -> Float[Tensor, "samples N N"]:
    """Cholesky factor of the Laplacian, made positive where it is singular.

    It is singular along constants, which are added here and taken out of the noise; along constants on each of several
    connected parts, where a small multiple of the unit matrix is added; and at particles that do not collide.
    """
    size = weights.shape[2]
    degree = weights.sum(2)
    scale = degree.amax(1)[:, None]
    scale = torch.where(scale > 0, scale, 1)
    jitter = 10 * size**0.5 * torch.finfo(weights.dtype).eps
    diagonal = degree + jitter * scale + (1 - colliding[..., 0]) * scale
    constant = colliding * scale[..., None] / colliding.sum(1, keepdim=True).clamp_min(1)
    factor, failed = torch.linalg.cholesky_ex(constant * colliding.mT - weights + torch.diag_embed(diagonal))
    return torch.where((failed > 0)[:, None, None], torch.diag_embed(diagonal.sqrt()), factor)


def _squared_distances(
    points: Float[Tensor, "samples N d"],
) -> tuple[Float[Tensor, "samples N N"], Float[Tensor, "samples N N"]]:
    """|a_i − a_j|² of all pairs, and below what value it cannot be told from zero."""
    centred = points - points.mean(1, keepdim=True)
    square = centred.square().sum(2)
    sizes = square[:, :, None] + square[:, None, :]
    rounding = (points.shape[2] + 4) * torch.finfo(points.dtype).eps
    return (sizes - 2 * gram(centred)).clamp_min(0), rounding * sizes


def _scores(
    x: Float[Tensor, "samples N d"], v: Float[Tensor, "samples N d"]
) -> tuple[Float[Tensor, "samples N N"], Bool[Tensor, "samples 1 1"]]:
    """ln(V_r / max V_r) − X_r above the diagonal and −∞ elsewhere, and which samples are finite."""
    speed, least = _squared_distances(v / unit_of(v))
    distance, _ = _squared_distances(x)
    sound = (speed.sum((1, 2), keepdim=True) + distance.sum((1, 2), keepdim=True)).isfinite()
    above = torch.triu(torch.ones_like(speed[0], dtype=torch.bool), diagonal=1)
    moving = (speed > least) & above & sound
    speed = torch.where(moving, speed, 0)
    fastest = speed.amax((1, 2), keepdim=True)
    return torch.where(moving, (speed / fastest).log() / 2 - distance.sqrt(), -torch.inf), sound


def _thresholds(
    score: Float[Tensor, "samples N N"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    by_rate: bool,
    most: int,
) -> Float[Tensor, "samples"]:
    """With a rate: between the last score of rate·N/2 pairs and the next, a fraction rounded up or down at random."""
    if not by_rate:
        return torch.log1p(-strength.to(score.dtype)).expand(len(score))
    samples, particles, _ = score.shape
    largest = min(most, particles * (particles - 1) // 2)
    highest = score.flatten(1).topk(largest + 1, dim=1).values
    wished = strength * particles / 2 + even_roundings(uniform(key, 1, torch.float64), samples)
    number = wished.long().clamp_max(largest)[:, None]
    between = (highest.gather(1, (number - 1).clamp_min(0)) + highest.gather(1, number)) / 2
    return torch.where(number > 0, between, torch.inf)[:, 0]


def statistics(
    v: Float[Tensor, "samples N d"], change: Float[Tensor, "samples N d"], count: Float[Tensor, "samples N 1"]
) -> Float[Tensor, "4"]:
    """What collisions did, as in `operator.shares`, from Σ Δv and k of all particles."""
    v, change = v.detach(), change.detach()
    energy = v.square().sum()
    momentum = torch.linalg.vector_norm(change.sum((0, 1)))
    gained = (change * (2 * v + change)).sum()
    scale, measured = (energy * v.shape[0] * v.shape[1]).sqrt(), (energy > 0) & (energy + gained).isfinite()
    return torch.stack(
        [
            # collisions per particle, share that collides, momentum and energy gained
            count.mean(),
            (count > 0).to(v.dtype).mean(),
            torch.where(measured, momentum / scale, 0),
            torch.where(measured, gained / energy, 0),
        ]
    )
