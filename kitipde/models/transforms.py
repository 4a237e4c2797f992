"""The lowest Fourier modes of a real field, and a field from its lowest modes.

    v̂(k) = 1/n Σ_x v(x) e^(-2πi k·x/n),        v(x) = Σ_k v̂(k) e^(2πi k·x/n)

on each axis, for the wavenumbers 0 … kept-1 of the last axis (a real field has no more) and -negative … positive-1 of
each other one. A spectrum is a real tensor [mode, batch, 2, channels], wavenumbers in row-major order, the real part
before the imaginary one: what one matrix product a mode maps.

There are two ways to the same numbers. A spectral convolution keeps a few modes of many, and on a CPU the sum itself,
as a product with a matrix of sines and cosines, is several times as fast as a fast transform of all modes
(`benchmarks/models.py`), if each axis is one large product: hence `kitipde.memory`. Elsewhere the fast transforms are
used: there matrix products may be told to round their factors (TF32), which they must not here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kitipde.memory import has_points_first

__all__ = [
    "Modes",
    "add_to_grid",
    "fast_transforms",
    "kept_modes",
    "prefers_sums",
    "sum_of_squares",
    "sum_to_modes",
    "to_grid",
    "to_modes",
]


@dataclass(frozen=True)
class Modes:
    """What is kept of a grid's modes.

    Attributes:
        grid: points per axis.
        rows: how many negative and how many non-negative wavenumbers of each axis but the last.
        kept: how many of the last axis.
    """

    grid: tuple[int, ...]
    rows: tuple[tuple[int, int], ...]
    kept: int

    @property
    def mean(self) -> int:
        """Where the mode of all wavenumbers 0 stands."""
        place = 0
        for negative, positive in self.rows:
            place = place * (negative + positive) + negative
        return place * self.kept


def kept_modes(grid: Sequence[int], modes: Sequence[int]) -> Modes:
    """The modes that a spectral convolution with so many on each axis, per sign, keeps; a coarse grid has fewer."""
    *others, last = zip(grid, modes, strict=True)
    rows = tuple((min(most, points // 2), min(most, (points + 1) // 2)) for points, most in others)
    return Modes(tuple(grid), rows, min(last[1], last[0] // 2 + 1))


_fast = False


@contextmanager
def fast_transforms() -> Iterator[None]:
    """In this block fields are transformed on a CPU as they are elsewhere, by fast transforms."""
    global _fast
    held, _fast = _fast, True
    try:
        yield
    finally:
        _fast = held


def prefers_sums(v: Float[Tensor, "..."]) -> bool:
    """Whether the sum itself is the faster way where this tensor is."""
    return v.device.type == "cpu" and not _fast


def to_modes(v: Float[Tensor, "batch channels *grid"], modes: Modes) -> Float[Tensor, "mode batch 2 channels"]:
    """The kept modes of a field."""
    return (sum_to_modes if prefers_sums(v) else _transform_to_modes)(v, modes)


def to_grid(
    spectrum: Float[Tensor, "mode batch 2 channels"], modes: Modes, points_first: bool = False
) -> Float[Tensor, "batch channels *grid"]:
    """The field with these modes and no others; on a CPU with the points first in memory if that is wanted.

    The imaginary part of its mean (and of the Nyquist mode), which no real field has, counts nothing.
    """
    if prefers_sums(spectrum):
        return _sum_to_grid(spectrum, modes, points_first)
    return _transform_to_grid(spectrum, modes)


def sum_to_modes(
    v: Float[Tensor, "batch channels *grid"], modes: Modes, adjoint: bool = False
) -> Float[Tensor, "mode batch 2 channels"]:
    """The sum itself, by matrix products; the adjoint is that of `add_to_grid`, for gradients."""
    batch, channels = v.shape[:2]
    analysis = _analysis(_last_axis(modes.grid[-1], modes.kept, v.dtype), adjoint)
    if has_points_first(v):
        spectrum = analysis @ v.permute(*range(2, v.ndim), 0, 1).flatten(-2)
    else:
        spectrum = (v @ analysis.mT).permute(*range(2, v.ndim), 0, 1).flatten(-2)
    # Real and imaginary parts stay the axis before the modes found so far: each next axis is beside them.
    for points, (negative, positive) in zip(reversed(modes.grid[:-1]), reversed(modes.rows), strict=True):
        analysis = _analysis(_other_axis(points, negative, positive, v.dtype), adjoint)
        spectrum = analysis @ spectrum.reshape(*spectrum.shape[:-3], 2 * points, -1)
    return spectrum.reshape(2, -1, batch, channels).permute(1, 2, 0, 3)


def _sum_to_grid(spectrum: Tensor, modes: Modes, points_first: bool) -> Tensor:
    _, batch, _, channels = spectrum.shape
    field, synthesis = _last_sum(spectrum, modes, adjoint=False)
    if points_first:
        return (synthesis @ field).unflatten(-1, (batch, channels)).permute(-2, -1, *range(len(modes.grid)))
    return field.movedim(-1, 0).unflatten(0, (batch, channels)) @ synthesis.mT


def add_to_grid(
    onto: Float[Tensor, "*grid batch channels"],
    spectrum: Float[Tensor, "mode batch 2 channels"],
    modes: Modes,
    adjoint: bool = False,
    anew: bool = False,
) -> None:
    """Add the field with these modes to one that lies in memory with the points first, in place.

    The last matrix product does it by the way, so that the sum costs nothing.

    Args:
        onto: what is added to.
        spectrum: of the field.
        modes: which these are.
        adjoint: apply the adjoint of `sum_to_modes` instead, for gradients.
        anew: whatever is there does not count.
    """
    field, synthesis = _last_sum(spectrum, modes, adjoint)
    rows = onto.view(-1, modes.grid[-1], field.shape[-1])
    factors = synthesis.expand(len(rows), -1, -1), field.view(len(rows), *field.shape[-2:])
    torch.baddbmm(rows, *factors, beta=0 if anew else 1, out=rows)


def sum_of_squares(spectrum: Float[Tensor, "mode batch 2 channels"], modes: Modes) -> Float[Tensor, ""]:
    """Σ|v(x)|² over the points of the field with these modes, without the field (Parseval)."""
    before_last, synthesis = _last_sum(spectrum, modes, adjoint=False)
    # Waves of the last axis are orthogonal to each other on its points.
    return (before_last.square().sum(-1) * synthesis.square().sum(0)).sum()


def _last_sum(spectrum: Tensor, modes: Modes, adjoint: bool) -> tuple[Tensor, Tensor]:
    """Two matrices whose product is the field, [*grid, batch·channels]: what is left of `to_grid` is the last axis."""
    _, batch, _, channels = spectrum.shape
    field = spectrum.permute(2, 0, 1, 3)
    before: tuple[int, ...] = ()
    for points, (negative, positive) in zip(modes.grid, modes.rows, strict=False):
        synthesis = _synthesis(_other_axis(points, negative, positive, spectrum.dtype), adjoint)
        field = synthesis @ field.reshape(*before, 2 * (negative + positive), -1)
        before = (*before, points)
    synthesis = _synthesis(_last_axis(modes.grid[-1], modes.kept, spectrum.dtype), adjoint)
    return field.reshape(*before, 2 * modes.kept, batch * channels), synthesis


def _analysis(axis: tuple[Tensor, Tensor], adjoint: bool) -> Tensor:
    return axis[1].mT if adjoint else axis[0]


def _synthesis(axis: tuple[Tensor, Tensor], adjoint: bool) -> Tensor:
    return axis[0].mT if adjoint else axis[1]


def _last_axis(points: int, kept: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Analysis [2·kept, points] and synthesis [points, 2·kept]; all real parts come before the imaginary ones."""
    analysis, synthesis = _kept(_last_axis_matrices)(points, kept, _NUMPY[dtype])
    return torch.from_numpy(analysis), torch.from_numpy(synthesis)


