"""How a feature map becomes particles, and back (Algorithm 1, lines 4 and 9).

A feature map x has shape [B, C, *S]; operators see particles of shape [samples, N, d]: in each sample N particles in
R^d. The layouts are

    flat     a sample is reshaped to (d, N), N = C·|S|/d; particle p is column p          samples = B
    token    the channels of each grid point are reshaped to (d, N), N = C/d              samples = |S|·B
    channel  each channel's whole field is one particle, N = C and d = |S|                samples = B

`flat` and `channel` are views: no data moves; nor does it for `token` if the feature map lies in memory as [*S, B, C].

Nothing in the collisions depends on the order of the d coordinates. Where C divides d, particle p of the flat layout
has all channels of the points p, p + N, p + 2N, …: if the feature map lies in memory as [*S, B, C] (`kitipde.memory`),
its coordinates are two axes, [points, C], and again no data moves.
"""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from kitipde.config import ResidualConfig
from kitipde.errors import InputError
from kitipde.memory import ordered_like

__all__ = ["check_particles", "keeps_points", "numbers", "to_features", "to_particles"]

SHOWN = 12

# Kinds of residual that make no particles.
WITHOUT = ("plain", "dropout")


def dimension(layout: str, heads: int | str, channels: int, points: int = 8) -> int:
    """d, where `auto` is half of the channels for `token`, two particles at each point, and some whole points else.

    They are eight, or as many as divide the points of the grid if eight do not.
    """
    if isinstance(heads, int):
        return heads
    if layout == "token":
        return max(1, channels // 2)
    return channels * next(each for each in range(8, 0, -1) if points % each == 0)


def numbers(layout: str, heads: int | str, shape: Sequence[int]) -> tuple[int, int]:
    """How many samples, and how many particles in each, a feature map [B, C, *S] becomes.

    Raises:
        InputError: the heads do not divide what is to be split.
    """
    batch, channels, *grid = shape
    points = math.prod(grid)
    heads = dimension(layout, heads, channels, points)
    if layout != "channel":
        _check_heads(layout, heads, channels, points)
    if layout == "token":
        return points * batch, channels // heads
    return batch, channels if layout == "channel" else channels * points // heads


def to_particles(
    features: Float[Tensor, "B C *S"], layout: str, heads: int | str, points_first: bool = False
) -> Float[Tensor, "samples N *d"]:
    """The particles of a feature map.

    Args:
        features: feature map [B, C, *S].
        layout: `flat`, `token` or `channel`.
        heads: d, the dimension of the particles' space, or `auto`; `channel` does not use it.
        points_first: whether the points come first in the memory of the feature map.

    Raises:
        InputError: the heads do not divide what is to be split.
    """
    batch, channels, *grid = features.shape
    points = math.prod(grid)
    if layout == "channel":
        return features.reshape(batch, channels, points)
    heads = dimension(layout, heads, channels, points)
    _check_heads(layout, heads, channels, points)
    if layout == "flat":
        if points_first and _of_whole_points(heads, channels):
            # By this way gradients come back with the points first too.
            places = features.permute(*range(2, features.ndim), 0, 1)
            number = channels * points // heads
            return places.reshape(heads // channels, number, batch, channels).permute(2, 1, 0, 3)
        return features.reshape(batch, heads, channels * points // heads).transpose(1, 2)
    tokens = features.permute(*range(2, features.ndim), 0, 1)
    return tokens.reshape(points * batch, heads, channels // heads).transpose(1, 2)


def to_features(
    particles: Float[Tensor, "samples N *d"], like: Float[Tensor, "B C *S"], layout: str, points_first: bool = False
) -> Float[Tensor, "B C *S"]:
    """The feature map whose particles these are; inverse of `to_particles`."""
    if layout == "channel":
        return particles.reshape(like.shape)
    batch, channels, *grid = like.shape
    if layout == "flat":
        if points_first and particles.ndim == 4:
            places = particles.permute(2, 1, 0, 3)
            return places.reshape(*grid, batch, channels).permute(-2, -1, *range(len(grid)))
        return particles.transpose(1, 2).reshape(like.shape)
    tokens = particles.transpose(1, 2).reshape(*grid, batch, channels)
    return ordered_like(like, tokens.permute(-2, -1, *range(len(grid))))


def keeps_points(config: ResidualConfig, channels: int) -> bool:
    """Whether particles, if any, are of whole points or of parts of one: a feature map may have its points first."""
    if config.kind in WITHOUT or config.layout == "token":
        return True
    return config.layout == "flat" and _of_whole_points(dimension("flat", config.collision_heads, channels), channels)


def _of_whole_points(heads: int, channels: int) -> bool:
    return channels > 0 and heads % channels == 0


def check_particles(config: ResidualConfig, channels: int, grid: tuple[int, ...]) -> None:
    """Whether a model of these channels on this grid can be divided into the particles that are asked for.

    Args:
        config: the residual's settings.
        channels: C of the feature maps.
        grid: points per axis; for token streams (tokens,).

    Raises:
        InputError: collision_heads does not divide (the message lists the heads that do), or target_rate is more
            than a particle can collide.
    """
    if config.kind in WITHOUT:
        return
    points = math.prod(grid)
    heads = dimension(config.layout, config.collision_heads, channels, points)
    if config.layout != "channel":
        _check_heads(config.layout, heads, channels, points)
    _, particles = numbers(config.layout, heads, (1, channels, *grid))
    if config.target_rate is not None and config.target_rate > particles - 1:
        raise InputError(
            f"residual.target_rate={config.target_rate}: with {particles} particles in a sample "
            f"one can collide at most {particles - 1} times"
        )


def _check_heads(layout: str, heads: int, channels: int, points: int) -> None:
    size = channels * points if layout == "flat" else channels
    if size == 0 or size % heads == 0:
        return
    what = f"{channels} channels x {points} points = {size}" if layout == "flat" else f"{channels} channels"
    raise InputError(
        f"residual.collision_heads={heads} does not divide {what} (layout {layout}); "
        f"heads that do: {_listing(_divisors(size), heads)}"
    )


def _divisors(size: int) -> list[int]:
    low = [k for k in range(1, math.isqrt(size) + 1) if size % k == 0]
    return sorted({*low, *(size // k for k in low)})


def _listing(divisors: list[int], near: int) -> str:
    """All divisors, or those nearest to the wished number (by ratio) when there are many."""
    if len(divisors) <= SHOWN:
        return ", ".join(map(str, divisors))
    nearest = sorted(divisors, key=lambda divisor: abs(math.log(divisor / near)))[:SHOWN]
    return f"{', '.join(map(str, sorted(nearest)))} (the {SHOWN} nearest of {len(divisors)})"
