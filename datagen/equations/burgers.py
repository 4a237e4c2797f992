"""The viscous Burgers equation on a periodic interval.

    u_t + u u_x = ν u_xx,    x in [0, L),    u(x, 0) = u₀(x) with zero mean

Two solvers that share nothing. *Cole–Hopf*: u = −2ν φ_x/φ, where φ_t = ν φ_xx and φ(x, 0) = exp(−∫u₀/2ν), so each mode
of φ decays by e^{−νκ²t}: exact, no time step. It loses digits as φ spans more decades: its highest value is
e^{range(∫u₀)/2ν} times its lowest. Beyond `COLE_HOPF_LIMIT` the *ETDRK4* pseudospectral method (2/3 rule) takes over.

The published data (`burgers_data_R10.mat`) were made with ν = 0.1 on a domain of length 2π, although the paper speaks
of (0, 1): the norms of u₀ and u(1) fit 2π (ratio 0.82) and not 1 (0.016). Both lengths are offered.

References:
    E. Hopf, "The partial differential equation u_t + u u_x = μ u_xx", Comm. Pure Appl. Math. 3 (1950).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from datagen.checks import at_least, number_of, positive
from datagen.equations.grids import line, solve_grid
from datagen.equations.settings import numerical
from datagen.solvers.etdrk4 import ETDRK4, angular_wavenumbers
from datagen.solvers.limits import fits_memory
from datagen.solvers.random_fields import burgers_spectrum, gaussian_field_1d, sample_seeds
from datagen.solvers.stepping import accurate_steps, stable_steps
from datagen.store.layout import Coordinate, Layout, Variable

__all__ = ["COLE_HOPF_LIMIT", "Burgers", "cole_hopf", "cole_hopf_exponent", "etdrk4", "solve", "tail"]

COLE_HOPF_LIMIT = 20.0
"""Largest range(∫u₀)/2ν for Cole–Hopf. Rounding grows as its exponential: 1e-11 of ‖u‖ at 17, 1e-10 here."""

_PUBLISHED_POINTS = 8192

_PROBED_STEPS = 256
"""Steps of a sample that are taken to measure the speed, where all of them are many more."""

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


@dataclass(frozen=True)
class Burgers:
    """A data set of pairs u₀ → u(T).

    Attributes:
        samples: how many.
        resolution: points stored; every s-th of the grid solved on, as the published data were reduced.
        seed: of the data set; each sample's own follows from it and the sample's index.
        viscosity: ν.
        length: L, 1 or 2π or any other.
        final_time: T.
        frames: instants stored, T·j/frames for j = 1…frames.
        solve_resolution: points solved on; by default the least multiple of `resolution` from 8192 on.
    """

    equation: ClassVar[str] = "burgers"

    samples: int = 1000
    resolution: int = numerical(1024)
    seed: int = 0
    viscosity: float = 0.1
    length: float = 2 * math.pi
    final_time: float = numerical(1.0)
    frames: int = numerical(1)
    solve_resolution: int = numerical(0)

    def __post_init__(self) -> None:
        number_of("samples", self.samples, 1)
        number_of("resolution", self.resolution, 4)
        at_least("seed", self.seed, 0)
        number_of("frames", self.frames, 1)
        positive("nu", self.viscosity)
        positive("length", self.length)
        positive("final time", self.final_time)
        fine = solve_grid(self.resolution, self.solve_resolution, least=_PUBLISHED_POINTS)
        object.__setattr__(self, "solve_resolution", fine)

    @property
    def times(self) -> Float64[np.ndarray, " frames"]:
        return self.final_time * np.arange(1, self.frames + 1) / self.frames

    def layout(self) -> Layout:
        """The file's coordinates, variables and attributes."""
        times = Coordinate("time", self.times, "1", "time since the initial condition", "T")
        dims = ("sample", "time", "x")
        if self.frames == 1:
            times = Coordinate("time", np.array(self.final_time), "1", "time of u since the initial condition", "T")
            dims = ("sample", "x")
        return Layout(
            equation=self.equation,
            config="",
            coordinates=(line(self.resolution, self.length), times),
            variables=(
                Variable("u0", ("sample", "x"), "1", "velocity at the start", extra={"coordinates": ""}),
                Variable("u", dims, "1", "velocity"),
                Variable(
                    "method",
                    ("sample",),
                    "1",
                    "solver used",
                    "int8",
                    {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "cole_hopf etdrk4"},
                ),
                Variable("tail", dims[:-1], "1", "share of |u_x|^2 in the highest tenth of wave numbers"),
            ),
            attributes={
                "title": "Burgers' equation: u_t + u u_x = nu u_xx, periodic",
                "nu": self.viscosity,
                "domain_length": self.length,
                "initial_condition": "Gaussian field, E|u_k|^2 = 625 (4 pi^2 k^2 + 25)^-2, "
                "k counted on the domain, below resolution/2",
                "scheme": f"Cole-Hopf by FFT; ETDRK4 where range(int u0)/2nu > {COLE_HOPF_LIMIT:g}",
                "solve_resolution": self.solve_resolution,
                "downsampling": f"every {self.solve_resolution // self.resolution}. point",
                "precision": "computed in float64, stored in float32",
            },
        )

    def check_size(self) -> None:
        sizes = {"resolution": self.resolution, "solve resolution": self.solve_resolution, "frames": self.frames}
        fits_memory(8 * self.solve_resolution * (4 + self.frames), sizes)

    def _initial(self, seeds: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n points"]:
        # Only modes that the stored grid resolves: what is stored of u0 then determines it, and u follows from it.
        return gaussian_field_1d(seeds, self.solve_resolution, burgers_spectrum, self.resolution)

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: `u0`, `u`, `method` and `tail`."""
        initial = self._initial(sample_seeds(self.seed, indices))
        solution, methods = solve(
            torch.from_numpy(initial).to(device), self.times.tolist(), self.viscosity, self.length
        )
        stride = self.solve_resolution // self.resolution
        stored, tails = solution[..., ::stride].cpu().numpy(), tail(solution).cpu().numpy()
        return {
            "u0": initial[:, ::stride],
            "u": stored[:, 0] if self.frames == 1 else stored,
            "method": np.array([int(method == "etdrk4") for method in methods], dtype=np.int8),
            "tail": tails[:, 0] if self.frames == 1 else tails,
        }

    def group(self, device: str) -> int:
        """Samples solved together. On a CPU one by one: eight arrays of 8192 points fill its cache."""
        return 1 if device == "cpu" else 256

    def causes(self) -> str:
        return f"nu {self.viscosity:g}, length {self.length:g} or final time {self.final_time:g}"

    def probe(self) -> tuple["Burgers", float]:
        """All of it where that is quick, else about as many steps as `_PROBED_STEPS`."""
        few = range(0, self.samples, -(-self.samples // 8))
        initial = torch.from_numpy(self._initial(sample_seeds(self.seed, few)))
        if bool((cole_hopf_exponent(initial, self.viscosity, self.length) <= COLE_HOPF_LIMIT).all()):
            return self, 1.0
        interval = self.final_time / self.frames
        wavenumbers = angular_wavenumbers(self.solve_resolution, self.length)[1 : (self.solve_resolution - 1) // 3 + 1]
        steps = stable_steps(float(initial.abs().max()), interval, self.viscosity, wavenumbers)
        share = _PROBED_STEPS / (steps * self.frames)
        return (self, 1.0) if share > 0.5 else (replace(self, final_time=self.final_time * share, frames=1), 1 / share)
