"""Heat conduction with a constant source on a periodic square.

    w_t = α Δw + q(x, y),    (x, y) in [0, L)²

Each mode is an ordinary differential equation with constant coefficients, so no time step is needed:

    ŵ(t) = e^{−λt} ŵ(0) + q̂ (1 − e^{−λt})/λ,    λ = 4π²α|k|²/L²,    and ŵ(t) = ŵ(0) + q̂ t for k = 0.

The published source is 0.1 on the boundary of the square and 0 inside; on a periodic grid that is the first and the
last row and column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from datagen.checks import at_least, finite, number_of, positive
from datagen.equations.grids import field_text, solve_grid, square
from datagen.equations.settings import numerical
from datagen.errors import InputError
from datagen.solvers.etdrk4 import angular_wavenumbers
from datagen.solvers.limits import fits_memory
from datagen.solvers.random_fields import gaussian_field_2d, sample_seeds, vorticity_spectrum
from datagen.store.layout import Coordinate, Layout, Variable

__all__ = ["Heat", "boundary_source", "solve", "stored_source"]


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


@dataclass(frozen=True)
class Heat:
    """A data set of temperatures from random initial fields.

    Attributes:
        samples: how many.
        resolution: points stored along each axis; every s-th of the grid solved on.
        seed: of the data set; each sample's own follows from it and the sample's index.
        diffusivity: α.
        frames: instants stored: interval, 2·interval, …, frames·interval.
        interval: time between frames.
        source: q on the boundary of the square.
        field: constant of the initial field: "published", "unit" or "literal", see `datagen.solvers.random_fields`.
        length: L.
        solve_resolution: points solved on, a multiple of `resolution`; 0: the same.
    """

    equation: ClassVar[str] = "heat"

    samples: int = 20
    resolution: int = numerical(256)
    seed: int = 0
    diffusivity: float = 1e-4
    frames: int = numerical(20)
    interval: float = numerical(1.0)
    source: float = 0.1
    field: str = "published"
    length: float = 1.0
    solve_resolution: int = numerical(0)

    def __post_init__(self) -> None:
        number_of("samples", self.samples, 1)
        number_of("resolution", self.resolution, 4)
        at_least("seed", self.seed, 0)
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
        stride = self.solve_resolution // self.resolution
        return Layout(
            equation=self.equation,
            config="",
            coordinates=(
                Coordinate("time", self.times, "1", "time since the initial condition", "T"),
                *square(self.resolution, self.length),
            ),
            variables=(
                Variable("temperature", ("sample", "time", "x", "y"), "1", "temperature"),
                Variable("source", ("x", "y"), "1", "heat supplied per unit of time"),
            ),
            attributes={
                "title": "heat equation on a periodic square: w_t = alpha lap w + q",
                "alpha": self.diffusivity,
                "domain_length": self.length,
                "source_description": f"{self.source:g} in the first and last row and column, 0 inside"
                + (f", on the grid solved on; shared out here among every {stride}. point" * (stride > 1)),
                "initial_condition": field_text(self.field),
                "scheme": "closed form for each Fourier mode",
                "solve_resolution": self.solve_resolution,
                "downsampling": f"every {stride}. point",
                "precision": "computed in float64, stored in float32",
            },
            shared={"source": stored_source(self.solve_resolution, stride, self.source).numpy()},
        )

    def check_size(self) -> None:
        points = self.solve_resolution**2
        sizes = {"resolution": self.resolution, "solve resolution": self.solve_resolution, "frames": self.frames}
        fits_memory(8 * points * (4 + self.frames), sizes)

    def initial(self, indices: Sequence[int]) -> Float64[np.ndarray, "n x y"]:
        """w at time 0 on the grid solved on."""
        seeds = sample_seeds(self.seed, indices)
        return gaussian_field_2d(seeds, self.solve_resolution, vorticity_spectrum(self.field))

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: `temperature`."""
        stride = self.solve_resolution // self.resolution
        source = boundary_source(self.solve_resolution, self.source).to(device)
        initial = torch.from_numpy(self.initial(indices)).to(device)
        frames = solve(initial, source, self.times.tolist(), self.diffusivity, self.length)
        return {"temperature": frames[..., ::stride, ::stride].float().cpu().numpy()}

    def group(self, device: str) -> int:
        """Samples solved together; all frames of them are in memory."""
        return 1 if device == "cpu" else max(1, 2**24 // (self.solve_resolution**2 * self.frames))

    def causes(self) -> str:
        return f"source {self.source:g}, interval {self.interval:g} or length {self.length:g}"

    def probe(self) -> tuple["Heat", float]:
        return self, 1.0
