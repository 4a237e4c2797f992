"""Two-dimensional incompressible flow on a periodic square, in vorticity form.

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
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from datagen.checks import at_least, finite, number_of, positive
from datagen.equations.grids import field_text, solve_grid, square
from datagen.equations.settings import numerical
from datagen.errors import InputError
from datagen.solvers.etdrk4 import ETDRK4
from datagen.solvers.limits import MOST_STEPS, few_enough_steps, fits_memory
from datagen.solvers.random_fields import gaussian_field_2d, sample_seeds, vorticity_spectrum
from datagen.solvers.stepping import accurate_steps, round_up, stable_steps
from datagen.store.layout import Coordinate, Layout, Variable

__all__ = ["Frame", "NavierStokes", "VorticityEquation", "published_forcing", "solve"]

_STEPS_BETWEEN_LOOKS = 32

_PROBED_STEPS = 64
"""Steps of a group that are taken to measure the speed, where all of them are many more."""


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
def _equation(points: int, viscosity: float, length: float, forced: bool, device: str) -> VorticityEquation:
    # Kept from group to group: its sets of coefficients cost as much as many steps.
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


@dataclass(frozen=True)
class NavierStokes:
    """A data set of flows from random initial vorticity.

    Attributes:
        samples: how many.
        resolution: points stored along each axis; every s-th of the grid solved on.
        seed: of the data set; each sample's own follows from it and the sample's index.
        viscosity: ν.
        frames: instants stored: interval, 2·interval, …, frames·interval.
        interval: time between frames.
        forced: whether the published forcing acts.
        field: constant of the initial field: "published", "unit" or "literal", see `datagen.solvers.random_fields`.
        length: L.
        solve_resolution: points solved on, a multiple of `resolution`; 0: the same.
        step: fixed time step; 0: chosen for stability and tolerance.
        tolerance: relative L2 error that may arise between two frames.
    """

    equation: ClassVar[str] = "navier-stokes"

    samples: int = 20
    resolution: int = numerical(256)
    seed: int = 0
    viscosity: float = 1e-3
    frames: int = numerical(20)
    interval: float = numerical(1.0)
    forced: bool = True
    field: str = "published"
    length: float = 1.0
    solve_resolution: int = numerical(0)
    step: float = numerical(0.0)
    tolerance: float = numerical(1e-7)

    def __post_init__(self) -> None:
        number_of("samples", self.samples, 1)
        number_of("resolution", self.resolution, 4)
        at_least("seed", self.seed, 0)
        number_of("frames", self.frames, 1)
        positive("nu", self.viscosity)
        positive("interval", self.interval)
        positive("length", self.length)
        if not 1e-100 <= self.length <= 1e100:
            raise InputError(f"length {self.length:g} is beyond what float64 can square (allowed: 1e-100 to 1e100)")
        finite("time of the last frame", self.interval * self.frames)
        positive("tolerance", self.tolerance)
        if self.tolerance < np.finfo(np.float64).eps:
            raise InputError(f"tolerance {self.tolerance:g} is below float64's rounding (allowed: 2.3e-16 or more)")
        if self.step:
            positive("dt", self.step)
            least = f"dt {self.interval / MOST_STEPS:.2g} or more"
            few_enough_steps(self.interval / self.step, f"dt {self.step:g} with interval {self.interval:g}", least)
        vorticity_spectrum(self.field)
        object.__setattr__(self, "solve_resolution", solve_grid(self.resolution, self.solve_resolution, least=1))

    @property
    def times(self) -> Float64[np.ndarray, " frames"]:
        return self.interval * np.arange(1, self.frames + 1)

    def layout(self) -> Layout:
        """The file's coordinates, variables and attributes."""
        stepping = f"dt {self.step:g}" if self.step else f"dt by CFL and a tolerance of {self.tolerance:g} a frame"
        return Layout(
            equation=self.equation,
            config="",
            coordinates=(
                Coordinate("time", self.times, "1", "time since the initial condition", "T"),
                *square(self.resolution, self.length),
            ),
            variables=(
                Variable("vorticity", ("sample", "time", "x", "y"), "1", "vorticity v_x - u_y"),
                Variable("steps", ("sample", "time"), "1", "time steps since the frame before", "int32"),
                Variable("tail", ("sample", "time"), "1", "share of enstrophy in the highest tenth of wave numbers"),
            ),
            attributes={
                "title": "Navier-Stokes, vorticity form, periodic square: w_t + u.grad w = nu lap w + f",
                "nu": self.viscosity,
                "domain_length": self.length,
                "forcing": "0.1 (sin 2pi(x+y)/L + cos 2pi(x+y)/L)" if self.forced else "none",
                "initial_condition": field_text(self.field),
                "scheme": f"pseudospectral, 2/3 rule, Basdevant's form, ETDRK4 (contour coefficients), {stepping}",
                "solve_resolution": self.solve_resolution,
                "downsampling": f"every {self.solve_resolution // self.resolution}. point",
                "precision": "computed in float64, stored in float32",
            },
        )

    def check_size(self) -> None:
        points, stored = self.solve_resolution**2, self.resolution**2 * self.frames
        sizes = {"resolution": self.resolution, "solve resolution": self.solve_resolution, "frames": self.frames}
        fits_memory(6 * 8 * points + 4 * stored, sizes)

    def initial(self, indices: Sequence[int]) -> Float64[np.ndarray, "n x y"]:
        """ω at time 0 on the grid solved on."""
        seeds = sample_seeds(self.seed, indices)
        return gaussian_field_2d(seeds, self.solve_resolution, vorticity_spectrum(self.field))

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: `vorticity`, `steps` and `tail`."""
        stride = self.solve_resolution // self.resolution
        equation = _equation(self.solve_resolution, self.viscosity, self.length, self.forced, device)
        initial = torch.from_numpy(self.initial(indices)).to(device)
        frames, steps, tails = [], [], []
        for frame in solve(equation, initial, self.times.tolist(), self.tolerance, self.step or None):
            frames.append(frame.vorticity[:, ::stride, ::stride].float().cpu())
            steps.append(np.full(len(indices), frame.steps, dtype=np.int32))
            tails.append(frame.tail.cpu().numpy())
        return {
            "vorticity": torch.stack(frames, dim=1).numpy(),
            "steps": np.stack(steps, axis=1),
            "tail": np.stack(tails, axis=1),
        }

    def group(self, device: str) -> int:
        """Samples solved together. On a CPU no more than the cache holds."""
        points = self.solve_resolution**2
        return max(1, (2**15 if device == "cpu" else 2**20) // points)

    def causes(self) -> str:
        return f"nu {self.viscosity:g}, length {self.length:g} or interval {self.interval:g}"

    def probe(self) -> tuple["NavierStokes", float]:
        """Two frames, or some of their steps where they take many."""
        few = min(self.frames, 2)
        steps = self._steps_of_the_first_frame()
        if few * steps <= 4 * _PROBED_STEPS:
            return replace(self, frames=few), self.frames / few
        step = self.interval / steps
        return replace(self, frames=1, interval=_PROBED_STEPS * step, step=step), self.frames * steps / _PROBED_STEPS

    def _steps_of_the_first_frame(self) -> int:
        if self.step:
            return math.ceil(self.interval / self.step)
        equation = _equation(self.solve_resolution, self.viscosity, self.length, self.forced, "cpu")
        modes = equation.to_modes(torch.from_numpy(self.initial([0])))
        stable = equation.stable_steps(equation.speed(modes), self.interval)
        return max(stable, accurate_steps(equation.advance, modes, self.interval, stable, self.tolerance))
