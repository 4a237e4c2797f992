"""Heat conduction with a constant source on a periodic square.

    w_t = α Δw + q(x, y),    (x, y) in [0, L)²

It is solved in closed form (`datagen.solvers.heat`).

The published source is 0.1 on the boundary of the square and 0 inside; on a periodic grid that is the first and the
last row and column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from datagen.solvers.limits import fits_memory
from datagen.solvers.random_fields import gaussian_field_2d, sample_seeds, vorticity_spectrum
from datagen.store.layout import Coordinate, Layout, Variable, rollout_problem

__all__ = ["Heat"]


@dataclass(frozen=True)
class Heat(Recipe):
    """A dataset of temperatures from random initial fields.

    Attributes:
        resolution: points stored along each axis; every s-th of the grid solved on.
        diffusivity: α.
        frames: instants stored: interval, 2·interval, …, frames·interval.
        interval: time between frames.
        source: q on the boundary of the square.
        field: constant of the initial field: "published", "unit" or "literal", see `datagen.solvers.random_fields`.
        length: L.
        solve_resolution: points solved on, a multiple of `resolution`; 0: the same.
    """

    equation: ClassVar[str] = "heat"
    dimension: ClassVar[int] = 2
    main_field: ClassVar[str] = "temperature"

    samples: int = setting(20, SAMPLES)
    resolution: int = setting(256, RESOLUTION, numerical=True)
    diffusivity: float = setting(1e-4, "Diffusivity.", option="--alpha", symbol="α")
    frames: int = setting(20, FRAMES, numerical=True)
    interval: float = setting(1.0, INTERVAL, metavar="TIME", numerical=True)
    source: float = setting(0.1, "Heat supplied on the boundary of the square.", symbol="q")
    field: str = setting("published", FIELD)
    length: float = setting(1.0, LENGTH, metavar="LENGTH")
    solve_resolution: int = setting(0, SOLVE_RESOLUTION, numerical=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        number_of("resolution", self.resolution, 4)
        number_of("frames", self.frames, 1)
        positive("alpha", self.diffusivity)
        positive("interval", self.interval)
        positive("length", self.length)
        finite("time of the last frame", self.interval * self.frames)
        finite("source", self.source)
        if abs(self.source) > float(np.finfo(np.float32).max):
            raise InputError(f"source {self.source:g} is too large to be stored in float32 (allowed: up to 3.4e38)")
        vorticity_spectrum(self.field)
        object.__setattr__(self, "solve_resolution", solve_grid(self.resolution, self.solve_resolution, least=1))

    @property
    def times(self) -> Float64[np.ndarray, " frames"]:
        return self.interval * np.arange(1, self.frames + 1)

    def layout(self) -> Layout:
        """The file's coordinates, variables and attributes."""
        from datagen.solvers.heat import stored_source

        stride = self.solve_resolution // self.resolution
        return Layout(
            equation=self.equation,
            config="",
            coordinates=(Coordinate("time", self.times, "1", "time since the initial condition", "T"),),
            geometry=periodic_grid((self.resolution,) * 2, (self.length,) * 2),
            variables=(
                Variable("temperature", ("sample", "time", "x", "y"), "1", "temperature"),
                Variable("source", ("x", "y"), "1", "heat supplied per unit of time"),
            ),
            attributes={
                "title": "heat equation on a periodic square: w_t = alpha lap w + q",
                "alpha": self.diffusivity,
                "source_description": f"{self.source:g} in the first and last row and column, 0 inside"
                + (f", on the grid solved on; shared out here among every {stride}. point" * (stride > 1)),
                "initial_condition": field_text(self.field),
                "scheme": "closed form for each Fourier mode",
                "solve_resolution": self.solve_resolution,
                "downsampling": f"every {stride}. point",
                "precision": "computed in float64, stored in float32",
            },
            shared={"source": stored_source(self.solve_resolution, stride, self.source).numpy()},
            problem=rollout_problem(("temperature",), self.frames, 10, 10),
        )

    def check_size(self) -> None:
        points = self.solve_resolution**2
        sizes = {"resolution": self.resolution, "solve resolution": self.solve_resolution, "frames": self.frames}
        fits_memory(8 * points * (4 + self.frames), sizes)

    def initial(self, indices: Sequence[int]) -> Float64[np.ndarray, "n x y"]:
        """w at time 0 on the grid solved on."""
        seeds = sample_seeds(self.seed, indices)
        return gaussian_field_2d(seeds, self.solve_resolution, vorticity_spectrum(self.field))

    def start(self, indices: Sequence[int]) -> Float64[np.ndarray, "n x y"]:
        """w at time 0 on the stored grid."""
        stride = self.solve_resolution // self.resolution
        return self.initial(indices)[:, ::stride, ::stride]

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: `temperature`."""
        import torch

        from datagen.solvers.heat import boundary_source, solve

        stride = self.solve_resolution // self.resolution
        source = boundary_source(self.solve_resolution, self.source).to(device)
        initial = torch.from_numpy(self.initial(indices)).to(device)
        frames = solve(initial, source, self.times.tolist(), self.diffusivity, self.length)
        return {"temperature": frames[..., ::stride, ::stride].float().cpu().numpy()}

    def group(self, device: str) -> int:
        """Samples solved together; all frames of them are in memory."""
        return 1 if device == "cpu" else max(1, 2**24 // (self.solve_resolution**2 * self.frames))

    def frame_interval(self) -> float:
        return self.interval

    def causes(self) -> str:
        return f"source {self.source:g}, interval {self.interval:g} or length {self.length:g}"
