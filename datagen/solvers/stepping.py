"""How many steps an interval of time needs: for stability, and for a tolerance."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from datagen.errors import InputError
from datagen.solvers.limits import few_enough_steps

__all__ = ["Advance", "accurate_steps", "round_up", "stable_steps"]

Advance = Callable[[Complex128[Tensor, "batch *modes"], float, int], Complex128[Tensor, "batch *modes"]]
"""The state after a duration cut into a number of equal steps."""

_LARGEST_TURN = 0.8 * 2.8
"""Most that a step may turn a mode by advection: ETDRK4 without damping is stable up to about 2.8 radians."""

_COUNTS = tuple(sorted({round(base * 2.0**power) for base in (4, 5, 6, 7) for power in range(-2, 20)}))
"""Numbers of steps are taken from here, so that few sets of coefficients are needed."""


def round_up(steps: float) -> int:
    """The least number of steps in use that is not below the one given."""
    return next((count for count in _COUNTS if count >= steps * (1 - 1e-9)), _COUNTS[-1])


def stable_steps(speed: float, duration: float, viscosity: float, wavenumbers: Float64[Tensor, " modes"]) -> int:
    """The fewest steps of a duration that advection at a speed leaves stable.

    Undamped, a mode κ may turn by speed·κ·h ≤ 0.8·2.8. The scheme integrates the viscous term exactly, which scales
    what advection does within a step by (1 − e^{−z})/z, z = νκ²h: modes that diffuse fast ask nothing of the step.

    Args:
        speed: largest |u| (in one dimension) or |u| + |v| (in two).
        duration: of the interval.
        viscosity: ν.
        wavenumbers: κ > 0 along an axis.

    Raises:
        InputError: no number of steps in use is enough.
    """
    for steps in _COUNTS:
        step = duration / steps
        damping = viscosity * wavenumbers**2 * step
        factor = torch.where(damping > 1e-12, -torch.expm1(-damping) / damping.clamp(min=1e-12), 1.0)
        if speed * step * float((wavenumbers * factor).max()) <= _LARGEST_TURN:
            return steps
    possible = _COUNTS[-1] * _LARGEST_TURN / (speed * float(wavenumbers.max()))
    raise InputError(
        f"a speed of {speed:.3g} needs more than {_COUNTS[-1]} time steps in the time of {duration:g} between frames "
        f"(possible on this grid: a time of {possible:.2g})"
    )


def accurate_steps(
    advance: Advance, state: Complex128[Tensor, "batch *modes"], duration: float, steps: int, tolerance: float
) -> int:
    """How many steps keep the error that arises within a duration below a tolerance.

    One step of duration/steps is compared with two of half its length. An error that falls with the fifth power of the
    step is 16/15 of their difference.

    Args:
        advance: the scheme.
        state: at the start.
        duration: of the interval.
        steps: a stable number to try.
        tolerance: relative L2 error wanted of the interval.

    Raises:
        InputError: no number of steps in use is enough.
    """
    step = duration / steps
    halves = advance(state, step, 2)
    difference = (advance(state, step, 1) - halves).flatten(1).norm(dim=1)
    error = 16 / 15 * float((difference / halves.flatten(1).norm(dim=1).clamp(min=1e-30)).max())
    if not math.isfinite(error):
        return round_up(4 * steps)
    needed = steps * max(steps * error / tolerance, 1e-3) ** 0.25
    few_enough_steps(needed, f"a tolerance of {tolerance:g} in a time of {duration:g}", "a larger tolerance")
    return round_up(needed)
