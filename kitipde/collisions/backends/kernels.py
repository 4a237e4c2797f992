"""Equations (2)-(5) in kernels of their own for GPUs (Triton).

Each program owns a block of particles i of one sample and runs over the blocks of their partners j. Distances and
acceptance are computed anew from x and v in every kernel; tiles without a colliding pair are left at once. Directions
come from a counter-based generator (Philox) with the seed of the call as its key. Its counter is the sample's place
among those of this seed, the pair and the coordinate: both partners, the forward pass and the backward pass draw the
same n_ij without storing it, and a seed has the same ones whether or not others are trained beside it. Memory is
O(N·d), shapes are fixed, and nothing goes to the host: seed, threshold and max V_r are read from tensors, so that CUDA
graphs replay with fresh numbers.

Each tensor is addressed by strides of its own, so that views of any kind need no copy, and in 64 bits.

This module needs Triton, which torch brings along on Linux for CUDA.
"""

# Triton's language is typed for its own compiler: what a kernel is given are tensors, whatever its signature says.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false, reportIndexIssue=false

import triton
import triton.language as tl

__all__ = ["adjoint_kernel", "collide_kernel", "fastest_kernel"]


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
def fastest_kernel(v, size, fastest, particles, dimension, v_b, v_n, v_d, BLOCK: tl.constexpr, LIMIT: tl.constexpr):
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
def collide_kernel(
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
def adjoint_kernel(
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
