"""Equations (2)-(5) in kernels of their own for GPUs (Triton).

Each program owns a block of particles i of one sample and runs over the blocks of their partners j. Distances and
acceptance are computed anew from x and v in every kernel; tiles without a colliding pair are left at once. Directions
come from a counter-based generator (Philox), whose counter is the pair and the coordinate: both partners, the forward
pass and the backward pass draw the same n_ij without storing it. Memory is O(N·d), shapes are fixed, and nothing goes
to the host: seed, threshold and max V_r are read from tensors, so that CUDA graphs replay with fresh numbers.

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

__all__ = ["fused_collide", "fused_collide_adjoint", "fused_collided", "fused_fastest"]

# Particles of a block. Small: few pairs collide, and a tile is computed as a whole if one does.
BLOCK = 16


@triton.jit
def _square_distances(a, sample, rows, columns, row_mask, column_mask, strides, dimension, BLOCK: tl.constexpr):
    """|a_i − a_j|² of a tile, from differences."""
    total = tl.zeros((BLOCK, BLOCK), dtype=a.dtype.element_ty)
    base = a + sample * strides[0]
    for k in range(dimension):
        left = tl.load(base + rows * strides[1] + k * strides[2], mask=row_mask, other=0.0)
        right = tl.load(base + columns * strides[1] + k * strides[2], mask=column_mask, other=0.0)
        apart = left[:, None] - right[None, :]
        total += apart * apart
    return total


@triton.jit
def _accepted(
    x, v, fastest, threshold, sample, rows, columns, row_mask, column_mask, strides, dimension, BLOCK: tl.constexpr
):
    """Which pairs of a tile collide (equation 4), and their relative speed."""
    speed = tl.sqrt(_square_distances(v, sample, rows, columns, row_mask, column_mask, strides, dimension, BLOCK))
    distance = tl.sqrt(_square_distances(x, sample, rows, columns, row_mask, column_mask, strides, dimension, BLOCK))
    moving = (speed > 0) & (rows[:, None] != columns[None, :]) & row_mask[:, None] & column_mask[None, :]
    score = tl.log(tl.where(moving, speed, 1.0) / tl.load(fastest + sample)) - distance
    return moving & (score > tl.load(threshold + sample)), speed


@triton.jit
def _normals(seed, sample, rows, columns, particles, quarter, quarters):
    """Four normal numbers for each pair of a tile, the same for (i, j) and (j, i)."""
    low = tl.minimum(rows[:, None], columns[None, :]).to(tl.int64)
    high = tl.maximum(rows[:, None], columns[None, :]).to(tl.int64)
    pair = (sample.to(tl.int64) * particles + low) * particles + high
    return tl.randn4x(seed, pair * quarters + quarter)


@triton.jit
def _sign(rows, columns):
    """n_ji = −n_ij."""
    return tl.where(rows[:, None] < columns[None, :], 1.0, -1.0)


@triton.jit
def _fastest_kernel(v, fastest, particles, dimension, stride_b, stride_n, stride_d, BLOCK: tl.constexpr):
    sample, block = tl.program_id(0), tl.program_id(1)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    row_mask = rows < particles
    best = tl.zeros((BLOCK, BLOCK), dtype=v.dtype.element_ty)
    for start in range(0, particles, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        column_mask = columns < particles
        square = _square_distances(
            v, sample, rows, columns, row_mask, column_mask, (stride_b, stride_n, stride_d), dimension, BLOCK
        )
        # A comparison with NaN is false: max would drop it, the sum keeps it and the sample is left alone.
        inside = row_mask[:, None] & column_mask[None, :]
        best = tl.where((square > best) & inside, square, best) + tl.where(inside, square * 0.0, 0.0)
    tl.store(fastest + sample * tl.num_programs(1) + block, tl.sqrt(tl.max(tl.max(best, 1), 0)) + tl.sum(best * 0.0))


@triton.jit
def _collide_kernel(
    x, v, keys, threshold, fastest, position_sum, velocity_sum, count, drift, scatter, share, particles, dimension,
    stride_b, stride_n, stride_d, BLOCK: tl.constexpr,
):  # fmt: skip
    """Σ_j x_j, Σ_j Δv_ij and k_i over the collisions of a block of particles."""
    sample, block = tl.program_id(0), tl.program_id(1)
    strides = (stride_b, stride_n, stride_d)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    row_mask = rows < particles
    seed = tl.load(keys + sample // share)
    quarters = (dimension + 3) // 4
    collisions = tl.zeros((BLOCK,), dtype=x.dtype.element_ty)
    for start in range(0, particles, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        column_mask = columns < particles
        hit, speed = _accepted(
            x, v, fastest, threshold, sample, rows, columns, row_mask, column_mask, strides, dimension, BLOCK
        )
        if tl.max(tl.max(hit.to(tl.int32), 1), 0) > 0:
            collisions += tl.sum(hit.to(collisions.dtype), 1)
            length = tl.zeros((BLOCK, BLOCK), dtype=x.dtype.element_ty)
            for quarter in range(quarters):
                n = _normals(seed, sample, rows, columns, particles, quarter, quarters)
                for part in tl.static_range(4):
                    length += tl.where(quarter * 4 + part < dimension, n[part] * n[part], 0.0)
            amplitude = tl.where(hit, scatter * speed * _sign(rows, columns) / tl.sqrt(length), 0.0)
            for quarter in range(quarters):
                n = _normals(seed, sample, rows, columns, particles, quarter, quarters)
                for part in tl.static_range(4):
                    k = quarter * 4 + part
                    mine = sample * stride_b + rows * stride_n + k * stride_d
                    theirs = sample * stride_b + columns * stride_n + k * stride_d
                    own_mask, other_mask = (
                        row_mask & (k + 0 * rows < dimension),
                        column_mask & (k + 0 * columns < dimension),
                    )
                    v_i, v_j = (
                        tl.load(v + mine, mask=own_mask, other=0.0),
                        tl.load(v + theirs, mask=other_mask, other=0.0),
                    )
                    x_j = tl.load(x + theirs, mask=other_mask, other=0.0)
                    pull = tl.where(hit, (v_j[None, :] - v_i[:, None]) * (drift / 2), 0.0)
                    change = tl.sum(pull + amplitude * n[part], 1)
                    places = tl.sum(tl.where(hit, x_j[None, :], 0.0), 1)
                    before = tl.load(velocity_sum + mine, mask=own_mask, other=0.0)
                    tl.store(velocity_sum + mine, before + change, mask=own_mask)
                    before = tl.load(position_sum + mine, mask=own_mask, other=0.0)
                    tl.store(position_sum + mine, before + places, mask=own_mask)
    tl.store(count + sample * particles + rows, collisions, mask=row_mask)


@triton.jit
def _adjoint_kernel(
    gradient, weighted, x, v, keys, threshold, fastest, position_sum, velocity_sum, drift, scatter, share, particles,
    dimension, stride_b, stride_n, stride_d, BLOCK: tl.constexpr,
):  # fmt: skip
    """Σ_j w_j g_j, and the gradient of Σ Δv with respect to v_i, over the collisions of a block of particles."""
    sample, block = tl.program_id(0), tl.program_id(1)
    strides = (stride_b, stride_n, stride_d)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    row_mask = rows < particles
    seed = tl.load(keys + sample // share)
    quarters = (dimension + 3) // 4
    for start in range(0, particles, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        column_mask = columns < particles
        hit, speed = _accepted(
            x, v, fastest, threshold, sample, rows, columns, row_mask, column_mask, strides, dimension, BLOCK
        )
        if tl.max(tl.max(hit.to(tl.int32), 1), 0) > 0:
            length = tl.zeros((BLOCK, BLOCK), dtype=x.dtype.element_ty)
            along = tl.zeros((BLOCK, BLOCK), dtype=x.dtype.element_ty)
            for quarter in range(quarters):
                n = _normals(seed, sample, rows, columns, particles, quarter, quarters)
                for part in tl.static_range(4):
                    k = quarter * 4 + part
                    mine = sample * stride_b + rows * stride_n + k * stride_d
                    theirs = sample * stride_b + columns * stride_n + k * stride_d
                    own_mask, other_mask = (
                        row_mask & (k + 0 * rows < dimension),
                        column_mask & (k + 0 * columns < dimension),
                    )
                    g_i = tl.load(gradient + mine, mask=own_mask, other=0.0)
                    g_j = tl.load(gradient + theirs, mask=other_mask, other=0.0)
                    length += tl.where(k < dimension, n[part] * n[part], 0.0)
                    along += n[part] * (g_i[:, None] - g_j[None, :])
            # The derivative of scatter·V_r n·(g_i − g_j) with respect to v_i is this times v_i − v_j.
            slope = scatter * along * _sign(rows, columns) / (tl.sqrt(length) * tl.where(hit, speed, 1.0))
            slope = tl.where(hit, slope, 0.0)
            for k in range(dimension):
                mine = sample * stride_b + rows * stride_n + k * stride_d
                theirs = sample * stride_b + columns * stride_n + k * stride_d
                g_i = tl.load(gradient + mine, mask=row_mask, other=0.0)
                g_j = tl.load(gradient + theirs, mask=column_mask, other=0.0)
                w_j = tl.load(weighted + theirs, mask=column_mask, other=0.0)
                v_i = tl.load(v + mine, mask=row_mask, other=0.0)
                v_j = tl.load(v + theirs, mask=column_mask, other=0.0)
                pull = tl.where(hit, (g_i[:, None] - g_j[None, :]) * (-drift / 2), 0.0)
                change = tl.sum(pull + slope * (v_i[:, None] - v_j[None, :]), 1)
                before = tl.load(velocity_sum + mine, mask=row_mask, other=0.0)
                tl.store(velocity_sum + mine, before + change, mask=row_mask)
                before = tl.load(position_sum + mine, mask=row_mask, other=0.0)
                tl.store(position_sum + mine, before + tl.sum(tl.where(hit, w_j[None, :], 0.0), 1), mask=row_mask)


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
        _, count, change, fastest = output
        ctx.mark_non_differentiable(count, change, fastest)
        ctx.save_for_backward(x, v, key, threshold, fastest, count)
        ctx.rule = rule

    @staticmethod
    def backward(ctx, gradient, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_FusedAdjoint.apply(gradient, *ctx.saved_tensors, *ctx.rule), *(None,) * 5  # pyright: ignore[reportGeneralTypeIssues]


class _FusedAdjoint(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, x, v, key, threshold, fastest, count, law, dt, update_position):
        return _backward(gradient, x, v, key, threshold, fastest, count, law, dt, update_position)

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
    v = torch.empty_like(x).copy_(v)
    fastest = fused_fastest(v)
    return *fused_collide(x, v, key.reshape(-1), threshold, fastest, law, dt, update_position), fastest


@_forward.register_fake
def _(x, v, key, threshold, law, dt, update_position):
    return torch.empty_like(x), x.new_empty(x.shape[:2]), torch.empty_like(x), x.new_empty(x.shape[0])


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
    fastest: Tensor,
    count: Tensor,
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Tensor, Tensor]:
    v = torch.empty_like(x).copy_(v)
    return fused_collide_adjoint(gradient, x, v, key.reshape(-1), threshold, fastest, count, law, dt, update_position)


@_backward.register_fake
def _(gradient, x, v, key, threshold, fastest, count, law, dt, update_position):
    return torch.empty_like(x), torch.empty_like(x)


@_backward.register_vmap
def _(info, in_dims, gradient, x, v, key, threshold, fastest, count, law, dt, update_position):
    tensors = in_front(info.batch_size, in_dims, gradient, x, v, key, threshold, fastest, count)
    folded = [each if each is tensors[3] else each.flatten(0, 1) for each in tensors]
    parts = _backward(*folded, law, dt, update_position)
    return tuple(each.unflatten(0, tensors[0].shape[:2]) for each in parts), (0, 0)


def fused_fastest(v: Float[Tensor, "samples N d"]) -> Float[Tensor, "samples"]:
    """max V_r of each sample; NaN for a sample with a non-finite velocity."""
    samples, particles, dimension = v.shape
    blocks = triton.cdiv(particles, BLOCK)
    partial = v.new_zeros(samples, blocks)
    _fastest_kernel[(samples, blocks)](v, partial, particles, dimension, *v.stride(), BLOCK=BLOCK)
    return partial.amax(dim=1)


def fused_collide(
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    keys: Int[Tensor, "replicas"],
    threshold: Float[Tensor, "samples"],
    fastest: Float[Tensor, "samples"],
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "samples N"], Float[Tensor, "samples N d"]]:
    """x* + dt·v' of equation (5), k, and Σ_j Δv_ij.

    Args:
        x: positions.
        v: velocities, with the strides of x.
        keys: seeds, one for each equal share of the samples.
        threshold: a pair collides if ln(V_r / max V_r) − X_r is larger; log(1 − coll_coef) is equation (4).
        fastest: max V_r.
        law: `kiti`, `kiti-published` or `mixing`.
        dt: time step.
        update_position: False keeps x* = x.
    """
    samples, particles, dimension = x.shape
    threshold, fastest = _without_unmoved(threshold, fastest)
    position_sum, velocity_sum = torch.zeros_like(x), torch.zeros_like(x)
    count = x.new_zeros(samples, particles)
    grid = (samples, triton.cdiv(particles, BLOCK))
    _collide_kernel[grid](
        x, v, keys, threshold, fastest, position_sum, velocity_sum, count, *LAWS[law], max(1, samples // len(keys)),
        particles, dimension, *x.stride(), BLOCK=BLOCK,
    )  # fmt: skip
    k = count[..., None]
    start = (x + (k * x + position_sum) / 2) / (1 + k) if update_position else x
    out = torch.where(k > 0, torch.add(start, v + velocity_sum, alpha=dt), torch.add(x, v, alpha=dt))
    return out, count, velocity_sum


def fused_collide_adjoint(
    gradient: Float[Tensor, "samples N d"],
    x: Float[Tensor, "samples N d"],
    v: Float[Tensor, "samples N d"],
    keys: Int[Tensor, "replicas"],
    threshold: Float[Tensor, "samples"],
    fastest: Float[Tensor, "samples"],
    count: Float[Tensor, "samples N"],
    law: str,
    dt: float,
    update_position: bool,
) -> tuple[Float[Tensor, "samples N d"], Float[Tensor, "samples N d"]]:
    """Gradients of `fused_collide`'s first result with respect to x and v; arguments as there."""
    samples, particles, dimension = x.shape
    threshold, fastest = _without_unmoved(threshold, fastest)
    gradient = torch.empty_like(x).copy_(gradient)
    k = count[..., None]
    weighted = gradient / (1 + k)
    position_sum, velocity_sum = torch.zeros_like(x), torch.zeros_like(x)
    grid = (samples, triton.cdiv(particles, BLOCK))
    _adjoint_kernel[grid](
        gradient, weighted, x, v, keys, threshold, fastest, position_sum, velocity_sum, *LAWS[law],
        max(1, samples // len(keys)), particles, dimension, *x.stride(), BLOCK=BLOCK,
    )  # fmt: skip
    gradient_x = weighted + (k * weighted + position_sum) / 2 if update_position else gradient.clone()
    return gradient_x, dt * (gradient + velocity_sum)


def _without_unmoved(
    threshold: Float[Tensor, "samples"], fastest: Float[Tensor, "samples"]
) -> tuple[Float[Tensor, "samples"], Float[Tensor, "samples"]]:
    """A threshold that nothing passes where no particle moves relative to another, or one is not finite."""
    moved = (fastest > 0) & fastest.isfinite()
    return torch.where(moved, threshold, torch.inf), torch.where(moved, fastest, 1)
