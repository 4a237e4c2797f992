"""Which pairs collide: equation (4) by its threshold, or by a wished number of collisions per particle.

All distances of a sample are first taken from Gram matrices, |a_i − a_j|² = |a_i|² + |a_j|² − 2 a_i·a_j, with
positions and velocities centred in each sample to keep rounding small. That product only discards pairs: it errs by
at most (d + 4)·ε·(|a_i|² + |a_j|²), and every pair within this margin is decided by the norm of its difference.
The selection is a constant for the gradient.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kitipde.collisions.operator import Pairs, collision_rate, relative_distance, relative_speed

__all__ = ["pairs_at_rate", "pairs_by_coefficient"]

# Elements of gathered pair differences held at once.
CHUNK = 1 << 20


def pairs_by_coefficient(x: Float[Tensor, "samples N d"], v: Float[Tensor, "samples N d"], coll_coef: float) -> Pairs:
    """The pairs with V_r e^(−X_r) / max V_r > 1 − coll_coef, the maximum over the sample's pairs (equation 4).

    A sample with a non-finite particle, with one particle, or with all velocities equal has no pairs.
    """
    samples, particles, dimension = x.shape
    if coll_coef <= 0 or particles < 2 or samples == 0:
        return _no_pairs(x)
    threshold = 1 - coll_coef
    reach = -math.log(threshold) if threshold > 0 else math.inf
    margin = (dimension + 4) * torch.finfo(x.dtype).eps
    speed, sizes = _squared_distances(v)
    fastest = speed.amax(dim=(1, 2), keepdim=True)
    candidate = speed >= threshold**2 * fastest - margin * sizes
    distance, sizes = _squared_distances(x)
    candidate &= distance <= reach**2 + margin * sizes
    candidate &= fastest.isfinite()
    sample, first, second = _listed(candidate.triu_(1))
    top = _exact_maximum(v, speed)
    chosen = [
        collision_rate(relative_distance(x[b, i], x[b, j]), relative_speed(v[b, i], v[b, j]), top[b]) > threshold
        for b, i, j in _in_chunks(sample, first, second, dimension)
    ]
    keep = torch.cat(chosen) if chosen else sample.bool()
    return Pairs(sample[keep], first[keep], second[keep])


def pairs_at_rate(
    x: Float[Tensor, "samples N d"], v: Float[Tensor, "samples N d"], number: Int[Tensor, "samples"]
) -> Pairs:
    """In each sample the `number` of pairs with the largest V_r e^(−X_r); never a pair with V_r = 0.

    This is equation (4) with a threshold of its own in each sample: a quantile of V_r e^(−X_r).
    """
    samples, particles, dimension = x.shape
    most = int(number.max()) if samples else 0
    if most <= 0 or particles < 2:
        return _no_pairs(x)
    score = _squared_distances(v)[0].log().mul_(0.5)
    score -= _squared_distances(x)[0].sqrt()
    upper = torch.ones(particles, particles, dtype=torch.bool, device=x.device).triu_(1)
    score.masked_fill_(~upper, -math.inf).nan_to_num_(nan=-math.inf, posinf=-math.inf)
    # Rounding can swap neighbours in the order: take some more, and order those by their exact distances.
    width = min(2 * most + 8, particles * (particles - 1) // 2)
    rough, flat = score.flatten(1).topk(width, dim=1)
    sample = torch.arange(samples, device=x.device)[:, None].expand_as(flat)
    first, second = flat // particles, flat % particles
    exact = torch.cat(
        [
            relative_speed(v[b, i], v[b, j]).log() - relative_distance(x[b, i], x[b, j])
            for b, i, j in _in_chunks(sample.flatten(), first.flatten(), second.flatten(), dimension)
        ]
    ).reshape_as(rough)
    exact = exact.masked_fill(rough == -math.inf, -math.inf).nan_to_num_(nan=-math.inf)
    order = exact.argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(width, device=x.device)
    keep = (rank < number[:, None]) & (exact.gather(1, order) > -math.inf)
    return Pairs(sample[keep], first.gather(1, order)[keep], second.gather(1, order)[keep])


def _squared_distances(
    points: Float[Tensor, "samples N d"],
) -> tuple[Float[Tensor, "samples N N"], Float[Tensor, "samples N N"]]:
    """|a_i − a_j|² of all pairs by one matrix product, and |a_i|² + |a_j|² after centring, which bounds its error."""
    centred = points - points.mean(dim=1, keepdim=True)
    square = centred.square().sum(dim=2)
    sizes = square[:, :, None] + square[:, None, :]
    distances = torch.baddbmm(sizes, centred, centred.transpose(1, 2), alpha=-2)
    return distances.clamp_min_(0), sizes


def _exact_maximum(v: Float[Tensor, "samples N d"], speed: Float[Tensor, "samples N N"]) -> Float[Tensor, "samples"]:
    """max V_r, as the norm of the difference of the fastest pair."""
    samples, particles, _ = v.shape
    flat = speed.flatten(1).argmax(dim=1)
    sample = torch.arange(samples, device=v.device)
    return relative_speed(v[sample, flat // particles], v[sample, flat % particles])


def _listed(chosen: Bool[Tensor, "samples N N"]) -> Pairs:
    return Pairs(*chosen.nonzero(as_tuple=True))


def _no_pairs(like: Tensor) -> Pairs:
    none = torch.empty(0, dtype=torch.long, device=like.device)
    return Pairs(none, none, none)


def _in_chunks(sample: Tensor, first: Tensor, second: Tensor, dimension: int):
    length = max(1, CHUNK // max(1, dimension))
    return zip(sample.split(length), first.split(length), second.split(length), strict=True)
