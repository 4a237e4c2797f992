"""Draws the figures of docs/mathematics.md with the program's own operators: `python -P docs/figures.py`."""

import math
from pathlib import Path

import torch
from matplotlib.axes import Axes
from torch import Tensor

from kitipde.collisions.pairs import pairs_by_coefficient
from kitipde.collisions.rules import (
    LAWS,
    collide,
    collision_rate,
    relative_distance,
    relative_speed,
    velocity_change,
)
from kitipde.optim.collisions import soft_collisions
from kitipde.reporting.style import colour, new_figure, png, polish

IMAGES = Path(__file__).parent / "images"
NAMES = {"kiti": "equation (3)", "kiti-published": "published scripts", "mixing": "without n"}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs_figure() -> bytes:
    """Particles in the plane before and after a step; pairs that collide are joined."""
    random = generator(4)
    x, v = torch.rand(1, 22, 2, generator=random) * 2.6, torch.randn(1, 22, 2, generator=random) * 0.3
    pairs = pairs_by_coefficient(x, v, 0.62)
    out, _ = collide(x, v, pairs, generator(1), LAWS["kiti"], 1.0, update_position=False)
    figure = new_figure(9.0, 4.3)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    colliding = torch.zeros(22, dtype=torch.bool)
    colliding[torch.cat([pairs.first, pairs.second])] = True
    for axes, velocity, title in ((left, v[0], "before: x and v"), (right, (out - x)[0], "after: x and v'")):
        for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            axes.plot(*x[0, [i, j]].T, color="#f2c9a8", linewidth=6, zorder=1, solid_capstyle="round")
        for kind, hue in ((~colliding, "#888888"), (colliding, colour(1))):
            axes.quiver(
                *x[0, kind].T, *velocity[kind].T, color=hue, angles="xy", scale_units="xy", scale=1, width=0.005
            )
            axes.plot(*x[0, kind].T, "o", color=hue, markersize=4)
        axes.set_aspect("equal")
        axes.set_xlim(-0.3, 3.2)
        axes.set_ylim(-0.3, 3.0)
        polish(axes, "first coordinate", "second coordinate", title)
        axes.label_outer()
    return png(figure)


def outcome_figure() -> bytes:
    """Where the velocities of one pair end, for all directions n."""
    v = torch.tensor([[1.0, 0.25], [-0.4, -0.25]])
    angle = torch.linspace(0, 2 * math.pi, 200)
    n = torch.stack([angle.cos(), angle.sin()], 1)
    figure = new_figure(9.0, 3.0)
    for axes, (name, law) in zip(figure.subplots(1, 3, sharex=True, sharey=True), LAWS.items(), strict=True):
        for i, j, sign in ((0, 1, 1), (1, 0, -1)):
            after = v[i] + velocity_change(v[i].expand(200, 2), v[j].expand(200, 2), sign * n, law)
            axes.plot(*after.T, color=colour(i), linewidth=1.5)
            axes.plot(*after[25], "s", color=colour(i), markersize=6)
            axes.plot(*v[i], "o", color=colour(i), markersize=7)
            axes.annotate(f"v{'ᵢⱼ'[i]}", v[i].tolist(), xytext=(5, 6), textcoords="offset points")
        axes.plot(*v.mean(0), "+", color="black", markersize=9)
        axes.set_aspect("equal")
        polish(axes, "", "", NAMES[name])
    return png(figure)


def rate_figure() -> bytes:
    """Collisions per particle against coll_coef: the same threshold means other rates for other features."""
    figure = new_figure(9.0, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    coefficients = torch.linspace(0, 0.995, 41)
    for position, (dimension, particles) in enumerate(((2, 256), (4, 256), (16, 256))):
        rates = rates_of(dimension, particles, 1.0, coefficients)
        left.plot(coefficients, rates, color=colour(position), label=f"d = {dimension}")
    for position, scale in enumerate((0.01, 0.1, 0.3, 1.0)):
        rates = rates_of(16, 256, scale, coefficients)
        right.plot(coefficients, rates, color=colour(position), label=f"positions × {scale:g}")
    for axes, title in ((left, "standard normal features"), (right, "d = 16")):
        axes.set_yscale("log")
        axes.set_ylim(1e-3, 300)
        axes.axhline(0.05, color="black", linewidth=0.8, linestyle="--")
        polish(axes, "coll_coef", "", title)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    left.set_ylabel("collisions per particle")
    left.text(0.01, 0.06, "0.05, the shipped rate", fontsize=8)
    return png(figure)


def rates_of(dimension: int, particles: int, scale: float, coefficients: Tensor) -> list[float]:
    """Mean of k_i by equation (4); NaN for none, which a logarithm cannot show."""
    random = generator(0)
    x = scale * torch.randn(particles, dimension, generator=random)
    v = torch.randn(particles, dimension, generator=random)
    speed = relative_speed(v[:, None], v[None])
    rate = collision_rate(relative_distance(x[:, None], x[None]), speed, speed.max())
    means = [float((rate > 1 - c).sum()) / particles for c in coefficients]
    return [mean or math.nan for mean in means]


def energy_figure() -> bytes:
    """What many collisions of a particle do: momentum stays, energy does not."""
    random = generator(0)
    x, v = 0.1 * torch.randn(16, 64, 16, generator=random), torch.randn(16, 64, 16, generator=random)
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for position, name in enumerate(NAMES):
        points = []
        for coefficient in torch.linspace(0.2, 1.0, 25).tolist():
            pairs = pairs_by_coefficient(x, v, coefficient)
            out, statistics = collide(x, v, pairs, generator(1), LAWS[name], 1.0, update_position=False)
            after = out - x
            points.append((float(statistics[0]), float(after.square().sum() / v.square().sum())))
        points = [point for point in points if point[0] > 0.005]
        axes.plot(*zip(*points, strict=True), color=colour(position), label=NAMES[name])
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yscale("log")
    polish(axes, "collisions per particle", "Σ|v'|² / Σ|v|²")
    axes.legend(frameon=False, fontsize=9)
    return png(figure)


def soft_figure() -> bytes:
    """KO's soft collisions of two neurons: the angle between their gradients after against before."""
    figure = new_figure(5.6, 3.8)
    axes: Axes = figure.subplots()
    degrees = torch.linspace(0, 180, 181)
    radians = degrees.deg2rad()
    g = torch.stack(
        [torch.stack([torch.ones(181), torch.zeros(181)], 1), torch.stack([radians.cos(), radians.sin()], 1)], 1
    )
    w = torch.tensor([[1.0, 0.0], [math.cos(0.5), math.sin(0.5)]]).expand(181, 2, 2)
    axes.plot(degrees, degrees, color="black", linewidth=0.8, linestyle="--")
    for position, strength in enumerate((0.1, 0.3, 0.6)):
        after = soft_collisions(w, g, strength, self_similarity=False)
        cosine = torch.cosine_similarity(after[:, 0], after[:, 1], dim=1).clamp(-1, 1)
        axes.plot(degrees, cosine.acos().rad2deg(), color=colour(position), label=f"coll_coef = {strength:g}")
    polish(axes, "angle between two gradients before (degrees)", "after")
    axes.legend(frameon=False, fontsize=9)
    return png(figure)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, draw in {
        "kiti-pairs": pairs_figure,
        "kiti-outcomes": outcome_figure,
        "kiti-rate": rate_figure,
        "kiti-energy": energy_figure,
        "ko-soft": soft_figure,
    }.items():
        (IMAGES / f"{name}.png").write_bytes(draw())
        print(f"wrote {IMAGES / name}.png")
