"""Small datasets of every kind of grid, in closed form, for tests of what is learnt from them.

rectangle_of_four_fields  x periodic, y between walls; four fields with time, a parameter and a static field
bounded_line              nodes between two walls; pairs without time
box                       three periodic axes; one field with time
advection_with_speed      a periodic line; pairs that the speed of the sample relates
"""

from pathlib import Path

import numpy as np
import xarray
from jaxtyping import Float64

from datagen.formats.netcdf import ArrayDescription, save_dataset

__all__ = ["advection_with_speed", "bounded_line", "box", "rectangle_of_four_fields"]


def rectangle_of_four_fields(path: Path, samples: int = 12) -> Path:
    """Waves in a channel [0, 2) × [0, 1] that travel along x and decay the faster the higher the viscosity ν is.

    With q = π(x − s − t/2) and d = exp(−2νπ²t), s of the sample:

        ψ = sin²(πy) cos(q) d,  velocity = (∂ψ/∂y, −∂ψ/∂x),  pressure = cos(πy) sin(q) d²,  density = 1 + h d cos(q)/2

    The velocity is free of divergence and zero on both walls; `mask_height` h is a hill of the sample's own.

    Args:
        path: the file to make: density, velocity_x, velocity_y and pressure of (sample, time, x, y) on 8 instants and
            12 × 16 points, `mask_height` (sample, x, y), `viscosity` (sample). It has no default problem.
        samples: how many.
    """
    random = np.random.default_rng(0)
    place, top = random.uniform(0, 2, (2, samples, 1, 1, 1))
    viscosity = random.uniform(0.01, 0.1, samples)
    x, y, time = 2 * np.arange(12) / 12, np.linspace(0, 1, 16), 0.1 * np.arange(8)
    along, up, t = x[:, None], y[None, :], time[:, None, None]
    phase = np.pi * (along - place - 0.5 * t)
    decay = np.exp(-2 * np.pi**2 * viscosity[:, None, None, None] * t)
    height = (np.exp(np.cos(np.pi * (along - top)) - 1) * np.sin(np.pi * up))[:, 0]
    fields = {
        "density": 1 + 0.5 * height[:, None] * decay * np.cos(phase),
        "velocity_x": np.pi * np.sin(2 * np.pi * up) * np.cos(phase) * decay,
        "velocity_y": np.pi * np.sin(np.pi * up) ** 2 * np.sin(phase) * decay,
        "pressure": np.cos(np.pi * up) * np.sin(phase) * decay**2,
    }
    source = xarray.Dataset(
        {name: (("sample", "time", "x", "y"), values) for name, values in fields.items()}
        | {"mask_height": (("sample", "x", "y"), height), "viscosity": ("sample", viscosity)},
        {"time": time, "x": x, "y": y},
    )
    for name in ("velocity_x", "velocity_y"):
        source[name].attrs["vector"] = "velocity"
    return _saved(source, path, ArrayDescription("channel-waves", boundary={"y": "wall"}))


def bounded_line(path: Path, samples: int = 16) -> Path:
    """The heat equation u_t = κ u_xx on [0, 1] with u = 0 at both walls, κ = 0.02, from t = 0 to 1.

        u0 = Σ a_k sin(kπx),  u = Σ a_k exp(−κk²π²) sin(kπx),  k = 1 … 5

    Args:
        path: the file to make: `u0` and `u` of (sample, x) on 33 nodes; u is to be learnt from u0.
        samples: how many.
    """
    x, modes = np.linspace(0, 1, 33), np.arange(1, 6)
    amplitudes = np.random.default_rng(1).standard_normal((samples, len(modes))) / modes
    shapes = np.sin(np.pi * modes[:, None] * x)
    shapes[:, [0, -1]] = 0.0  # sin(kπ) is a rounding error
    fields = {"u0": amplitudes @ shapes, "u": (amplitudes * np.exp(-0.02 * (np.pi * modes) ** 2)) @ shapes}
    source = xarray.Dataset({name: (("sample", "x"), values) for name, values in fields.items()}, {"x": x})
    description = ArrayDescription(
        "bounded-heat", constants={"kappa": 0.02}, boundary="wall", inputs=("u0",), targets=("u",)
    )
    return _saved(source, path, description)


def box(path: Path, samples: int = 8) -> Path:
    """Advection u_t + c·∇u = 0 in the unit box with c = (1, ½, −½): waves of four modes, moved.

    Args:
        path: the file to make: `u` of (sample, time, x, y, z) on 6 instants and 16³ points, without default problem.
        samples: how many.
    """
    random, places, time = np.random.default_rng(2), np.arange(16) / 16, 0.1 * np.arange(6)
    position = np.stack(np.meshgrid(places, places, places, indexing="ij"))
    u = np.zeros((samples, len(time), 16, 16, 16))
    for modes, phases in zip(random.integers(-2, 3, (4, samples, 3)), random.uniform(0, 1, (4, samples)), strict=True):
        moved = np.einsum("nd,dxyz->nxyz", modes, position) + phases[:, None, None, None]
        for frame, instant in enumerate(time):
            change = instant * modes @ np.array([1.0, 0.5, -0.5])
            u[:, frame] += np.sin(2 * np.pi * (moved - change[:, None, None, None]))
    source = xarray.Dataset(
        {"u": (("sample", "time", "x", "y", "z"), u)}, {"time": time, "x": places, "y": places, "z": places}
    )
    return _saved(source, path, ArrayDescription("box-advection"))


def advection_with_speed(path: Path, samples: int = 40, points: int = 64) -> Path:
    """Random waves on [0, 1), moved by the speed c of the sample: u(x) = u0(x − c), c uniform in [0, 1).

    Without the speed nothing is known of u but its spectrum.

    Args:
        path: the file to make: `u0` and `u` of (sample, x), `speed` (sample). By default u is learnt from u0 alone.
        samples: how many.
        points: along x.
    """
    random = np.random.default_rng(3)
    speed, x, modes = random.uniform(0, 1, samples), np.arange(points) / points, np.arange(1, 5)
    real, imaginary = random.standard_normal((2, samples, len(modes)))
    coefficients = (real + 1j * imaginary) / modes

    def waves(shift: Float64[np.ndarray, " samples"]) -> Float64[np.ndarray, "samples points"]:
        phases = np.exp(2j * np.pi * modes[:, None] * (x - shift[:, None, None]))
        return np.einsum("nk,nkx->nx", coefficients, phases).real

    fields = {"u0": waves(np.zeros(samples)), "u": waves(speed)}
    source = xarray.Dataset(
        {name: (("sample", "x"), values) for name, values in fields.items()} | {"speed": ("sample", speed)}, {"x": x}
    )
    return _saved(source, path, ArrayDescription("advection", inputs=("u0",), targets=("u",)))


def _saved(source: xarray.Dataset, path: Path, description: ArrayDescription) -> Path:
    save_dataset(source, path, description)
    return path
