"""Solving two-dimensional incompressible flow on a periodic square, in vorticity form.

    ω_t + u·∇ω = ν Δω + f,    u = (ψ_y, −ψ_x),    −Δψ = ω,    (x, y) in [0, L)²

Pseudospectral in space, ETDRK4 in time (`datagen.solvers.etdrk4`): the viscous term exactly, the advective one
explicitly. The advective term takes two inverse and two forward transforms in Basdevant's form,

    u·∇ω = (∂_xx − ∂_yy)(uv) + ∂_xy (v² − u²),

and products are free of aliasing because only modes with |k| < n/3 are kept (the 2/3 rule); those are all that is
transformed.

The published forcing is f = 0.1 (sin 2π(x + y)/L + cos 2π(x + y)/L).

References:
    C. Basdevant, "Technical improvements for direct numerical simulation of homogeneous three-dimensional turbulence",
    J. Comput. Phys. 50 (1983).
    Z. Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021, appendix A.3.3.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from datagen.errors import InputError
from datagen.solvers.etdrk4 import ETDRK4
from datagen.solvers.stepping import accurate_steps, round_up, stable_steps

__all__ = ["Frame", "VorticityEquation", "equation_of", "published_forcing", "solve"]

_STEPS_BETWEEN_LOOKS = 32


class VorticityEquation:
    """The equation on a grid: its modes, its right-hand side and its time step.

    A field of n×n points is kept as its modes ω̂ of |kx|, |ky| ≤ K, K the largest integer below n/3, ky ≥ 0, as an array
    [..., ky, kx] of (K + 1)×n; those with |kx| > K are zero. ω = Σ ω̂ e^{2πi(kx x + ky y)/L}.
    """

    def __init__(
        self,
        points: int,
        viscosity: float,
        length: float = 1.0,
        forcing: Float64[Tensor, "{points} {points}"] | None = None,
        device: str = "cpu",
    ) -> None:
        self.points, self.viscosity, self.length = points, viscosity, length
        self.largest = (points - 1) // 3
        unit = 2 * math.pi / length
        kx = unit * torch.fft.fftfreq(points, 1 / points, dtype=torch.float64, device=device)
        ky = unit * torch.arange(self.largest + 1, dtype=torch.float64, device=device)[:, None]
        self.kept = (kx.abs() < unit * (self.largest + 0.5)) & (ky >= 0)
        self.squared = kx**2 + ky**2
        inverse = torch.where(self.kept & (self.squared > 0), 1 / self.squared.clamp(min=unit**2 / 2), 0.0)
        self._to_velocity = torch.stack((1j * ky * inverse, -1j * kx * inverse))
        # Side by side for the real and the imaginary part, as ETDRK4 keeps its coefficients.
        self._mixed = torch.stack((kx * ky * self.kept,) * 2, dim=-1)
        self._difference = torch.stack(((kx**2 - ky**2) * self.kept,) * 2, dim=-1)
        field = torch.zeros(points, points, dtype=torch.float64) if forcing is None else forcing
        self.strength = float(field.abs().max())
        self._forcing = torch.view_as_real(self.to_modes(field.to(device)))
        self._scheme = lru_cache(maxsize=max(8, 2**22 // points**2))(self._new_scheme)

    def to_modes(self, field: Float64[Tensor, "*batch x y"]) -> Complex128[Tensor, "*batch ky kx"]:
        """The kept modes of values on the grid."""
        return self._transform(field) * self.kept

    def to_grid(self, modes: Complex128[Tensor, "*batch ky kx"]) -> Float64[Tensor, "*batch x y"]:
        """Values on the grid."""
        columns = torch.fft.ifft(modes, norm="forward").transpose(-1, -2)
        return torch.fft.irfft(columns, n=self.points, norm="forward")

    def velocity(self, modes: Complex128[Tensor, "*batch ky kx"]) -> Float64[Tensor, "2 *batch x y"]:
        """(u, v) on the grid."""
        factors = self._to_velocity.reshape(2, *(1,) * (modes.ndim - 2), *modes.shape[-2:])
        return self.to_grid(factors * modes)

    def explicit(self, modes: Complex128[Tensor, "*batch ky kx"]) -> Complex128[Tensor, "*batch ky kx"]:
        """f − u·∇ω."""
        velocity = self.velocity(modes)
        u, v = velocity[0], velocity[1]
        products = torch.empty_like(velocity)
        torch.mul(u, v, out=products[0])
        torch.mul(v - u, v + u, out=products[1])
        uv, difference = torch.view_as_real(self._transform(products))
        # ∂_xx − ∂_yy is −(kx² − ky²) and ∂_xy is −kx ky, and the term stands on the right: all signs cancel.
        result = torch.addcmul(self._forcing, uv, self._difference).addcmul_(difference, self._mixed)
        return torch.view_as_complex(result)

    def advance(
        self, modes: Complex128[Tensor, "*batch ky kx"], duration: float, steps: int
    ) -> Complex128[Tensor, "*batch ky kx"]:
        """The state after a duration cut into equal steps."""
        scheme = self._scheme(duration / steps)
        for number in range(1, steps + 1):
            modes = scheme.step(modes, self.explicit)
            # What has left the finite numbers does not come back.
            if number % _STEPS_BETWEEN_LOOKS == 0 and not bool(torch.view_as_real(modes).isfinite().all()):
                break
        return modes

    def speed(self, modes: Complex128[Tensor, "*batch ky kx"]) -> float:
        """max(|u| + |v|) over the grid and the batch."""
        return float(self.velocity(modes).abs().sum(0).max())

    def stable_steps(self, speed: float, duration: float) -> int:
        """The fewest steps of a duration that advection at this speed leaves stable."""
        wavenumbers = 2 * math.pi / self.length * torch.arange(1, self.largest + 1, dtype=torch.float64)
        return stable_steps(speed, duration, self.viscosity, wavenumbers)

    def tail(self, modes: Complex128[Tensor, "batch ky kx"]) -> Float64[Tensor, " batch"]:
        """Share of the enstrophy in the highest tenth of the kept wave numbers: near 0 when the grid is fine enough."""
        outer = self.squared > (0.9 * self.largest * 2 * math.pi / self.length) ** 2
        power = modes.abs().square()
        return (power * outer).sum((-1, -2)) / power.sum((-1, -2)).clamp(min=1e-300)

    def _transform(self, field: Tensor) -> Tensor:
        rows = torch.fft.rfft(field, norm="forward")[..., : self.largest + 1]
        return torch.fft.fft(rows.transpose(-1, -2), norm="forward")

    def _new_scheme(self, step: float) -> ETDRK4:
        # Coefficients depend on kx² + ky² alone, and few values of it are distinct.
        values, place = torch.unique(self.squared, return_inverse=True)
        scheme = ETDRK4.of(-self.viscosity * values, step)
        if not bool(scheme.weight_last.isfinite().all()):
            raise InputError(
                f"nu {self.viscosity:g} on a length of {self.length:g} with time steps of {step:.2g} "
                "is beyond the range of float64 (allowed: a smaller nu or dt, or a larger length)"
            )
        return scheme.take(place)


@dataclass(frozen=True)
class Frame:
    """The state at an instant.

    Attributes:
        vorticity: ω on the grid.
        steps: taken since the frame before.
        tail: see `VorticityEquation.tail`.
    """

    vorticity: Float64[Tensor, "batch x y"]
    steps: int
    tail: Float64[Tensor, " batch"]


def solve(
    equation: VorticityEquation,
    initial: Float64[Tensor, "batch x y"],
    times: Sequence[float],
    tolerance: float = 1e-7,
    step: float | None = None,
) -> Iterator[Frame]:
    """The flow at the given times, one frame after the other.

    Args:
        equation: grid, viscosity and forcing.
        initial: ω at time 0.
        times: increasing, > 0.
        tolerance: relative L2 error allowed to arise between two frames; the number of steps follows from it and from
            the stability of advection.
        step: instead of all this, a fixed time step.

    Raises:
        InputError: the solution has blown up: the fixed step was too large; or it needs too many steps.
    """
    modes, now, speed = equation.to_modes(initial), 0.0, equation.speed(equation.to_modes(initial))
    accurate, measured_at = 1, speed
    highest, strength = float(initial.abs().max()), equation.strength
    at_first = equation.stable_steps(speed, times[0])
    for number, instant in enumerate(times):
        duration = instant - now
        if step is not None:
            steps = max(1, math.ceil(duration / step * (1 - 1e-9)))
            modes = equation.advance(modes, duration, steps)
            speed = equation.speed(modes)
        else:
            stable = equation.stable_steps(speed, duration)
            # Two to the number of frames apart: what the error does in between follows the speed.
            if (number + 1) & number == 0:
                accurate, measured_at = accurate_steps(equation.advance, modes, duration, stable, tolerance), speed
            steps = max(stable, round_up(accurate * min(speed / max(measured_at, 1e-300), 4.0)))
            modes, steps, speed = _advance_safely(equation, modes, duration, steps)
        vorticity = equation.to_grid(modes)
        # ω is carried along and diffuses: it cannot exceed its start and what the forcing adds. Waves round an edge
        # that the grid cannot resolve overshoot a little; a blow-up does not stop at three times.
        if not float(vorticity.abs().max()) <= 3 * (highest + instant * strength):
            remedy = "" if step is None else f" (stable up to about {duration / at_first:.2g} at the start)"
            raise InputError(
                f"the solution has blown up at time {instant:g}: dt {duration / steps:g} is too large for it{remedy}"
            )
        yield Frame(vorticity, steps, equation.tail(modes))
        now = instant


def published_forcing(points: int) -> Float64[Tensor, "{points} {points}"]:
    """0.1 (sin 2π(x + y)/L + cos 2π(x + y)/L) on the grid."""
    place = torch.arange(points, dtype=torch.float64) / points
    phase = 2 * math.pi * (place[:, None] + place)
    return 0.1 * (torch.sin(phase) + torch.cos(phase))


@lru_cache(maxsize=2)
def equation_of(points: int, viscosity: float, length: float, forced: bool, device: str) -> VorticityEquation:
    """The equation with or without the published forcing.

    It is kept from group to group: its sets of coefficients cost as much as many steps.
    """
    return VorticityEquation(points, viscosity, length, published_forcing(points) if forced else None, device)


def _advance_safely(
    equation: VorticityEquation, modes: Tensor, duration: float, steps: int
) -> tuple[Tensor, int, float]:
    """Advance; with more steps again, if the flow has become too fast for them meanwhile."""
    while True:
        later = equation.advance(modes, duration, steps)
        speed = equation.speed(later)
        needed = _needed_steps(equation, speed, duration, steps)
        if needed <= steps:
            return later, steps, speed
        steps = needed


def _needed_steps(equation: VorticityEquation, speed: float, duration: float, steps: int) -> int:
    """What the speed at the end would have asked for; at most four times more, since it may be an artefact itself."""
    more = round_up(4 * steps)
    if not math.isfinite(speed):
        return more
    try:
        return min(equation.stable_steps(0.8 * speed, duration), more)
    except InputError:
        return more
