"""Pseudospectral tools: wave numbers and the exponential Runge–Kutta scheme of fourth order, in torch.

For u_t = L u + N(u) with a diagonal L ≤ 0 (in Fourier space) one ETDRK4 step of length h is

    a = e^{Lh/2} u + Q N(u)
    b = e^{Lh/2} u + Q N(a)
    c = e^{Lh/2} a + Q (2 N(b) − N(u))
    u ← e^{Lh} u + f₁ N(u) + f₂ (N(a) + N(b)) + f₃ N(c)

with, for z = Lh,

    Q  = h (e^{z/2} − 1)/z
    f₁ = h (−4 − z + e^z (4 − 3z + z²))/z³
    f₂ = 2h (2 + z + e^z (−2 + z))/z³
    f₃ = h (−4 − 3z − z² + e^z (4 − z))/z³.

Near z = 0 these lose every digit to cancellation. They are analytic, so each is the mean of its values on a circle
round z, where nothing cancels.

References:
    A.-K. Kassam, L. N. Trefethen, "Fourth-Order Time-Stepping for Stiff PDEs", SIAM J. Sci. Comput. 26 (2005).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from datagen.errors import InputError

__all__ = ["ETDRK4", "Nonlinearity", "angular_wavenumbers", "choose_device"]

Nonlinearity = Callable[[Complex[Tensor, "..."]], Complex[Tensor, "..."]]

_CONTOUR_POINTS = 32


@dataclass(frozen=True)
class ETDRK4:
    """The scheme's coefficients for one linear part and one step length; `step` takes the step."""

    full: Float[Tensor, "..."]
    half: Float[Tensor, "..."]
    weight_stage: Float[Tensor, "..."]
    weight_first: Float[Tensor, "..."]
    weight_middle: Float[Tensor, "..."]
    weight_last: Float[Tensor, "..."]

    @classmethod
    def of(cls, linear: Float[Tensor, "..."], step: float) -> "ETDRK4":
        """Coefficients for u_t = linear·u + N(u) and steps of the given length.

        Args:
            linear: L for each mode, real and float64.
            step: h, in units of time.
        """
        angles = math.pi * (torch.arange(_CONTOUR_POINTS, dtype=torch.float64) + 0.5) / _CONTOUR_POINTS
        # L is real, so the lower half of the circle is the conjugate of the upper one: the real part is the mean.
        circle = torch.exp(1j * angles).to(linear.device)
        scaled = linear * step
        stage, first, middle, last = (torch.zeros_like(scaled) for _ in range(4))
        for point in circle:
            z = scaled + point
            exponential = torch.exp(z)
            cube = z**3
            stage += ((torch.exp(z / 2) - 1) / z).real
            first += ((-4 - z + exponential * (4 - 3 * z + z**2)) / cube).real
            middle += (2 * (2 + z + exponential * (z - 2)) / cube).real
            last += ((-4 - 3 * z - z**2 + exponential * (4 - z)) / cube).real
        mean = step / _CONTOUR_POINTS
        return cls(torch.exp(scaled), torch.exp(scaled / 2), stage * mean, first * mean, middle * mean, last * mean)

    def step(self, state: Complex[Tensor, "..."], nonlinear: Nonlinearity) -> Complex[Tensor, "..."]:
        """The state one step later."""
        at_start = nonlinear(state)
        decayed = self.half * state
        first = decayed + self.weight_stage * at_start
        at_first = nonlinear(first)
        at_second = nonlinear(decayed + self.weight_stage * at_first)
        at_third = nonlinear(self.half * first + self.weight_stage * (2 * at_second - at_start))
        return (
            self.full * state
            + self.weight_first * at_start
            + self.weight_middle * (at_first + at_second)
            + self.weight_last * at_third
        )


def angular_wavenumbers(points: int, length: float) -> Float[Tensor, " modes"]:
    """κ = 2πk/L of the modes that `torch.fft.rfft` returns."""
    return 2 * math.pi / length * torch.arange(points // 2 + 1, dtype=torch.float64)


def choose_device(name: str) -> str:
    """ "auto" is the GPU where there is one.

    Raises:
        InputError: "cuda" without such a device, or another name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device '{name}' (allowed: auto, cpu, cuda)")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: no CUDA device is visible (allowed here: auto, cpu)")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
