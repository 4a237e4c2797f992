"""Equations (2)-(5) in kernels of their own for GPUs (Triton).

Each program owns a block of particles i of one sample and runs over the blocks of their partners j. Distances and
acceptance are computed anew from x and v in every kernel; tiles without a colliding pair are left at once. Directions
come from a counter-based generator (Philox) with the seed of the call as its key. Its counter is the sample's place
among those of this seed, the pair and the coordinate: both partners, the forward pass and the backward pass draw the
same n_ij without storing it, and a seed has the same ones whether or not others are trained beside it. Memory is
O(N·d), shapes are fixed, and nothing goes to the host: seed, threshold and max V_r are read from tensors, so that CUDA
graphs replay with fresh numbers.

Each tensor is addressed by strides of its own, so that views of any kind need no copy, and in 64 bits. Kernels add up
in tensors that nobody else holds.

Selecting by rate needs the scores of all pairs, N² numbers for each sample, once.

This module needs Triton, which torch brings along on Linux for CUDA.
"""

# Triton's language is typed for its own compiler: what a kernel is given are tensors, whatever its signature says.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.collision import Rule, in_front
from kitipde.collisions.laplacian import statistics, thresholds
from kitipde.collisions.noise import ROUNDING
from kitipde.collisions.operator import LAWS
from kitipde.collisions.scales import ordinary

__all__ = ["fused_collide", "fused_collide_adjoint", "fused_collided", "fused_speeds"]

# Particles of a block. Small: few pairs collide, and a tile is computed as a whole if one does.
BLOCK = 16


@triton.jit
def _first(tensor, strides, sample, particles):
    """Where the first coordinates of some particles of a sample are; the others follow at strides[2]."""
    return tensor + sample.to(tl.int64) * strides[0] + particles.to(tl.int64) * strides[1]


@triton.jit
def _unit(largest, LIMIT: tl.constexpr):
    """What velocities with this largest component are measured in, so that their squares stay in range (`scales`)."""
    large = tl.where(largest > LIMIT, LIMIT * LIMIT, 1.0)
    return tl.where(largest < 1.0 / LIMIT, 1.0 / (LIMIT * LIMIT), large).to(largest.dtype)


@triton.jit
def _square_distances(
    a, strides, inverse, sample, rows, columns, row_mask, column_mask, dimension, BLOCK: tl.constexpr
):
    """|a_i − a_j|² of a tile, from differences; a is multiplied by `inverse` first."""
    total = tl.zeros((BLOCK, BLOCK), dtype=a.dtype.element_ty)
    mine, theirs = _first(a, strides, sample, rows), _first(a, strides, sample, columns)
    for _ in range(dimension):
        left = tl.load(mine, mask=row_mask, other=0.0) * inverse
        right = tl.load(theirs, mask=column_mask, other=0.0) * inverse
        apart = left[:, None] - right[None, :]
        total += apart * apart
        mine += strides[2]
        theirs += strides[2]
    return total


