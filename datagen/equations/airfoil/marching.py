"""Marching the Euler equations in time, and to steady flows, to validate the solver with."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from datagen.equations.airfoil.euler import Duals, Euler, Stream, primitive, uniform
from datagen.equations.airfoil.o_grid import o_grid
from datagen.errors import InputError

__all__ = ["Steady", "float64", "frames", "march", "steady"]

_STEPS_BETWEEN_LOOKS = 20


def march(euler: Euler, state: Tensor, duration: float, courant: float) -> tuple[int, Tensor]:
    """Advance by a duration in equal stretches of steps; how many, and the state after them.

    Raises:
        InputError: the flow has left the states of a gas.
    """
    left, taken = duration, 0
    while left > 0:
        stable = courant * float(euler.stable_step(state).min())
        if not (math.isfinite(stable) and stable > 0):
            raise InputError("the flow has blown up: a smaller --courant, or smaller angles, may keep it a gas")
        count = max(1, math.ceil(left / stable * (1 - 1e-12)))
        for _ in range(min(count, _STEPS_BETWEEN_LOOKS)):
            state = euler.advance(state, left / count)
        taken += min(count, _STEPS_BETWEEN_LOOKS)
        left = left * (1 - _STEPS_BETWEEN_LOOKS / count) if count > _STEPS_BETWEEN_LOOKS else 0.0
    return taken, state


def frames(euler: Euler, state: Tensor, interval: float, frames: int, courant: float) -> Iterator[tuple[int, Tensor]]:
    yield 0, state
    for _ in range(frames - 1):
        steps, state = march(euler, state, interval, courant)
        yield steps, state


@dataclass(frozen=True)
class Steady:
    """What became of steady flows.

    Attributes:
        lift, drag: coefficients of each.
        residual: Σ |dρ/dt| V of each.
        state: U.
        euler: the equations it obeys.
    """

    lift: list[float]
    drag: list[float]
    residual: list[float]
    state: Tensor
    euler: Euler


def steady(
    airfoil: str,
    streams: Sequence[tuple[float, float]],
    around: int = 128,
    layers: int = 40,
    far: float = 60.0,
    evenness: float = 0.3,
    first: float = 1.0,
    steps: int = 4000,
    levels: int = 2,
    courant: float = 1.2,
    compiled: bool = False,
    progress: Callable[[str, Steady], None] | None = None,
) -> Steady:
    """Steady flows by local time steps, with the point vortex in the far field, from coarse grids to the one wanted.

    Args:
        airfoil: NACA four-digit section.
        streams: (M, α in degrees) of each.
        around, layers, far, evenness, first: as of `datagen.equations.airfoil.cases.Airfoil`.
        steps: local time steps on each grid.
        levels: grids, each of half the nodes along either line of the next.
        courant: share of the longest stable local step.
        compiled: whether the fluxes are compiled (half a minute a grid, then about a third of the time).
        progress: told every 1000 steps where the work is.
    """
    mach, angle = np.array(streams, np.float64).T
    stream = Stream(float64(mach), torch.deg2rad(float64(angle)), True)
    found = None
    for level in reversed(range(levels)):
        size = around // 2**level, layers // 2**level
        euler = Euler(Duals.of(o_grid(airfoil, *size, far, evenness, first).z), stream)
        state = uniform(euler.duals, stream) if found is None else _finer(found.state, *size)
        if compiled:
            euler.rate = torch.compile(euler.rate, dynamic=False)
        for done in range(0, steps, 1000):
            state = _relax(euler, state, min(1000, steps - done), courant)
            lift, drag = euler.force(primitive(state)).tolist()
            residual = (euler.rate(state)[0] * euler.duals.volume).abs().sum((1, 2)).tolist()
            found = Steady(lift, drag, residual, state, euler)
            if progress:
                progress(f"{size[0]} x {size[1]}, {done + 1000} steps", found)
    assert found is not None
    return found


def _relax(euler: Euler, state: Tensor, steps: int, courant: float) -> Tensor:
    """Local time steps."""
    local = torch.zeros(())
    for step in range(steps):
        if step % 10 == 0:
            euler.feel_lift(state)
            local = courant * euler.stable_step(state)
        state = euler.advance(state, local)
    return state


def _finer(state: Float64[Tensor, "4 batch less fewer"], around: int, layers: int) -> Tensor:
    """The state on a grid of more nodes, linear in the numbers of the nodes."""
    closed = torch.cat([state, state[..., :1]], -1)
    return torch.nn.functional.interpolate(closed, (layers, around + 1), mode="bilinear", align_corners=True)[..., :-1]


def float64(values: Sequence[float] | Float64[np.ndarray, " n"], device: str = "cpu") -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64, device=device)