def _other_axis(points: int, negative: int, positive: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Analysis [2·rows, points·2] and synthesis [points·2, 2·rows]; the two parts of a point are neighbours."""
    analysis, synthesis = _kept(_other_axis_matrices)(points, negative, positive, _NUMPY[dtype])
    return torch.from_numpy(analysis), torch.from_numpy(synthesis)


def _kept(build: Callable[..., Any]) -> Callable[..., Any]:
    """A function with its results kept; a compiler follows the function itself, and warns if it sees the rest."""
    wrapped = build.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]
    return wrapped if torch.compiler.is_compiling() else build


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


# Arrays and no tensors are kept: a tensor made under inference mode or inside a transform of torch.func is bound to it.
@lru_cache(maxsize=64)
def _last_axis_matrices(points: int, kept: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    wavenumber = np.arange(kept)
    cosine, sine = _waves(np.arange(points), wavenumber, points)
    analysis = np.concatenate([cosine, -sine], axis=1).T / points
    # A real field has the conjugate of each mode too, except for the mean and the Nyquist mode, which are their own.
    own = (wavenumber == 0) | (2 * wavenumber == points)
    synthesis = np.concatenate([np.where(own, 1, 2) * cosine, np.where(own, 0, -2) * sine], axis=1)
    return np.ascontiguousarray(analysis, dtype), synthesis.astype(dtype)


@lru_cache(maxsize=64)
def _other_axis_matrices(points: int, negative: int, positive: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = _waves(np.arange(-negative, positive), np.arange(points), points)
    # (c - is)(a + ib) = (ca + sb) + i(cb - sa), with [part, row, point, part].
    analysis = np.stack([np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)])
    analysis = analysis.reshape(2 * (negative + positive), 2 * points)
    return (analysis / points).astype(dtype), np.ascontiguousarray(analysis.T, dtype)


def _waves(a: np.ndarray, b: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of 2π a b / points; whole turns are taken off before they cost digits."""
    angle = 2 * np.pi * (np.outer(a, b) % points) / points
    return np.cos(angle), np.sin(angle)


def _transform_to_modes(v: Tensor, modes: Modes) -> Tensor:
    spectrum = torch.fft.rfft(v, norm="forward")[..., : modes.kept]
    for axis, (points, (negative, positive)) in enumerate(zip(modes.grid, modes.rows, strict=False)):
        dim = 2 + axis
        spectrum = torch.fft.fft(spectrum, dim=dim, norm="forward")
        spectrum = torch.cat(
            [spectrum.narrow(dim, points - negative, negative), spectrum.narrow(dim, 0, positive)], dim=dim
        )
    return torch.view_as_real(spectrum).flatten(2, -2).permute(2, 0, 3, 1)


def _transform_to_grid(spectrum: Tensor, modes: Modes) -> Tensor:
    product = torch.view_as_complex(spectrum.permute(1, 3, 0, 2).contiguous())
    product = product.unflatten(2, (*map(sum, modes.rows), modes.kept))
    for axis, (points, (negative, positive)) in reversed(list(enumerate(zip(modes.grid, modes.rows, strict=False)))):
        dim = 2 + axis
        gap = list(product.shape)
        gap[dim] = points - negative - positive
        product = torch.cat(
            [product.narrow(dim, negative, positive), product.new_zeros(gap), product.narrow(dim, 0, negative)],
            dim=dim,
        )
        product = torch.fft.ifft(product, dim=dim, norm="forward")
    return torch.fft.irfft(_realisable(product, modes.grid[-1]), n=modes.grid[-1], norm="forward")


def _realisable(spectrum: Tensor, points: int) -> Tensor:
    """The spectrum with real mean and Nyquist mode: FFT libraries differ in what they make of the rest."""
    wavenumber = torch.arange(spectrum.shape[-1], device=spectrum.device)
    own = (wavenumber == 0) | (2 * wavenumber == points)
    # No element is written on its own: a GPU would have to be waited for.
    return torch.complex(spectrum.real, torch.where(own, 0.0, spectrum.imag))
