"""Which pairs collide: equation (4) by its threshold, or by a wished number of collisions per particle.

Distances of all pairs come from Gram matrices, |a_i − a_j|² = |a_i|² + |a_j|² − 2 a_i·a_j, for some samples and some
rows of their pairs at a time, so that memory stays O(N·d); positions and velocities are centred in each sample to keep
rounding small. That product only discards pairs: it errs by at most (d + 4)·ε·(|a_i|² + |a_j|²), and every pair that
could collide within this margin is decided by the norms of its differences. The selection is a constant for the
gradient.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kitipde.collisions.backends.scales import ordinary, unit_of
from kitipde.collisions.rules import Pairs, collision_rate, relative_distance, relative_speed

__all__ = ["even_roundings", "pairs_at_rate", "pairs_by_coefficient"]

# Rows of pairs, elements of the particles and pairs at work, and elements of gathered differences: enough to be worth
# a call, few enough for the caches.
ROWS = 128
PART = 1 << 20
CHUNK = 1 << 19


class Centred(NamedTuple):
    """Particles relative to their sample's mean, their squared lengths, and the samples without finite ones if any."""

    points: Float[Tensor, "part N d"]
    square: Float[Tensor, "part N"]
    broken: Bool[Tensor, "part"] | None


def pairs_by_coefficient(x: Float[Tensor, "samples N *d"], v: Float[Tensor, "samples N *d"], coll_coef: float) -> Pairs:
    """The pairs with V_r e^(−X_r) / max V_r > 1 − coll_coef, the maximum over the sample's pairs (equation 4).

    A sample with a non-finite particle, with one particle, or with all velocities equal has no pairs.
    """
    samples, particles = x.shape[:2]
    if coll_coef <= 0 or particles < 2 or samples == 0:
        return _no_pairs(x)
    return _joined([_beyond(x[part], v[part], 1 - coll_coef, part.start) for part in _parts(x)])


def even_roundings(start: Float[Tensor, "1"], samples: int) -> Float[Tensor, "samples"]:
    """Numbers r_i = start + i·(√5 − 1)/2 mod 1: ⌊a + r_i⌋ is a on average, and over a batch within a few pairs.

    Multiples of the golden section fill [0, 1) as evenly as any sequence does from its beginning on, and put neighbours
    far apart: where each point of a grid is a sample, not all points of a region collide together.

    Args:
        start: a random number, uniform in [0, 1); so is then each r.
        samples: how many.
    """
    return (start + torch.arange(samples, dtype=start.dtype, device=start.device) * ((5**0.5 - 1) / 2)).frac()


