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
from dataclasses import dataclass, fields

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from datagen.errors import InputError

__all__ = ["ETDRK4", "Nonlinearity", "angular_wavenumbers", "choose_device"]

Nonlinearity = Callable[[Complex[Tensor, "..."]], Complex[Tensor, "..."]]

_CONTOUR_POINTS = 32


@dataclass(frozen=True)
class ETDRK4:
    """The scheme's coefficients for one linear part and one step length; `step` takes the step.

    Real coefficients times complex modes are cheapest as real arrays of (real, imaginary) pairs, so that is how the
    coefficients are kept: each twice, side by side.
    """

    full: Float[Tensor, "... 2"]
    half: Float[Tensor, "... 2"]
    weight_stage: Float[Tensor, "... 2"]
    weight_first: Float[Tensor, "... 2"]
    weight_middle: Float[Tensor, "... 2"]
    weight_last: Float[Tensor, "... 2"]

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
        weights = (torch.exp(scaled), torch.exp(scaled / 2), stage * mean, first * mean, middle * mean, last * mean)
        return cls(*(torch.stack((weight, weight), dim=-1) for weight in weights))

    def take(self, place: Int[Tensor, "..."]) -> "ETDRK4":
        """The coefficients of modes that are given by their place among those of this scheme."""
        return ETDRK4(*(getattr(self, field.name)[place] for field in fields(self)))

    def step(self, state: Complex[Tensor, "..."], nonlinear: Nonlinearity) -> Complex[Tensor, "..."]:
        """The state one step later."""

        def slope(pairs: Tensor) -> Tensor:
            return torch.view_as_real(nonlinear(torch.view_as_complex(pairs)))

        start = torch.view_as_real(state)
        at_start = slope(start)
        decayed = self.half * start
        first = torch.addcmul(decayed, self.weight_stage, at_start)
        at_first = slope(first)
        second = torch.addcmul(decayed, self.weight_stage, at_first)
        at_second = slope(second)
        third = torch.addcmul(self.half * first, self.weight_stage, torch.sub(2 * at_second, at_start))
        at_third = slope(third)
        result = torch.addcmul(self.full * start, self.weight_first, at_start)
        result.addcmul_(self.weight_middle, at_first.add_(at_second))
        result.addcmul_(self.weight_last, at_third)
        return torch.view_as_complex(result)


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
