"""Which pairs collide: equation (4) by its threshold, or by a wished number of collisions per particle.

Distances of all pairs come from Gram matrices, |a_i − a_j|² = |a_i|² + |a_j|² − 2 a_i·a_j, tile by tile, so that
memory stays O(N·d); positions and velocities are centred in each sample to keep rounding small. That product only
discards pairs: it errs by at most (d + 4)·ε·(|a_i|² + |a_j|²), and every pair that could collide within this margin is
decided by the norms of its differences. As V_r ≤ max V_r, distances alone discard most pairs, and relative speeds are
needed for the others only. The selection is a constant for the gradient.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kitipde.collisions.operator import Pairs, collision_rate, relative_distance, relative_speed

__all__ = ["even_roundings", "pairs_at_rate", "pairs_by_coefficient"]

# Rows of a tile, elements of a tile of distances, and elements of gathered differences: what caches hold.
ROWS = 64
TILE = 1 << 17
CHUNK = 1 << 19


class Tile(NamedTuple):
    """Some samples' pairs (i, j), i in `rows`, j from the first row on."""

    samples: slice
    rows: slice


class Centred(NamedTuple):
    """Particles relative to their sample's mean, their squared lengths, and the samples that have no finite ones."""

    points: Float[Tensor, "samples N d"]
    square: Float[Tensor, "samples N"]
    broken: Bool[Tensor, "samples"]


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
    pairs = _joined([_near(position, tile, reach) for tile in _tiles(samples, particles)], x)
    if len(pairs.sample) == 0:
        return pairs
    velocity = _at_rest_where_broken(_centred(v), position)
    fastest = _fastest(velocity)
    rate = _in_chunks(
        lambda b, i, j: collision_rate(
            relative_distance(position.points[b, i], position.points[b, j]),
            relative_speed(velocity.points[b, i], velocity.points[b, j]),
            fastest[b],
        ),
        pairs,
        dimension,
    )
    return _ordered(pairs, rate > threshold)


def even_roundings(start: Float[Tensor, "1"], samples: int) -> Float[Tensor, "samples"]:
    """Numbers r in [0, 1): ⌊a + r⌋ is a on average, and over the batch as nearly as whole numbers can be.

    Args:
        start: a random number, uniform in [0, 1); so is then each r, and together they are evenly spread.
        samples: how many.
    """
    return (start + torch.arange(samples, dtype=start.dtype, device=start.device) / max(1, samples)) % 1


