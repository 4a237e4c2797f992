"""The viscous Burgers equation on a periodic interval.

    u_t + u u_x = ν u_xx,    x in [0, L),    u(x, 0) = u₀(x) with zero mean

It is solved by the Cole–Hopf formula, or where that loses digits by ETDRK4 (`datagen.solvers.burgers`).

The published data (`burgers_data_R10.mat`) were made with ν = 0.1 on a domain of length 2π, although the paper speaks
of (0, 1): the norms of u₀ and u(1) fit 2π (ratio 0.82) and not 1 (0.016). Both lengths are offered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64, Int64

from datagen.checks import number_of, positive
from datagen.equations.grids import LENGTH, RESOLUTION, solve_grid
from datagen.equations.recipe import SAMPLES, Recipe
from datagen.equations.settings import setting
from datagen.geometry import periodic_grid
from datagen.solvers.limits import fits_memory
from datagen.solvers.random_fields import burgers_spectrum, gaussian_field_1d, sample_seeds
from datagen.store.layout import Coordinate, DefaultProblem, Layout, Variable

__all__ = ["Burgers"]

_PUBLISHED_POINTS = 8192

_PROBED_STEPS = 256
"""Steps of a sample that are taken to measure the speed, where all of them are many more."""


@dataclass(frozen=True)
class Burgers(Recipe):
    """A dataset of pairs u₀ → u(T).

    Attributes:
        resolution: points stored; every s-th of the grid solved on, as the published data were reduced.
        viscosity: ν.
        length: L, 1 or 2π or any other.
        final_time: T.
        frames: instants stored, T·j/frames for j = 1…frames.
        solve_resolution: points solved on; by default the least multiple of `resolution` from 8192 on.
    """

    equation: ClassVar[str] = "burgers"
    main_field: ClassVar[str] = "u"
    start_field: ClassVar[str] = "u0"

    samples: int = setting(1000, SAMPLES)
    resolution: int = setting(1024, RESOLUTION, numerical=True)
    viscosity: float = setting(0.1, "Viscosity.", option="--nu", symbol="ν")
    length: float = setting(2 * math.pi, LENGTH, metavar="LENGTH")
    final_time: float = setting(1.0, "Time of u.", metavar="TIME", numerical=True)
    frames: int = setting(1, "Instants of u stored, evenly up to the final time.", numerical=True)
    solve_resolution: int = setting(0, "Points solved on; 0: the multiple of --resolution from 8192.", numerical=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        number_of("resolution", self.resolution, 4)
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
        # Brings torch in, for which a command's help does not wait.
        from datagen.solvers.burgers import COLE_HOPF_LIMIT

        times = Coordinate("time", self.times, "1", "time since the initial condition", "T")
        dims = ("sample", "time", "x")
        if self.frames == 1:
            times = Coordinate("time", np.array(self.final_time), "1", "time of u since the initial condition", "T")
            dims = ("sample", "x")
        return Layout(
            equation=self.equation,
            config="",
            geometry=periodic_grid((self.resolution,), (self.length,)),
            coordinates=(times,),
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
                "initial_condition": "Gaussian field, E|u_k|^2 = 625 (4 pi^2 k^2 + 25)^-2, "
                "k counted on the domain, below resolution/2",
                "scheme": f"Cole-Hopf by FFT; ETDRK4 where range(int u0)/2nu > {COLE_HOPF_LIMIT:g}",
                "solve_resolution": self.solve_resolution,
                "downsampling": f"every {self.solve_resolution // self.resolution}. point",
                "precision": "computed in float64, stored in float32",
            },
            problem=DefaultProblem(("u0",), ("u",)) if self.frames == 1 else None,
        )

    def check_size(self) -> None:
        sizes = {"resolution": self.resolution, "solve resolution": self.solve_resolution, "frames": self.frames}
        fits_memory(8 * self.solve_resolution * (4 + self.frames), sizes)

    def _initial(self, seeds: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n points"]:
        # Only modes that the stored grid resolves: what is stored of u0 then determines it, and u follows from it.
        return gaussian_field_1d(seeds, self.solve_resolution, burgers_spectrum, self.resolution)

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: `u0`, `u`, `method` and `tail`."""
        import torch

        from datagen.solvers.burgers import solve, tail

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

    def frame_interval(self) -> float:
        return self.final_time / self.frames

    def remark(self) -> str:
        if not math.isclose(self.length, 2 * math.pi):
            return ""
        return "domain length 2 pi, on which the published data were made (the paper's text says 1: --length 1)"

    def causes(self) -> str:
        return f"nu {self.viscosity:g}, length {self.length:g} or final time {self.final_time:g}"

    def probe(self) -> tuple["Burgers", float]:
        """All of it where that is quick, else about as many steps as `_PROBED_STEPS`."""
        import torch

        from datagen.solvers.burgers import COLE_HOPF_LIMIT, cole_hopf_exponent
        from datagen.solvers.etdrk4 import angular_wavenumbers
        from datagen.solvers.stepping import stable_steps

        few = range(0, self.samples, -(-self.samples // 8))
        initial = torch.from_numpy(self._initial(sample_seeds(self.seed, few)))
        if bool((cole_hopf_exponent(initial, self.viscosity, self.length) <= COLE_HOPF_LIMIT).all()):
            return self, 1.0
        interval = self.frame_interval()
        wavenumbers = angular_wavenumbers(self.solve_resolution, self.length)[1 : (self.solve_resolution - 1) // 3 + 1]
        steps = stable_steps(float(initial.abs().max()), interval, self.viscosity, wavenumbers)
        share = _PROBED_STEPS / (steps * self.frames)
        return (self, 1.0) if share > 0.5 else (replace(self, final_time=self.final_time * share, frames=1), 1 / share)
