"""Which pairs collide: equation (4) by its threshold, or by a wished number of collisions per particle.

Distances of all pairs come from Gram matrices, |a_i − a_j|² = |a_i|² + |a_j|² − 2 a_i·a_j, tile by tile, so that
memory stays O(N·d); positions and velocities are centred in each sample to keep rounding small. That product only
discards pairs: it errs by at most (d + 4)·ε·(|a_i|² + |a_j|²), and every pair that could collide within this margin is
decided by the norms of its differences. The selection is a constant for the gradient.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.operator import Pairs, collision_rate, relative_distance, relative_speed

__all__ = ["pairs_at_rate", "pairs_by_coefficient"]

# Rows of a tile, elements of a tile of distances, and elements of gathered differences: what caches hold.
ROWS = 64
TILE = 1 << 17
CHUNK = 1 << 19


class Tile(NamedTuple):
    """Some samples' pairs (i, j), i in `rows`, j from the first row on."""

    samples: slice
    rows: slice


class Centred(NamedTuple):
    """Particles relative to their sample's mean, and their squared lengths."""

    points: Float[Tensor, "samples N d"]
    square: Float[Tensor, "samples N"]


def pairs_by_coefficient(x: Float[Tensor, "samples N d"], v: Float[Tensor, "samples N d"], coll_coef: float) -> Pairs:
    """The pairs with V_r e^(−X_r) / max V_r > 1 − coll_coef, the maximum over the sample's pairs (equation 4).

    A sample with a non-finite particle, with one particle, or with all velocities equal has no pairs.
    """
    samples, particles, dimension = x.shape
    if coll_coef <= 0 or particles < 2 or samples == 0:
        return _no_pairs(x)
    threshold = 1 - coll_coef
    # V_r ≤ max V_r, so that colliding particles are at most this far apart.
    reach = -math.log(threshold) if threshold > 0 else math.inf
    position = _centred(x)
    near = [_near(position, tile, reach) for tile in _tiles(samples, particles)]
    sample, first, second = _joined(near, x)
    if len(sample) == 0:
        return _no_pairs(x)
    fastest = _fastest(v)
    rate = _in_chunks(
        lambda b, i, j: collision_rate(
            relative_distance(x[b, i], x[b, j]), relative_speed(v[b, i], v[b, j]), fastest[b]
        ),
        Pairs(sample, first, second),
        dimension,
    )
    return _ordered(sample, first, second, rate > threshold)


