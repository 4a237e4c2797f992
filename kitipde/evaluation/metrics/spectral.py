"""Errors by wavenumber, on uniform periodic grids, and the H1 norm, there and on bounded grids.

With hats for Fourier coefficients normalised so that Σ|f̂|² = ⟨f²⟩, and m the wave index:

    relative H1    √(Σ(1 + |k|²)|ê|² / Σ(1 + |k|²)|t̂|²),  k = 2πm/L of each axis
    band errors    √Σ_{m in band}|ê|²: low |m| ≤ 4, middle 5…12, high ≥ 13; their squares sum to the MSE, and a band
                   of which a grid has no mode is NaN

On grids with a bounded axis the H1 norm is √⟨f² + |∇f|²⟩ with differences of second order, one-sided at the ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from datagen.geometry import Grid, Resolution
from kitipde.evaluation.metrics.compared import Compared, Quantities, or_infinite, ratio
from kitipde.evaluation.metrics.registry import Metric, Need

__all__ = ["BANDS", "METRICS", "Spectra", "join_spectra", "power_above", "spectra"]

# First and last shell of each band (the limits that PDEBench uses for its Fourier-space errors).
BANDS: tuple[tuple[str, int, int | None], ...] = (("low", 0, 4), ("middle", 5, 12), ("high", 13, None))


@dataclass(frozen=True)
class Spectra:
    """Power in each shell |m| = 0, 1, …, summed over samples; each of shape [frames, fields, shells].

    Attributes:
        samples: how many samples were summed.
        target: Σ|t̂|² of the shell.
        prediction: Σ|p̂|² of the shell.
        error: Σ|ê|² of the shell.
    """

    samples: int
    target: Float[Tensor, "frames fields shells"]
    prediction: Float[Tensor, "frames fields shells"]
    error: Float[Tensor, "frames fields shells"]


def spectra(compared: Compared) -> Spectra:
    """The spectra of truth, prediction and error, summed over samples."""
    shell, weight, _ = _modes_of(compared)
    sums = (
        _shell_sums(_mode_power(field, weight), shell).sum(0)
        for field in (compared.target.double(), compared.prediction.double(), compared.error)
    )
    return Spectra(len(compared.target), *sums)


def join_spectra(parts: Sequence[Spectra]) -> Spectra:
    """The summed spectra of several batches as those of one."""
    return Spectra(
        samples=sum(part.samples for part in parts),
        target=torch.stack([part.target for part in parts]).sum(0),
        prediction=torch.stack([part.prediction for part in parts]).sum(0),
        error=torch.stack([part.error for part in parts]).sum(0),
    )


def bands(compared: Compared) -> Quantities:
    """Power of the error in each band; NaN where the grid has no mode of it."""
    shell, weight, _ = _modes_of(compared)
    shells = _shell_sums(_mode_power(compared.error, weight), shell)
    result = {}
    for name, first, last in BANDS:
        band = shells[..., first : None if last is None else last + 1]
        power = or_infinite(band.sum(-1))
        result[f"band_{name}"] = power if band.shape[-1] else torch.full_like(power, torch.nan)
    return result


def h1(compared: Compared) -> Quantities:
    """Squared H1 norms of error and truth."""
    if not compared.on_periodic_grid:
        error, target = (_h1_by_differences(compared, field) for field in (compared.error, compared.target.double()))
        return {"error_h1": or_infinite(error), "target_h1": target}
    _, weight, h1_weight = _modes_of(compared)
    error, target = (
        (_mode_power(field, weight) * h1_weight).flatten(3).sum(-1)
        for field in (compared.error, compared.target.double())
    )
    return {"error_h1": or_infinite(error), "target_h1": target}


def _h1_by_differences(compared: Compared, field: Tensor) -> Float[Tensor, "samples frames fields"]:
    grid = compared.geometry
    assert isinstance(grid, Grid)
    total = field.square()
    for axis, each in enumerate(grid.axes):
        if each.points < 2:
            continue
        places = torch.from_numpy(each.coordinates).to(field.device)
        along = field.movedim(3 + axis, -1)
        if each.periodic:
            # A point beyond each end, which is the one at the other.
            along = torch.cat([along[..., -1:], along, along[..., :1]], dim=-1)
            places = torch.cat([places[-1:] - each.length, places, places[:1] + each.length])
        order = 2 if len(places) > 2 else 1
        (slope,) = torch.gradient(along, spacing=(places,), dim=-1, edge_order=order)
        slope = slope[..., 1:-1] if each.periodic else slope
        total = total + slope.movedim(-1, 3 + axis).square()
    return compared.mean(total)


_GRID: frozenset[Need] = frozenset({"grid"})
_PERIODIC: frozenset[Need] = frozenset({"periodic"})

METRICS: tuple[Metric, ...] = (
    Metric(
        "relative_h1",
        "relative H1",
        "√(Σ(1+|k|²)|ê|² / Σ(1+|k|²)|t̂|²); with a bounded axis √(⟨e² + |∇e|²⟩ / ⟨t² + |∇t|²⟩)",
        h1,
        lambda q: ratio(q["error_h1"].sum(1), q["target_h1"].sum(1)).sqrt(),
        lambda q: ratio(q["error_h1"], q["target_h1"]).sqrt(),
        needs=_GRID,
    ),
    *(
        Metric(
            f"band_{name}",
            f"RMSE, modes {title}",
            f"√Σ|ê|² over {formula}",
            bands,
            lambda q, key=f"band_{name}": q[key].mean(1).sqrt(),
            lambda q, key=f"band_{name}": q[key].sqrt(),
            "field",
            _PERIODIC,
        )
        for name, title, formula in (
            ("low", "0–4", "|m| ≤ 4"),
            ("middle", "5–12", "5 ≤ |m| ≤ 12"),
            ("high", "≥ 13", "|m| ≥ 13"),
        )
    ),
)


def power_above(target: Float[Tensor, "samples frames fields *grid"], resolution: Resolution) -> float:
    """Share of the truth's power in modes that a coarser grid cannot hold, as the mean over fields.

    A mode is lost if any of its wave indices is at or above the coarse Nyquist index, half of the points of that axis.

    Args:
        target: fields on the finest grid.
        resolution: points along each axis of the coarse grid.

    Returns:
        A share between 0 and 1; 0 for a truth that is zero.
    """
    axes = tuple(range(3, target.ndim))
    power = torch.fft.fftn(target.double(), dim=axes, norm="forward").abs().square().sum((0, 1))
    held = torch.ones_like(power[0], dtype=torch.bool)
    for axis, (points, coarse) in enumerate(zip(target.shape[3:], resolution, strict=True)):
        index = torch.fft.fftfreq(points, d=1.0 / points, device=target.device).abs()
        shape = [1] * held.ndim
        shape[axis] = points
        held &= (2 * index < coarse).reshape(shape)
    total, lost = power.flatten(1).sum(1), power[:, ~held].sum(1)
    return float(torch.where(total > 0, lost / total, 0.0).mean())


def _modes_of(compared: Compared) -> tuple[Tensor, Tensor, Tensor]:
    assert isinstance(compared.geometry, Grid)
    return _modes(tuple(compared.target.shape[3:]), compared.geometry.lengths, compared.target.device)


def _modes(grid: tuple[int, ...], lengths: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Shell number, multiplicity and 1 + |k|² of each coefficient of a real transform.

    Shells count in units of the longest axis' fundamental, so that on a square domain they are round(|m|).
    """
    squared = torch.zeros((1,) * len(grid), dtype=torch.float64, device=device)
    for axis, (points, length) in enumerate(zip(grid, lengths, strict=True)):
        last = axis == len(grid) - 1
        frequencies = torch.fft.rfftfreq if last else torch.fft.fftfreq
        wavenumber = 2 * torch.pi / length * frequencies(points, d=1.0 / points, dtype=torch.float64, device=device)
        shape = [1] * len(grid)
        shape[axis] = -1
        squared = squared + wavenumber.square().reshape(shape)
    weight = torch.full((grid[-1] // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    # The zero mode and, on an even grid, the Nyquist mode are their own conjugates.
    weight[0] = 1.0
    if grid[-1] % 2 == 0:
        weight[-1] = 1.0
    shell = (squared.sqrt() * max(lengths) / (2 * torch.pi)).round().long()
    return shell, weight, 1.0 + squared


def _mode_power(field: Tensor, weight: Tensor) -> Tensor:
    axes = tuple(range(3, field.ndim))
    return torch.fft.rfftn(field, dim=axes, norm="forward").abs().square() * weight


def _shell_sums(power: Tensor, shell: Tensor) -> Float[Tensor, "samples frames fields shells"]:
    sums = power.new_zeros((*power.shape[:3], int(shell.max()) + 1))
    return sums.index_add_(3, shell.flatten(), power.flatten(3))