def pairs_at_rate(
    x: Float[Tensor, "samples N *d"], v: Float[Tensor, "samples N *d"], number: Int[Tensor, "samples"]
) -> Pairs:
    """In each sample the `number` of pairs with the largest V_r e^(−X_r); never a pair with V_r = 0.

    This is equation (4) with a threshold of its own in each sample: a quantile of V_r e^(−X_r).
    """
    samples, particles = x.shape[:2]
    most = min(int(number.max()) if samples else 0, particles * (particles - 1) // 2)
    if most <= 0:
        return _no_pairs(x)
    wanted = number.nonzero().flatten()
    if len(wanted) < samples:
        # Small samples have no collision to look for at a low rate, and all of them while a schedule dies out.
        pairs = pairs_at_rate(x.index_select(0, wanted), v.index_select(0, wanted), number[wanted])
        return pairs._replace(sample=wanted[pairs.sample])
    pairs = _joined([_best(x[part], v[part], most, part.start) for part in _parts(x)])
    score = _in_chunks(
        lambda b, i, j: relative_speed(*_ends(v, b, i, j)).log() - relative_distance(*_ends(x, b, i, j)), pairs, x
    )
    # By sample, and within it by falling score: two stable sorts.
    order = score.argsort(descending=True, stable=True)
    order = order[pairs.sample[order].argsort(stable=True)]
    sample = pairs.sample[order]
    rank = torch.arange(len(sample), device=x.device) - torch.searchsorted(sample, sample)
    keep = order[(rank < number[sample]) & (score[order] > -math.inf)]
    return Pairs(pairs.sample[keep], pairs.first[keep], pairs.second[keep])


def _beyond(x: Float[Tensor, "part N *d"], v: Float[Tensor, "part N *d"], threshold: float, start: int) -> Pairs:
    """The pairs of some samples whose collision rate is above a threshold; samples are numbered from `start` on."""
    position = _centred(x=x)
    # V_r ≤ max V_r, so that colliding particles are at most this far apart.
    reach = -math.log(threshold) if threshold > 0 else math.inf
    pairs = _joined([_near(position, rows, reach) for rows in _rows(x.shape[1])])
    if len(pairs.sample) == 0:
        return pairs
    velocity = _at_rest(_centred(v=v), position.broken)
    fastest = _fastest(velocity)
    rate = _in_chunks(
        lambda b, i, j: collision_rate(
            relative_distance(*_ends(position.points, b, i, j)),
            relative_speed(*_ends(velocity.points, b, i, j)),
            fastest[b],
        ),
        pairs,
        position.points,
    )
    keep = rate > threshold
    sample = pairs.sample[keep]
    # Each replica's random numbers follow the order of its samples.
    order = sample.argsort(stable=True)
    return Pairs(sample[order] + start, pairs.first[keep][order], pairs.second[keep][order])


def _near(position: Centred, rows: slice, reach: float) -> Pairs:
    """Pairs with i in these rows that are not certainly further apart than `reach`."""
    least = _least_squared_distances(position, rows)
    sample, row = (least.amin(dim=2) <= reach**2).nonzero(as_tuple=True)
    place, column = (least[sample, row] <= reach**2).nonzero(as_tuple=True)
    real = row[place] < column
    return Pairs(sample[place][real], row[place][real] + rows.start, column[real] + rows.start)


def _best(x: Float[Tensor, "part N *d"], v: Float[Tensor, "part N *d"], most: int, start: int) -> Pairs:
    """In each of some samples, numbered from `start` on, the `most` pairs with the largest scores and a few more.

    Rounding can swap neighbours in the order of scores from Gram matrices: exact ones decide among those found here.
    """
    # Each call on tensors of this size costs as much as what it does: hence positions and velocities in one.
    both = _centred(x=x, v=v)
    enough = most + max(2, most // 4)
    found = [_best_of_rows(both, rows, enough) for rows in _rows(x.shape[1])]
    if len(found) > 1:
        score, first, second = (torch.cat(column, dim=1) for column in zip(*found, strict=True))
        chosen = score.topk(min(enough, score.shape[1]), dim=1).indices
        first, second = first.gather(1, chosen), second.gather(1, chosen)
    else:
        _, first, second = found[0]
    sample = torch.arange(start, start + len(x), device=x.device)[:, None].expand_as(first)
    real = first < second
    if both.broken is not None:
        real &= ~both.broken.view(2, -1).any(dim=0)[:, None]
    return Pairs(sample[real], first[real], second[real])


def _best_of_rows(
    both: Centred, rows: slice, width: int
) -> tuple[Float[Tensor, "part width"], Int[Tensor, "part width"], Int[Tensor, "part width"]]:
    """The `width` pairs with i in these rows that have the largest ln V_r² − 2 X_r, up to rounding: score, i and j."""
    distance, score = _squared_distances(both, rows).clamp_min_(0).chunk(2)
    score.log_().sub_(distance.sqrt_(), alpha=2)
    count, columns = score.shape[1:]
    score[:, :, :count].masked_fill_(_below(score), -math.inf)
    row = None
    if 4 * width <= count:
        # The best pairs are in the rows that have the best pairs: far fewer to choose from.
        row = score.amax(dim=2).topk(width, dim=1).indices
        score = score.gather(1, row[:, :, None].expand(-1, -1, columns))
    best, place = score.flatten(1).topk(min(width, score[0].numel()), dim=1)
    first, second = place // columns, place % columns
    return best, (first if row is None else row.gather(1, first)) + rows.start, second + rows.start


def _fastest(velocity: Centred) -> Float[Tensor, "part"]:
    """max V_r of each sample: the Gram matrix says which pair, the norm of its difference how fast."""
    b = torch.arange(len(velocity.points), device=velocity.points.device)
    fastest = velocity.points.new_zeros(len(b))
    for rows in _rows(velocity.points.shape[1]):
        square = _squared_distances(velocity, rows, 1.0)
        row = square.amax(dim=2).argmax(dim=1)
        column = square[b, row].argmax(dim=1)
        fastest = torch.maximum(
            fastest, relative_speed(*_ends(velocity.points, b, row + rows.start, column + rows.start))
        )
    return fastest


def _centred(x: Float[Tensor, "part N *d"] | None = None, v: Float[Tensor, "part N *d"] | None = None) -> Centred:
    """Particles about their sample's mean, each one's coordinates together in memory: positions, velocities or both.

    Velocities are measured in the unit of their sample (`scales`). A sample with a non-finite particle, or with squares
    that overflow, is broken: its particles are all put at zero.
    """
    given = [each for each in (x, v) if each is not None]
    part, *shape = given[0].shape
    centred = given[0].new_empty(len(given) * part, *shape)
    for own, each in zip(centred.split(part), given, strict=True):
        torch.sub(each, each.mean(dim=1, keepdim=True), out=own)
    centred = centred.flatten(2)
    size = torch.linalg.vector_norm(centred, dim=2)
    if v is not None:
        _measure(centred[-part:], size[-part:])
    square = size.square_()
    if square.sum().isfinite():
        return Centred(centred, square, None)
    broken = ~square.amax(dim=1).isfinite()
    centred[broken] = 0
    square[broken] = 0
    return Centred(centred, square, broken)


def _measure(velocity: Float[Tensor, "part N d"], size: Float[Tensor, "part N"]) -> None:
    """Velocities and their sizes over the unit of their sample, in place."""
    largest, limit = size.amax(dim=1), ordinary(size.dtype)
    if not bool(((largest > 1 / limit) & (largest < limit)).all()):
        velocity /= unit_of(velocity)
        torch.linalg.vector_norm(velocity, dim=2, out=size)


def _at_rest(velocity: Centred, broken: Bool[Tensor, "part"] | None) -> Centred:
    """Velocities without those of samples with broken positions: equal velocities do not collide."""
    if broken is not None:
        velocity.points[broken] = 0
        velocity.square[broken] = 0
    return velocity


def _parts(x: Float[Tensor, "samples N *d"]) -> Iterator[slice]:
    """Runs of samples whose particles and tiles of pairs are in the caches together."""
    samples, particles = x.shape[:2]
    size = 2 * particles * (x[0, 0].numel() + min(ROWS, particles))
    together = max(1, PART // max(1, size))
    return (slice(start, min(start + together, samples)) for start in range(0, samples, together))


def _rows(particles: int) -> list[slice]:
    """Runs of particles i; with all partners j from a run's first particle on, they hold every pair i < j once."""
    return [slice(start, min(start + ROWS, particles)) for start in range(0, particles, ROWS)]


def _squared_distances(of: Centred, rows: slice, scale: float = 1.0) -> Float[Tensor, "part rows columns"]:
    """scale·(|a_i|² + |a_j|²) − 2 a_i·a_j for i in these rows and j from the first of them on."""
    square = of.square if scale == 1 else of.square * scale
    sizes = square[:, rows, None] + square[:, None, rows.start :]
    return sizes.baddbmm_(of.points[:, rows], of.points[:, rows.start :].transpose(1, 2), alpha=-2)


def _least_squared_distances(of: Centred, rows: slice) -> Float[Tensor, "part rows columns"]:
    """Lower bounds of |a_i − a_j|², whatever the rounding; infinite unless i < j."""
    margin = (of.points.shape[-1] + 4) * torch.finfo(of.points.dtype).eps
    least = _squared_distances(of, rows, 1 - margin)
    least[:, :, : least.shape[1]].masked_fill_(_below(least), math.inf)
    return least


def _below(tile: Float[Tensor, "part rows columns"]) -> Bool[Tensor, "rows rows"]:
    """Where i < j does not hold."""
    rows = tile.shape[1]
    return torch.ones(rows, rows, dtype=torch.bool, device=tile.device).tril_()


def _ends(points: Float[Tensor, "samples N *d"], b: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
    """The two particles of each pair, their coordinates on one axis."""
    return points[b, i].flatten(1), points[b, j].flatten(1)


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _no_pairs(like: Tensor) -> Pairs:
    none = torch.empty(0, dtype=torch.long, device=like.device)
    return Pairs(none, none, none)


def _in_chunks(
    function: Callable[[Tensor, Tensor, Tensor], Float[Tensor, "chunk"]],
    pairs: Pairs,
    of: Float[Tensor, "samples N *d"],
) -> Float[Tensor, "E"]:
    """function(sample, first, second) of all pairs, as many at a time as have `CHUNK` coordinates."""
    length = max(1, CHUNK // max(1, of[0, 0].numel()))
    return torch.cat([function(*part) for part in zip(*(column.split(length) for column in pairs), strict=True)])