def pairs_at_rate(
    x: Float[Tensor, "samples N d"], v: Float[Tensor, "samples N d"], number: Int[Tensor, "samples"]
) -> Pairs:
    """In each sample the `number` of pairs with the largest V_r e^(−X_r); never a pair with V_r = 0.

    This is equation (4) with a threshold of its own in each sample: a quantile of V_r e^(−X_r).
    """
    samples, particles, dimension = x.shape
    most = min(int(number.max()) if samples else 0, particles * (particles - 1) // 2)
    if most <= 0:
        return _no_pairs(x)
    # Rounding can swap neighbours in the order: take some more, and order those by their exact distances.
    width = 2 * most + 8
    position, velocity = _centred(x), _centred(v)
    best = [_best(position, velocity, tile, width) for tile in _tiles(samples, particles)]
    sample, first, second = _joined(best, x)
    score = _in_chunks(
        lambda b, i, j: relative_speed(v[b, i], v[b, j]).log() - relative_distance(x[b, i], x[b, j]),
        Pairs(sample, first, second),
        dimension,
    )
    score = score.nan_to_num_(nan=-math.inf, posinf=-math.inf)
    # By sample, and within it by falling score: two stable sorts.
    order = score.argsort(descending=True, stable=True)
    order = order[sample[order].argsort(stable=True)]
    sample, first, second, score = sample[order], first[order], second[order], score[order]
    start = torch.searchsorted(sample, torch.arange(samples, device=x.device))
    rank = torch.arange(len(sample), device=x.device) - start[sample]
    return _ordered(sample, first, second, (rank < number[sample]) & (score > -math.inf))


def _near(position: Centred, tile: Tile, reach: float) -> Pairs:
    """Pairs of a tile that are not certainly further apart than `reach`."""
    margin = (position.points.shape[-1] + 4) * torch.finfo(position.points.dtype).eps
    least = _squared_distances(position, tile, scale=1 - margin)
    return _listed(least <= reach**2, tile)


def _best(position: Centred, velocity: Centred, tile: Tile, width: int) -> Pairs:
    """In each sample of a tile the pairs with the largest ½ ln V_r² − X_r, up to rounding."""
    score = _squared_distances(velocity, tile).clamp_min_(0).log_().mul_(0.5)
    score -= _squared_distances(position, tile).clamp_min_(0).sqrt_()
    above = torch.ones(score.shape[1:], dtype=torch.bool, device=score.device).triu_(1)
    score.masked_fill_(~above, -math.inf).nan_to_num_(nan=-math.inf)
    columns = score.shape[2]
    _, flat = score.flatten(1).topk(min(width, score[0].numel()), dim=1)
    sample = torch.arange(len(flat), device=flat.device)[:, None].expand_as(flat).flatten()
    first, second = flat.flatten() // columns, flat.flatten() % columns
    real = first < second
    start = tile.rows.start
    return Pairs(sample[real] + tile.samples.start, first[real] + start, second[real] + start)


def _fastest(v: Float[Tensor, "samples N d"]) -> Float[Tensor, "samples"]:
    """max V_r of each sample: the Gram matrix says which pair, the norm of its difference how fast."""
    samples, particles, _ = v.shape
    velocity = _centred(v)
    fastest = v.new_zeros(samples)
    for tile in _tiles(samples, particles):
        square = _squared_distances(velocity, tile)
        flat = square.flatten(1).argmax(dim=1)
        b = torch.arange(samples, device=v.device)[tile.samples]
        i, j = flat // square.shape[2] + tile.rows.start, flat % square.shape[2] + tile.rows.start
        fastest[tile.samples] = torch.maximum(fastest[tile.samples], relative_speed(v[b, i], v[b, j]))
    return fastest


def _centred(points: Float[Tensor, "samples N d"]) -> Centred:
    centred = points - points.mean(dim=1, keepdim=True)
    return Centred(centred, torch.linalg.vector_norm(centred, dim=2).square_())


def _tiles(samples: int, particles: int) -> Iterator[Tile]:
    """Tiles that hold every pair i < j of every sample once."""
    rows = min(ROWS, particles)
    together = max(1, TILE // (rows * particles))
    for sample in range(0, samples, together):
        for row in range(0, particles, rows):
            yield Tile(slice(sample, min(sample + together, samples)), slice(row, min(row + rows, particles)))


def _squared_distances(of: Centred, tile: Tile, scale: float = 1.0) -> Float[Tensor, "part rows columns"]:
    """scale·(|a_i|² + |a_j|²) − 2 a_i·a_j over a tile; scale < 1 gives a lower bound in spite of rounding."""
    columns = slice(tile.rows.start, None)
    square = of.square[tile.samples] * scale
    sizes = square[:, tile.rows, None] + square[:, None, columns]
    left = of.points[tile.samples, tile.rows]
    return sizes.baddbmm_(left, of.points[tile.samples, columns].transpose(1, 2), alpha=-2)


def _listed(chosen: Tensor, tile: Tile) -> Pairs:
    """The pairs i < j that are marked in a tile."""
    sample, first, second = chosen.nonzero(as_tuple=True)
    if len(sample) == 0:
        return Pairs(sample, first, second)
    real = first < second
    start = tile.rows.start
    return Pairs(sample[real] + tile.samples.start, first[real] + start, second[real] + start)


def _joined(parts: list[Pairs], like: Tensor) -> Pairs:
    filled = [part for part in parts if len(part.sample)]
    return Pairs(*(torch.cat(columns) for columns in zip(*filled, strict=True))) if filled else _no_pairs(like)


def _ordered(sample: Tensor, first: Tensor, second: Tensor, keep: Tensor) -> Pairs:
    """The kept pairs in the order of their samples, which each replica's random numbers follow."""
    sample, first, second = sample[keep], first[keep], second[keep]
    order = sample.argsort(stable=True)
    return Pairs(sample[order], first[order], second[order])


def _no_pairs(like: Tensor) -> Pairs:
    none = torch.empty(0, dtype=torch.long, device=like.device)
    return Pairs(none, none, none)


def _in_chunks(
    function: Callable[[Tensor, Tensor, Tensor], Float[Tensor, "part"]], pairs: Pairs, dimension: int
) -> Float[Tensor, "E"]:
    """function(sample, first, second) of all pairs, a part at a time."""
    length = max(1, CHUNK // max(1, dimension))
    return torch.cat([function(*part) for part in zip(*(column.split(length) for column in pairs), strict=True)])
