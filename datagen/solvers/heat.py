"""The heat equation with a constant source on a periodic square, w_t = α Δw + q(x, y), in closed form.

Each mode is an ordinary differential equation with constant coefficients, so no time step is needed:

    ŵ(t) = e^{−λt} ŵ(0) + q̂ (1 − e^{−λt})/λ,    λ = 4π²α|k|²/L²,    and ŵ(t) = ŵ(0) + q̂ t for k = 0.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from datagen.solvers.etdrk4 import angular_wavenumbers

__all__ = ["boundary_source", "solve", "stored_source"]


def solve(
    initial: Float64[Tensor, "batch points points"],
    source: Float64[Tensor, "points points"],
    times: Sequence[float],
    diffusivity: float,
    length: float,
) -> Float64[Tensor, "batch frames points points"]:
    """The exact solution of the equation on the grid.

    Args:
        initial: w at time 0.
        source: q.
        times: instants, each ≥ 0.
        diffusivity: α.
        length: L.
    """
    points = initial.shape[-1]
    along = angular_wavenumbers(points, length).to(initial.device)
    folded = torch.fft.fftfreq(points, 1 / points, dtype=torch.float64, device=initial.device)
    across = (2 * torch.pi / length * folded)[:, None]
    rate = diffusivity * (across**2 + along**2)
    instants = torch.tensor(list(times), dtype=torch.float64, device=initial.device)[:, None, None]
    # (1 − e^{−λt})/λ without cancellation, and its limit t at λ = 0.
    gained = torch.where(rate > 0, -torch.expm1(-rate * instants) / rate.clamp(min=1e-300), instants)
    modes = torch.fft.rfft2(initial)[:, None] * torch.exp(-rate * instants) + torch.fft.rfft2(source) * gained
    return torch.fft.irfft2(modes, s=(points, points))


def boundary_source(points: int, strength: float) -> Float64[Tensor, "{points} {points}"]:
    """`strength` in the first and last row and column, 0 inside."""
    source = torch.full((points, points), strength, dtype=torch.float64)
    source[1:-1, 1:-1] = 0
    return source


def stored_source(points: int, stride: int, strength: float) -> Float64[Tensor, "stored stored"]:
    """The source on every stride-th point: each point's share goes to the two nearest of these, the nearer one more.

    A stride that only picks points keeps the first row and column and loses the last: another source than the one
    applied. Shared out, its mean over the grid and its place stay.

    Args:
        points: of the grid solved on, along each axis.
        stride: every how many of them one is stored.
        strength: see `boundary_source`.
    """
    source = boundary_source(points, strength)
    shifts = range(1 - stride, stride)
    for axis in (0, 1):
        shares = ((1 - abs(shift) / stride) / stride * torch.roll(source, shift, axis) for shift in shifts)
        source = sum(shares, torch.zeros_like(source))
    return source[::stride, ::stride]