def pairs_at_rate(
    x: Float[Tensor, "samples N d"], v: Float[Tensor, "samples N d"], number: Int[Tensor, "samples"]
) -> Pairs:
    """In each sample the `number` of pairs with the largest V_r e^(−X_r); never a pair with V_r = 0.

    This is equation (4) with a threshold of its own in each sample: a quantile of V_r e^(−X_r).
    """
    samples, particles, _ = x.shape
    most = min(int(number.max()) if samples else 0, particles * (particles - 1) // 2)
    if most <= 0:
        return _no_pairs(x)
    wanted = number.nonzero().flatten()
    if 2 * len(wanted) < samples:
        # Tokens have few particles, so at a low rate most of them have no collision to look for.
        pairs = pairs_at_rate(x[wanted], v[wanted], number[wanted])
        return pairs._replace(sample=wanted[pairs.sample])
    position = _centred(x)
    velocity = _at_rest_where_broken(_centred(v), position)
    record = x.new_full((samples, most), -math.inf)
    found = [_promising(position, velocity, tile, record) for tile in _tiles(samples, particles)]
    pairs = _joined(found, x)
    score = _scores(position, velocity, pairs)
    # By sample, and within it by falling score: two stable sorts.
    order = score.argsort(descending=True, stable=True)
    order = order[pairs.sample[order].argsort(stable=True)]
    sample = pairs.sample[order]
    rank = torch.arange(len(sample), device=x.device) - torch.searchsorted(sample, sample)
    keep = order[(rank < number[sample]) & (score[order] > -math.inf)]
    return Pairs(pairs.sample[keep], pairs.first[keep], pairs.second[keep])


def _near(position: Centred, tile: Tile, reach: float) -> Pairs:
    """Pairs of a tile that are not certainly further apart than `reach`."""
    least = _least_squared_distances(position, tile)
    hot = least.amin(dim=2) <= reach**2
    return _marked(least, hot, least.new_full(least.shape[:1], reach**2), tile)


def _promising(position: Centred, velocity: Centred, tile: Tile, record: Float[Tensor, "samples most"]) -> Pairs:
    """Pairs of a tile that may be among the `most` with the largest score in their sample.

    Args:
        position: positions.
        velocity: velocities.
        tile: where to look.
        record: the best scores found so far in each sample, falling; improved in place. NaN: distances do not decide.
    """
    least = _least_squared_distances(position, tile)
    nearest = least.amin(dim=2)
    best = record[tile.samples]
    most, rows = best.shape[1], nearest.shape[1]
    # Rounding can swap neighbours in the order of scores: take some more, exact scores decide.
    enough = most + max(2, most // 4)
    if 4 * most > rows or best[:, -1].isnan().any():
        return _best(least, velocity, tile, enough)
    # The nearest neighbours of the rows that have the nearest ones: probably good pairs, and quickly found.
    row = nearest.topk(most, dim=1, largest=False).indices
    b = torch.arange(len(row), device=row.device)[:, None].expand_as(row)
    column = least[b, row].argmin(dim=2)
    start = tile.rows.start
    tried = Pairs((b + tile.samples.start).flatten(), (row + start).flatten(), (column + start).flatten())
    score = _scores(position, velocity, tried).reshape(row.shape)
    best.copy_(torch.cat([best, score], dim=1).topk(most, dim=1).values)
    # No pair is faster than twice the particle that is furthest from the mean velocity, so that only pairs nearer than
    # this can have a better score than the last of the record.
    fastest = velocity.square[tile.samples].amax(dim=1).mul(4).log() / 2
    reach = (fastest - best[:, -1]).clamp_min(0).square()
    hot = nearest <= reach[:, None]
    if int(hot.sum()) > hot.numel() // 4:
        # Near particles are slow relative to one another: do not try again with these samples.
        best.fill_(math.nan)
        return _best(least, velocity, tile, enough)
    return _marked(least, hot, reach, tile)


def _best(least: Float[Tensor, "part rows columns"], velocity: Centred, tile: Tile, width: int) -> Pairs:
    """In each sample of a tile the `width` pairs with the largest ½ ln V_r² − X_r, up to rounding."""
    score = _squared_distances(velocity, tile, 1.0).clamp_min_(0).log_()
    score.sub_(least.clamp_min(0).sqrt_(), alpha=2)
    flat = score.flatten(1).topk(min(width, score[0].numel()), dim=1).indices
    sample = torch.arange(len(flat), device=flat.device)[:, None].expand_as(flat).flatten()
    return _real(sample, flat.flatten() // score.shape[2], flat.flatten() % score.shape[2], tile)


def _scores(position: Centred, velocity: Centred, pairs: Pairs) -> Float[Tensor, "E"]:
    """ln V_r − X_r of these pairs; −∞ for V_r = 0."""
    return _in_chunks(
        lambda b, i, j: (
            relative_speed(velocity.points[b, i], velocity.points[b, j]).log()
            - relative_distance(position.points[b, i], position.points[b, j])
        ),
        pairs,
        position.points.shape[-1],
    )


def _fastest(velocity: Centred) -> Float[Tensor, "samples"]:
    """max V_r of each sample: the Gram matrix says which pair, the norm of its difference how fast."""
    samples, particles, _ = velocity.points.shape
    fastest = velocity.points.new_zeros(samples)
    index = torch.arange(samples, device=fastest.device)
    for tile in _tiles(samples, particles):
        square = _squared_distances(velocity, tile, 1.0)
        row = square.amax(dim=2).argmax(dim=1)
        b = index[tile.samples]
        column = square[b - tile.samples.start, row].argmax(dim=1)
        start = tile.rows.start
        speed = relative_speed(velocity.points[b, row + start], velocity.points[b, column + start])
        fastest[tile.samples] = torch.maximum(fastest[tile.samples], speed)
    return fastest


def _centred(points: Float[Tensor, "samples N d"]) -> Centred:
    """Particles about their mean, each one's coordinates together in memory.

    A sample with a non-finite particle, or with squares that overflow, is broken: its particles are all put at zero.
    """
    centred = torch.empty(points.shape, dtype=points.dtype, device=points.device)
    torch.sub(points, points.mean(dim=1, keepdim=True), out=centred)
    square = torch.linalg.vector_norm(centred, dim=2).square_()
    broken = ~square.amax(dim=1).isfinite()
    _clear(centred, square, broken)
    return Centred(centred, square, broken)


def _at_rest_where_broken(velocity: Centred, position: Centred) -> Centred:
    """Velocities without those of samples with broken positions: equal velocities do not collide."""
    _clear(velocity.points, velocity.square, position.broken)
    return velocity


def _clear(points: Tensor, square: Tensor, broken: Bool[Tensor, "samples"]) -> None:
    if broken.any():
        points[broken] = 0
        square[broken] = 0


def _tiles(samples: int, particles: int) -> Iterator[Tile]:
    """Tiles that hold every pair i < j of every sample once; those of the same samples follow one another."""
    rows = min(ROWS, particles)
    together = max(1, TILE // (rows * particles))
    for sample in range(0, samples, together):
        for row in range(0, particles, rows):
            yield Tile(slice(sample, min(sample + together, samples)), slice(row, min(row + rows, particles)))


def _squared_distances(of: Centred, tile: Tile, scale: float) -> Float[Tensor, "part rows columns"]:
    """scale·(|a_i|² + |a_j|²) − 2 a_i·a_j over a tile."""
    columns = slice(tile.rows.start, None)
    square = of.square[tile.samples] * scale
    sizes = square[:, tile.rows, None] + square[:, None, columns]
    left = of.points[tile.samples, tile.rows]
    return sizes.baddbmm_(left, of.points[tile.samples, columns].transpose(1, 2), alpha=-2)


def _least_squared_distances(of: Centred, tile: Tile) -> Float[Tensor, "part rows columns"]:
    """Lower bounds of |a_i − a_j|², whatever the rounding; infinite unless i < j."""
    margin = (of.points.shape[-1] + 4) * torch.finfo(of.points.dtype).eps
    least = _squared_distances(of, tile, 1 - margin)
    rows = least.shape[1]
    below = torch.ones(rows, rows, dtype=torch.bool, device=least.device).tril_()
    least[:, :, :rows].masked_fill_(below, math.inf)
    return least


def _marked(
    least: Float[Tensor, "part rows columns"],
    hot: Bool[Tensor, "part rows"],
    reach: Float[Tensor, "part"],
    tile: Tile,
) -> Pairs:
    """The pairs of the hot rows whose squared distance may be within reach."""
    sample, row = hot.nonzero(as_tuple=True)
    place, column = (least[sample, row] <= reach[sample, None]).nonzero(as_tuple=True)
    return _real(sample[place], row[place], column, tile)


def _real(sample: Tensor, row: Tensor, column: Tensor, tile: Tile) -> Pairs:
    """Pairs i < j of a tile, numbered as in the whole batch."""
    real = row < column
    start = tile.rows.start
    return Pairs(sample[real] + tile.samples.start, row[real] + start, column[real] + start)


def _joined(parts: list[Pairs], like: Tensor) -> Pairs:
    return Pairs(*(torch.cat(columns) for columns in zip(*parts, strict=True))) if parts else _no_pairs(like)


def _ordered(pairs: Pairs, keep: Bool[Tensor, "E"]) -> Pairs:
    """The kept pairs in the order of their samples, which each replica's random numbers follow."""
    sample = pairs.sample[keep]
    order = sample.argsort(stable=True)
    return Pairs(sample[order], pairs.first[keep][order], pairs.second[keep][order])


def _no_pairs(like: Tensor) -> Pairs:
    none = torch.empty(0, dtype=torch.long, device=like.device)
    return Pairs(none, none, none)


def _in_chunks(
    function: Callable[[Tensor, Tensor, Tensor], Float[Tensor, "part"]], pairs: Pairs, dimension: int
) -> Float[Tensor, "E"]:
    """function(sample, first, second) of all pairs, a part at a time."""
    length = max(1, CHUNK // max(1, dimension))
    return torch.cat([function(*part) for part in zip(*(column.split(length) for column in pairs), strict=True)])
