"""The viscous Burgers equation on a periodic interval, u_t + u u_x = ν u_xx, by two methods that share nothing.

*Cole–Hopf*: u = −2ν φ_x/φ, where φ_t = ν φ_xx and φ(x, 0) = exp(−∫u₀/2ν), so each mode of φ decays by e^{−νκ²t}: exact,
no time step. It loses digits as φ spans more decades: its highest value is e^{range(∫u₀)/2ν} times its lowest. Beyond
`COLE_HOPF_LIMIT` the *ETDRK4* pseudospectral method (2/3 rule) takes over.

References:
    E. Hopf, "The partial differential equation u_t + u u_x = μ u_xx", Comm. Pure Appl. Math. 3 (1950).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from datagen.solvers.etdrk4 import ETDRK4, angular_wavenumbers
from datagen.solvers.stepping import accurate_steps, stable_steps

__all__ = ["COLE_HOPF_LIMIT", "cole_hopf", "cole_hopf_exponent", "etdrk4", "solve", "tail"]

COLE_HOPF_LIMIT = 20.0
"""Largest range(∫u₀)/2ν for Cole–Hopf. Rounding grows as its exponential: 1e-11 of ‖u‖ at 17, 1e-10 here."""

_TOLERANCE = 1e-9
"""Relative L2 error of ETDRK4 between two instants: well below float32's rounding."""


def solve(
    initial: Float64[Tensor, "batch points"], times: Sequence[float], viscosity: float, length: float
) -> tuple[Float64[Tensor, "batch frames points"], list[str]]:
    """Solutions at the given times, each by the method that is accurate for it, and which one that was."""
    by_formula = cole_hopf_exponent(initial, viscosity, length) <= COLE_HOPF_LIMIT
    result = initial.new_empty((len(initial), len(times), initial.shape[-1]))
    if by_formula.any():
        result[by_formula] = cole_hopf(initial[by_formula], times, viscosity, length)
    for index in torch.nonzero(~by_formula).flatten().tolist():
        result[index] = etdrk4(initial[index : index + 1], times, viscosity, length)[0]
    return result, ["cole_hopf" if exact else "etdrk4" for exact in by_formula.tolist()]


def tail(solution: Float64[Tensor, "batch frames points"]) -> Float64[Tensor, "batch frames"]:
    """Share of |u_x|² above nine tenths of the wave numbers that ETDRK4 keeps: near 0 when the grid is fine enough.

    What rounding alone leaves there is 0, so that it is the same on every processor.
    """
    points = solution.shape[-1]
    numbers = torch.arange(points // 2 + 1, dtype=torch.float64, device=solution.device)
    power = torch.view_as_real(torch.fft.rfft(solution)).square_().sum(-1).mul_(numbers.square_())
    outer = power[..., math.floor(0.9 * ((points - 1) // 3)) + 1 :]
    share = outer.sum(-1) / power.sum(-1).clamp(min=1e-300)
    return torch.where(share > 1e-12, share, 0.0)


def cole_hopf_exponent(
    initial: Float64[Tensor, "batch points"], viscosity: float, length: float
) -> Float64[Tensor, " batch"]:
    """range(∫u₀)/2ν: the logarithm of how many times larger φ is at its highest than at its lowest."""
    potential = _antiderivative(initial, length)
    return (potential.amax(-1) - potential.amin(-1)) / (2 * viscosity)


def cole_hopf(
    initial: Float64[Tensor, "batch points"], times: Sequence[float], viscosity: float, length: float
) -> Float64[Tensor, "batch frames points"]:
    """The closed-form solution.

    Args:
        initial: u₀ with zero mean on a uniform grid of [0, L).
        times: instants, each ≥ 0.
        viscosity: ν > 0.
        length: L.
    """
    points = initial.shape[-1]
    potential = _antiderivative(initial, length) / (-2 * viscosity)
    # φ is defined up to a factor: with its maximum at 1 the exponential cannot overflow.
    modes = torch.fft.rfft(torch.exp(potential - potential.amax(-1, keepdim=True)))
    wavenumbers = angular_wavenumbers(points, length).to(initial.device)
    instants = torch.tensor(list(times), dtype=torch.float64, device=initial.device)
    decayed = modes[:, None] * torch.exp(-viscosity * wavenumbers**2 * instants[:, None])
    slope = torch.fft.irfft(_derivative_factor(wavenumbers, points) * decayed, n=points)
    return -2 * viscosity * slope / torch.fft.irfft(decayed, n=points)


def etdrk4(
    initial: Float64[Tensor, "batch points"],
    times: Sequence[float],
    viscosity: float,
    length: float,
    largest_step: float | None = None,
) -> Float64[Tensor, "batch frames points"]:
    """The solution by ETDRK4 with N(u) = −½ (u²)_x and the 2/3 rule.

    Args:
        initial: u₀ with zero mean on a uniform grid of [0, L).
        times: instants, increasing and ≥ 0.
        viscosity: ν > 0.
        length: L.
        largest_step: upper bound of the time step; by default stability and a tolerance of 1e-9 decide.
    """
    points = initial.shape[-1]
    wavenumbers = angular_wavenumbers(points, length).to(initial.device)
    kept = (torch.arange(len(wavenumbers), device=initial.device) <= (points - 1) // 3).double()
    factor = -0.5 * _derivative_factor(wavenumbers, points) * kept

    def nonlinear(state: Tensor) -> Tensor:
        return factor * torch.fft.rfft(torch.fft.irfft(state, n=points) ** 2)

    def advance(state: Tensor, duration: float, steps: int) -> Tensor:
        scheme = ETDRK4.of(-viscosity * wavenumbers**2, duration / max(steps, 1))
        for _ in range(steps):
            state = scheme.step(state, nonlinear)
        return state

    state = torch.fft.rfft(initial) * kept
    # |u| never grows (maximum principle), so one bound of the speed holds for all times.
    speed = float(initial.abs().max())
    frames, now = [], 0.0
    for instant in times:
        duration = instant - now
        if largest_step:
            steps = math.ceil(duration / largest_step * (1 - 1e-12))
        elif duration:
            stable = stable_steps(speed, duration, viscosity, wavenumbers[1 : (points - 1) // 3 + 1])
            steps = max(stable, accurate_steps(advance, state, duration, stable, _TOLERANCE))
        else:
            steps = 0
        state = advance(state, duration, steps)
        frames.append(torch.fft.irfft(state, n=points))
        now = instant
    return torch.stack(frames, dim=1)


def _antiderivative(values: Tensor, length: float) -> Tensor:
    points = values.shape[-1]
    wavenumbers = angular_wavenumbers(points, length).to(values.device)
    inverse = torch.zeros_like(wavenumbers)
    inverse[1:] = 1 / wavenumbers[1:]
    if points % 2 == 0:
        inverse[-1] = 0
    return torch.fft.irfft(-1j * inverse * torch.fft.rfft(values), n=points)


def _derivative_factor(wavenumbers: Tensor, points: int) -> Tensor:
    factor = 1j * wavenumbers
    if points % 2 == 0:
        factor[-1] = 0
    return factor