@triton.jit
def _accepted(
    x, v, x_strides, v_strides, speeds, threshold, unit, sample, rows, columns, row_mask, column_mask, dimension,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Which pairs of a tile collide (equation 4), and their relative speed, in the unit of the sample."""
    speed = tl.sqrt(
        _square_distances(v, v_strides, 1.0 / unit, sample, rows, columns, row_mask, column_mask, dimension, BLOCK)
    )
    distance = tl.sqrt(
        _square_distances(x, x_strides, 1.0, sample, rows, columns, row_mask, column_mask, dimension, BLOCK)
    )
    moving = (speed > 0) & (rows[:, None] != columns[None, :]) & row_mask[:, None] & column_mask[None, :]
    # No score passes any threshold where max V_r is not finite.
    score = tl.log(tl.where(moving, speed, 1.0) / tl.load(speeds + 2 * sample + 1)) - distance
    return moving & (score > tl.load(threshold + sample)), speed


@triton.jit
def _normals(seed, place, rows, columns, quarter):
    """Four normal numbers for each pair of a tile, the same for (i, j) and (j, i)."""
    low = tl.minimum(rows[:, None], columns[None, :])
    high = tl.maximum(rows[:, None], columns[None, :])
    # One 32-bit word of the counter each.
    same = low * 0
    first, second, third, fourth = tl.philox(seed, low, high, same + place, same + quarter)
    a, b = tl.pair_uniform_to_normal(tl.uint_to_uniform_float(first), tl.uint_to_uniform_float(second))
    c, d = tl.pair_uniform_to_normal(tl.uint_to_uniform_float(third), tl.uint_to_uniform_float(fourth))
    return a, b, c, d


@triton.jit
def _sign(rows, columns):
    """n_ji = −n_ij."""
    return tl.where(rows[:, None] < columns[None, :], 1.0, -1.0)


@triton.jit
def _fastest_kernel(v, size, fastest, particles, dimension, v_b, v_n, v_d, BLOCK: tl.constexpr, LIMIT: tl.constexpr):
    sample, block = tl.program_id(0), tl.program_id(1)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    row_mask = rows < particles
    inverse = 1.0 / _unit(tl.load(size + sample), LIMIT)
    best = tl.zeros((BLOCK, BLOCK), dtype=v.dtype.element_ty)
    for start in range(0, particles, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        column_mask = columns < particles
        square = _square_distances(
            v, (v_b, v_n, v_d), inverse, sample, rows, columns, row_mask, column_mask, dimension, BLOCK
        )
        # A comparison with NaN is false: max would drop it, the sum keeps it and the sample is left alone.
        inside = row_mask[:, None] & column_mask[None, :]
        best = tl.where((square > best) & inside, square, best) + tl.where(inside, square * 0.0, 0.0)
    place = sample.to(tl.int64) * tl.num_programs(1) + block
    tl.store(fastest + place, tl.sqrt(tl.max(tl.max(best, 1), 0)) + tl.sum(best * 0.0))


@triton.jit
def _collide_kernel(
    x, v, keys, threshold, speeds, position_sum, velocity_sum, count, drift, scatter, share, particles,
    dimension, x_b, x_n, x_d, v_b, v_n, v_d, sum_b, sum_n, sum_d, BLOCK: tl.constexpr, LIMIT: tl.constexpr,
):  # fmt: skip
    """Σ_j x_j, Σ_j Δv_ij and k_i over the collisions of a block of particles."""
    sample, block = tl.program_id(0), tl.program_id(1)
    x_strides, v_strides, sum_strides = (x_b, x_n, x_d), (v_b, v_n, v_d), (sum_b, sum_n, sum_d)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    row_mask = rows < particles
    seed, place = tl.load(keys + sample // share), sample % share
    unit = _unit(tl.load(speeds + 2 * sample), LIMIT)
    quarters = (dimension + 3) // 4
    collisions = tl.zeros((BLOCK,), dtype=x.dtype.element_ty)
    for start in range(0, particles, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        column_mask = columns < particles
        hit, speed = _accepted(
            x, v, x_strides, v_strides, speeds, threshold, unit, sample, rows, columns, row_mask, column_mask,
            dimension, BLOCK,
        )  # fmt: skip
        if tl.max(tl.max(hit.to(tl.int32), 1), 0) > 0:
            collisions += tl.sum(hit.to(collisions.dtype), 1)
            length = tl.zeros((BLOCK, BLOCK), dtype=x.dtype.element_ty)
            for quarter in range(quarters):
                n = _normals(seed, place, rows, columns, quarter)
                for part in tl.static_range(4):
                    length += tl.where(quarter * 4 + part < dimension, n[part] * n[part], 0.0)
            amplitude = tl.where(hit, scatter * speed * unit * _sign(rows, columns) / tl.sqrt(length), 0.0)
            v_mine, v_theirs = _first(v, v_strides, sample, rows), _first(v, v_strides, sample, columns)
            x_theirs = _first(x, x_strides, sample, columns)
            on_v = _first(velocity_sum, sum_strides, sample, rows)
            on_x = _first(position_sum, sum_strides, sample, rows)
            for quarter in range(quarters):
                n = _normals(seed, place, rows, columns, quarter)
                for part in tl.static_range(4):
                    k = quarter * 4 + part
                    own_mask = row_mask & (k + 0 * rows < dimension)
                    other_mask = column_mask & (k + 0 * columns < dimension)
                    v_i = tl.load(v_mine, mask=own_mask, other=0.0)
                    v_j = tl.load(v_theirs, mask=other_mask, other=0.0)
                    x_j = tl.load(x_theirs, mask=other_mask, other=0.0)
                    pull = tl.where(hit, (v_j[None, :] - v_i[:, None]) * (drift / 2), 0.0)
                    change = tl.sum(pull + amplitude * n[part], 1)
                    places = tl.sum(tl.where(hit, x_j[None, :], 0.0), 1)
                    before = tl.load(on_v, mask=own_mask, other=0.0)
                    tl.store(on_v, before + change, mask=own_mask)
                    before = tl.load(on_x, mask=own_mask, other=0.0)
                    tl.store(on_x, before + places, mask=own_mask)
                    v_mine += v_strides[2]
                    v_theirs += v_strides[2]
                    x_theirs += x_strides[2]
                    on_v += sum_strides[2]
                    on_x += sum_strides[2]
    tl.store(count + sample.to(tl.int64) * particles + rows, collisions, mask=row_mask)


@triton.jit
def _adjoint_kernel(
    gradient, x, v, keys, threshold, speeds, count, position_sum, velocity_sum, drift, scatter, share, particles,
    dimension, g_b, g_n, g_d, x_b, x_n, x_d, v_b, v_n, v_d, sum_b, sum_n, sum_d, BLOCK: tl.constexpr,
    LIMIT: tl.constexpr,
):  # fmt: skip
    """Σ_j g_j / (1 + k_j), and the gradient of Σ Δv with respect to v_i, over the collisions of some particles."""
    sample, block = tl.program_id(0), tl.program_id(1)
    g_strides, x_strides, v_strides = (g_b, g_n, g_d), (x_b, x_n, x_d), (v_b, v_n, v_d)
    sum_strides = (sum_b, sum_n, sum_d)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    row_mask = rows < particles
    seed, place = tl.load(keys + sample // share), sample % share
    unit = _unit(tl.load(speeds + 2 * sample), LIMIT)
    quarters = (dimension + 3) // 4
    for start in range(0, particles, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        column_mask = columns < particles
        hit, speed = _accepted(
            x, v, x_strides, v_strides, speeds, threshold, unit, sample, rows, columns, row_mask, column_mask,
            dimension, BLOCK,
        )  # fmt: skip
        if tl.max(tl.max(hit.to(tl.int32), 1), 0) > 0:
            length = tl.zeros((BLOCK, BLOCK), dtype=x.dtype.element_ty)
            along = tl.zeros((BLOCK, BLOCK), dtype=x.dtype.element_ty)
            g_mine, g_theirs = _first(gradient, g_strides, sample, rows), _first(gradient, g_strides, sample, columns)
            for quarter in range(quarters):
                n = _normals(seed, place, rows, columns, quarter)
                for part in tl.static_range(4):
                    k = quarter * 4 + part
                    own_mask = row_mask & (k + 0 * rows < dimension)
                    other_mask = column_mask & (k + 0 * columns < dimension)
                    g_i = tl.load(g_mine, mask=own_mask, other=0.0)
                    g_j = tl.load(g_theirs, mask=other_mask, other=0.0)
                    length += tl.where(k < dimension, n[part] * n[part], 0.0)
                    along += n[part] * (g_i[:, None] - g_j[None, :])
                    g_mine += g_strides[2]
                    g_theirs += g_strides[2]
            # The derivative of scatter·V_r n·(g_i − g_j) with respect to v_i is this times v_i − v_j, in any unit.
            slope = scatter * along * _sign(rows, columns) / (tl.sqrt(length) * tl.where(hit, speed, 1.0))
            slope = tl.where(hit, slope, 0.0)
            weight = 1 / (1 + tl.load(count + sample.to(tl.int64) * particles + columns, mask=column_mask, other=0.0))
            g_mine, g_theirs = _first(gradient, g_strides, sample, rows), _first(gradient, g_strides, sample, columns)
            v_mine, v_theirs = _first(v, v_strides, sample, rows), _first(v, v_strides, sample, columns)
            on_v = _first(velocity_sum, sum_strides, sample, rows)
            on_x = _first(position_sum, sum_strides, sample, rows)
            for _ in range(dimension):
                g_i = tl.load(g_mine, mask=row_mask, other=0.0)
                g_j = tl.load(g_theirs, mask=column_mask, other=0.0)
                v_i = tl.load(v_mine, mask=row_mask, other=0.0) / unit
                v_j = tl.load(v_theirs, mask=column_mask, other=0.0) / unit
                pull = tl.where(hit, (g_i[:, None] - g_j[None, :]) * (-drift / 2), 0.0)
                change = tl.sum(pull + slope * (v_i[:, None] - v_j[None, :]), 1)
                places = tl.sum(tl.where(hit, (g_j * weight)[None, :], 0.0), 1)
                before = tl.load(on_v, mask=row_mask, other=0.0)
                tl.store(on_v, before + change, mask=row_mask)
                before = tl.load(on_x, mask=row_mask, other=0.0)
                tl.store(on_x, before + places, mask=row_mask)
                g_mine += g_strides[2]
                g_theirs += g_strides[2]
                v_mine += v_strides[2]
                v_theirs += v_strides[2]
                on_v += sum_strides[2]
                on_x += sum_strides[2]


def fused_collided(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    key: Int[Tensor, ""],
    strength: Float[Tensor, ""],
    rule: Rule,
    most: int,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "4"]]:
    """x* + dt·v' of equations (2)-(5), and the statistics of the collisions.

    Args:
        x: positions.
        v: velocities, of the same dtype.
        key: seed of this call's directions.
        strength: coll_coef, or collisions per particle.
        rule: how particles collide.
        most: the largest number of pairs of a sample that a rate asks for.
    """
    if x.shape[1] < 2 or x.numel() == 0:
        return torch.add(x, v, alpha=rule.dt), x.new_zeros(4)
    with torch.no_grad():
        threshold = thresholds(x, v, key ^ ROUNDING, strength, rule.by_rate, most)
    out, count, change, _ = _Fused.apply(x, v, key, threshold, rule.law, rule.dt, rule.update_position)  # pyright: ignore[reportGeneralTypeIssues]
    return out, statistics(v, change, count[..., None])


class _Fused(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, v, key, threshold, law, dt, update_position):
        return _forward(x, v, key, threshold, law, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, v, key, threshold, *rule = inputs
        _, count, change, speeds = output
        ctx.mark_non_differentiable(count, change, speeds)
        ctx.save_for_backward(x, v, key, threshold, speeds, count)
        ctx.rule = rule

    @staticmethod
    def backward(ctx, gradient, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_FusedAdjoint.apply(gradient, *ctx.saved_tensors, *ctx.rule), *(None,) * 5  # pyright: ignore[reportGeneralTypeIssues]


class _FusedAdjoint(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, x, v, key, threshold, speeds, count, law, dt, update_position):
        return _backward(gradient, x, v, key, threshold, speeds, count, law, dt, update_position)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError("collisions can be differentiated once")


@torch.library.custom_op("kitipde::fused_collide", mutates_args=())
def _forward(
    x: Tensor, v: Tensor, key: Tensor, threshold: Tensor, law: str, dt: float, update_position: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    speeds = fused_speeds(v)
    return *fused_collide(x, v, key.reshape(-1), threshold, speeds, law, dt, update_position), speeds


@_forward.register_fake
def _(x, v, key, threshold, law, dt, update_position):
    return torch.empty_like(x), x.new_empty(x.shape[:2]), torch.empty_like(x), x.new_empty(x.shape[0], 2)


@_forward.register_vmap
def _(info, in_dims, x, v, key, threshold, law, dt, update_position):
    x, v, key, threshold = in_front(info.batch_size, in_dims, x, v, key, threshold)
    folded = _forward(x.flatten(0, 1), v.flatten(0, 1), key, threshold.flatten(), law, dt, update_position)
    return tuple(each.unflatten(0, x.shape[:2]) for each in folded), (0, 0, 0, 0)


@torch.library.custom_op("kitipde::fused_collide_adjoint", mutates_args=())
def _backward(
    gradient: Tensor,
    x: Tensor,
    v: Tensor,
    key: Tensor,
    threshold: Tensor,
    speeds: Tensor,
    count: Tensor,
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Tensor, Tensor]:
    return fused_collide_adjoint(gradient, x, v, key.reshape(-1), threshold, speeds, count, law, dt, update_position)


@_backward.register_fake
def _(gradient, x, v, key, threshold, speeds, count, law, dt, update_position):
    return torch.empty_like(x), torch.empty_like(x)


@_backward.register_vmap
def _(info, in_dims, gradient, x, v, key, threshold, speeds, count, law, dt, update_position):
    tensors = in_front(info.batch_size, in_dims, gradient, x, v, key, threshold, speeds, count)
    folded = [each if each is tensors[3] else each.flatten(0, 1) for each in tensors]
    parts = _backward(*folded, law, dt, update_position)
    return tuple(each.unflatten(0, tensors[0].shape[:2]) for each in parts), (0, 0)


def fused_speeds(v: Float[Tensor, "samples N d"]) -> Float[Tensor, "samples 2"]:
    """The largest component of v in each sample, and max V_r in the unit that follows from it; NaN if v has one."""
    samples, particles, dimension = v.shape
    blocks = triton.cdiv(particles, BLOCK)
    size = torch.linalg.vector_norm(v, torch.inf, (1, 2))
    partial = v.new_empty(samples, blocks)
    _fastest_kernel[(samples, blocks)](
        v, size, partial, particles, dimension, *v.stride(), BLOCK=BLOCK, LIMIT=ordinary(v.dtype)
    )
    return torch.stack([size, partial.amax(dim=1)], 1)


def fused_collide(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    keys: Int[Tensor, "replicas"],
    threshold: Float[Tensor, "samples"],
    speeds: Float[Tensor, "samples 2"],
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "samples N"], Float[Tensor, "samples N d"]]:
    """x* + dt·v' of equation (5), k, and Σ_j Δv_ij.

    Args:
        x: positions.
        v: velocities.
        keys: seeds, one for each equal share of the samples.
        threshold: a pair collides if ln(V_r / max V_r) − X_r is larger; log(1 − coll_coef) is equation (4).
        speeds: of `fused_speeds`.
        law: `kiti`, `kiti-published` or `mixing`.
        dt: time step.
        update_position: False keeps x* = x.
    """
    samples, particles, dimension = x.shape
    position_sum, velocity_sum = torch.zeros_like(x), torch.zeros_like(x)
    keys, threshold, speeds = (each.contiguous() for each in (keys, threshold, speeds))
    count = x.new_empty(samples, particles)
    grid = (samples, triton.cdiv(particles, BLOCK))
    _collide_kernel[grid](
        x, v, keys, threshold, speeds, position_sum, velocity_sum, count, *LAWS[law], max(1, samples // len(keys)),
        particles, dimension, *x.stride(), *v.stride(), *velocity_sum.stride(), BLOCK=BLOCK, LIMIT=ordinary(v.dtype),
    )  # fmt: skip
    k = count[..., None]
    start = (x + (k * x + position_sum) / 2) / (1 + k) if update_position else x
    moved, plain = torch.add(start, v + velocity_sum, alpha=dt), torch.add(x, v, alpha=dt)
    # Compilers rely on results that lie in memory like x, where that is possible.
    return torch.where(k > 0, moved, plain, out=torch.empty_like(x)), count, velocity_sum


def fused_collide_adjoint(
    gradient: Float[Tensor, "samples N d"],
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    keys: Int[Tensor, "replicas"],
    threshold: Float[Tensor, "samples"],
    speeds: Float[Tensor, "samples 2"],
    count: Float[Tensor, "samples N"],
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "samples N d"]]:
    """Gradients of `fused_collide`'s first result with respect to x and v; arguments as there."""
    samples, particles, dimension = x.shape
    position_sum, velocity_sum = torch.zeros_like(x), torch.zeros_like(x)
    keys, threshold, speeds, count = (each.contiguous() for each in (keys, threshold, speeds, count))
    grid = (samples, triton.cdiv(particles, BLOCK))
    _adjoint_kernel[grid](
        gradient, x, v, keys, threshold, speeds, count, position_sum, velocity_sum, *LAWS[law],
        max(1, samples // len(keys)), particles, dimension, *gradient.stride(), *x.stride(), *v.stride(),
        *velocity_sum.stride(), BLOCK=BLOCK, LIMIT=ordinary(v.dtype),
    )  # fmt: skip
    if update_position:
        k = count[..., None]
        weighted = gradient / (1 + k)
        position_sum = position_sum.add_(k * weighted).div_(2).add_(weighted)
    else:
        position_sum.copy_(gradient)
    return position_sum, velocity_sum.add_(gradient).mul_(dt)
