"""Fields, and the metrics of them, that the tests of metrics share."""

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch

from datagen.geometry import Geometry, Grid, Mesh, periodic_grid
from kitipde.evaluation.metrics import (
    Compared,
    Quantities,
    applicable,
    measured,
    with_spread,
)
from kitipde.evaluation.metrics.spectral import Spectra, spectra

TAU = 2 * math.pi


def compared(
    prediction: torch.Tensor, truth: torch.Tensor, geometry: Geometry | Sequence[float], mean: float = math.nan
) -> Compared:
    """Fields [sample, frame, *space] of one target "u", on a periodic grid of some lengths or any other geometry."""
    if not isinstance(geometry, Grid | Mesh):
        geometry = periodic_grid(truth.shape[2:], geometry)
    fields = (field.unsqueeze(2) for field in (prediction, truth, truth[:, :1]))
    return Compared(*fields, geometry, ("u",), ("u",), (mean,))


def quantities(fields: Compared) -> Quantities:
    """What all metrics of a single field are computed from."""
    return with_spread(measured(fields, applicable(fields.geometry, fields.fields)))


def measure(
    prediction: torch.Tensor, truth: torch.Tensor, geometry: Geometry | Sequence[float], mean: float = math.nan
) -> tuple[SimpleNamespace, Spectra]:
    """Errors of each sample and frame, of which there is one field, by name; and spectra [frame, shell]."""
    fields = compared(prediction, truth, geometry, mean)
    found, here = quantities(fields), applicable(fields.geometry, fields.fields)
    errors = {name: values[..., 0] for name, values in found.items()}
    errors |= {each.name: each.frame(found)[..., 0] for each in here if each.frame is not None}
    all_spectra = spectra(fields)
    sums = (each[:, 0] for each in (all_spectra.target, all_spectra.prediction, all_spectra.error))
    return SimpleNamespace(**errors, quantities=found), Spectra(all_spectra.samples, *sums)


def over_rollout(errors: SimpleNamespace) -> SimpleNamespace:
    """Errors of each whole rollout, by name."""
    here = applicable(periodic_grid((8,), (1.0,)), ("u",))
    return SimpleNamespace(**{each.name: each.rollout(errors.quantities)[..., 0] for each in here})


def grid_1d(points: int, length: float = 1.0) -> torch.Tensor:
    return torch.arange(points, dtype=torch.float64) * length / points


def mode_1d(m: int, points: int = 64, length: float = 1.0) -> torch.Tensor:
    return torch.sin(TAU * m * grid_1d(points, length) / length)[None, None]


def mode_2d(m: int, n: int, points: int = 32) -> torch.Tensor:
    x = grid_1d(points)
    return torch.cos(TAU * (m * x[:, None] + n * x[None, :]))[None, None]


def random_fields(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
