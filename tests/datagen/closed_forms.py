"""Closed-form solutions, to test the solvers against. Grids as everywhere: x_j = jL/n."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

__all__ = ["burgers_wave", "forced_from_rest", "heat_mode", "one_shell"]


def burgers_wave(
    points: int, time: float, viscosity: float, length: float, steepness: float
) -> Float64[Tensor, "{points}"]:
    """u = −2ν φ_x/φ with φ = 1 + a e^{−νκ²t} cos κx, κ = 2π/L.

    Args:
        points: n.
        time: t.
        viscosity: ν.
        length: L.
        steepness: a, with |a| < 1.
    """
    wavenumber = 2 * math.pi / length
    phase = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    height = steepness * math.exp(-viscosity * wavenumber**2 * time)
    return 2 * viscosity * wavenumber * height * torch.sin(phase) / (1 + height * torch.cos(phase))


def forced_from_rest(
    forcing: Float64[Tensor, "n n"], time: float, viscosity: float, length: float
) -> Float64[Tensor, "n n"]:
    """ω(t) = f (1 − e^{−λt})/λ, λ = 8π²ν/L²: the vorticity that the published forcing makes from rest.

    The forcing depends on x + y alone, so the flow is parallel and advects nothing.
    """
    rate = 8 * math.pi**2 * viscosity / length**2
    return forcing * -math.expm1(-rate * time) / rate


def one_shell(
    points: int, modes: Sequence[tuple[int, int, float, float]], time: float, viscosity: float, length: float
) -> Float64[Tensor, "{points} {points}"]:
    """Σ a cos(2πk·x/L + φ) e^{−4π²|k|²νt/L²} over modes of one |k|.

    On one shell Δψ ∝ ψ, so u·∇ω = 0 whatever the mixture. Taylor and Green's vortices are an example.

    Args:
        points: n.
        modes: (kx, ky, a, φ) of each, all of the same kx² + ky².
        time: t.
        viscosity: ν.
        length: L.
    """
    shells = {kx**2 + ky**2 for kx, ky, _, _ in modes}
    if len(shells) != 1:
        raise ValueError(f"the modes lie on several shells: {sorted(shells)}")
    place = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    waves = [a * torch.cos(kx * place[:, None] + ky * place + phase) for kx, ky, a, phase in modes]
    decay = math.exp(-4 * math.pi**2 * shells.pop() * viscosity * time / length**2)
    return decay * torch.stack(waves).sum(0)


def heat_mode(
    points: int,
    wavevector: tuple[int, int],
    time: float,
    diffusivity: float,
    length: float,
    start: float,
    source: float,
) -> Float64[Tensor, "{points} {points}"]:
    """The amplitude of cos(2πk·x/L) under w_t = αΔw + q cos(2πk·x/L), times that wave.

    Args:
        points: n.
        wavevector: k; (0, 0) is the mean.
        time: t.
        diffusivity: α.
        length: L.
        start: amplitude at time 0.
        source: q.
    """
    rate = 4 * math.pi**2 * diffusivity * (wavevector[0] ** 2 + wavevector[1] ** 2) / length**2
    gained = time if rate == 0 else -math.expm1(-rate * time) / rate
    place = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    wave = torch.cos(wavevector[0] * place[:, None] + wavevector[1] * place)
    return (math.exp(-rate * time) * start + source * gained) * wave
