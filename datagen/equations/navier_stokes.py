"""Two-dimensional incompressible flow on a periodic square, in vorticity form.

    ω_t + u·∇ω = ν Δω + f,    u = (ψ_y, −ψ_x),    −Δψ = ω,    (x, y) in [0, L)²

It is solved by a pseudospectral method with ETDRK4 (`datagen.solvers.navier_stokes`). The published forcing is
f = 0.1 (sin 2π(x + y)/L + cos 2π(x + y)/L).

References:
    Z. Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021, appendix A.3.3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from datagen.checks import finite, number_of, positive
from datagen.equations.grids import (
    FIELD,
    FRAMES,
    INTERVAL,
    LENGTH,
    RESOLUTION,
    SOLVE_RESOLUTION,
    field_text,
    solve_grid,
)
from datagen.equations.recipe import SAMPLES, Recipe
from datagen.equations.settings import setting
from datagen.errors import InputError
from datagen.geometry import periodic_grid
from datagen.solvers.limits import MOST_STEPS, few_enough_steps, fits_memory
from datagen.solvers.random_fields import gaussian_field_2d, sample_seeds, vorticity_spectrum
from datagen.store.layout import Coordinate, Layout, Variable, rollout_problem

__all__ = ["NavierStokes"]

_PROBED_STEPS = 64
"""Steps of a group that are taken to measure the speed, where all of them are many more."""


@dataclass(frozen=True)
class NavierStokes(Recipe):
    """A dataset of flows from random initial vorticity.

    Attributes:
        resolution: points stored along each axis; every s-th of the grid solved on.
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
    dimension: ClassVar[int] = 2
    main_field: ClassVar[str] = "vorticity"

    samples: int = setting(20, SAMPLES)
    resolution: int = setting(256, RESOLUTION, numerical=True)
    viscosity: float = setting(1e-3, "Viscosity.", option="--nu", symbol="ν")
    frames: int = setting(20, FRAMES, numerical=True)
    interval: float = setting(1.0, INTERVAL, metavar="TIME", numerical=True)
    forced: bool = setting(True, "With or without the published forcing.", option="--forcing")
    field: str = setting("published", FIELD)
    length: float = setting(1.0, LENGTH, metavar="LENGTH")
    solve_resolution: int = setting(0, SOLVE_RESOLUTION, numerical=True)
    step: float = setting(
        0.0, "Fixed time step; 0: by stability and --tolerance.", option="--dt", metavar="TIME", numerical=True
    )
    tolerance: float = setting(1e-7, "Relative L2 error that may arise between two frames.", numerical=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        number_of("resolution", self.resolution, 4)
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
            coordinates=(Coordinate("time", self.times, "1", "time since the initial condition", "T"),),
            geometry=periodic_grid((self.resolution,) * 2, (self.length,) * 2),
            variables=(
                Variable("vorticity", ("sample", "time", "x", "y"), "1", "vorticity v_x - u_y"),
                Variable("steps", ("sample", "time"), "1", "time steps since the frame before", "int32"),
                Variable("tail", ("sample", "time"), "1", "share of enstrophy in the highest tenth of wave numbers"),
            ),
            attributes={
                "title": "Navier-Stokes, vorticity form, periodic square: w_t + u.grad w = nu lap w + f",
                "nu": self.viscosity,
                "forcing": "0.1 (sin 2pi(x+y)/L + cos 2pi(x+y)/L)" if self.forced else "none",
                "initial_condition": field_text(self.field),
                "scheme": f"pseudospectral, 2/3 rule, Basdevant's form, ETDRK4 (contour coefficients), {stepping}",
                "solve_resolution": self.solve_resolution,
                "downsampling": f"every {self.solve_resolution // self.resolution}. point",
                "precision": "computed in float64, stored in float32",
            },
            problem=rollout_problem(("vorticity",), self.frames, 10, 10),
        )

    def check_size(self) -> None:
        points, stored = self.solve_resolution**2, self.resolution**2 * self.frames
        sizes = {"resolution": self.resolution, "solve resolution": self.solve_resolution, "frames": self.frames}
        fits_memory(6 * 8 * points + 4 * stored, sizes)

    def initial(self, indices: Sequence[int]) -> Float64[np.ndarray, "n x y"]:
        """ω at time 0 on the grid solved on."""
        seeds = sample_seeds(self.seed, indices)
        return gaussian_field_2d(seeds, self.solve_resolution, vorticity_spectrum(self.field))

    def start(self, indices: Sequence[int]) -> Float64[np.ndarray, "n x y"]:
        """ω at time 0 on the stored grid."""
        stride = self.solve_resolution // self.resolution
        return self.initial(indices)[:, ::stride, ::stride]

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: `vorticity`, `steps` and `tail`."""
        # Brings torch in, for which a command's help does not wait.
        import torch

        from datagen.solvers.navier_stokes import equation_of, solve

        stride = self.solve_resolution // self.resolution
        equation = equation_of(self.solve_resolution, self.viscosity, self.length, self.forced, device)
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

    def frame_interval(self) -> float:
        return self.interval

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
        import torch

        from datagen.solvers.navier_stokes import equation_of
        from datagen.solvers.stepping import accurate_steps

        equation = equation_of(self.solve_resolution, self.viscosity, self.length, self.forced, "cpu")
        modes = equation.to_modes(torch.from_numpy(self.initial([0])))
        stable = equation.stable_steps(equation.speed(modes), self.interval)
        return max(stable, accurate_steps(equation.advance, modes, self.interval, stable, self.tolerance))
