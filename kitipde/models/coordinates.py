"""What a Fourier neural operator learns of the place x in a periodic domain [0, L): channels beside its input.

    published      c(x_j) = j/n, or j/(n − 1) with the end point, on n points x_j = jL/n
    interpolated   on the grid of the training, n = m, the same; on every other grid the trigonometric interpolant of
                   those m numbers,  c(x) = Σ_{|k| < m/2} ĉ_k e^(2πikx/L)  [+ ĉ_{m/2} cos(πmx/L), m even],
                   with  ĉ_k = 1/m Σ_j c(x_j) e^(−2πijk/m)
    harmonics      sin(2πkx/L) and cos(2πkx/L),  k = 1 … K
    none           nothing

for each periodic axis; along a bounded axis, where nothing jumps, the place itself, (x − a)/L. The published channel is
a sawtooth. A spectral convolution sees its Fourier coefficients, and those of a jump depend on n to first order:
−1/(2n) + i cot(πk/n)/(2n) instead of i/(2πk). Hence a network that was trained on one grid is given other channels on
another, and predicts something else from the same field. The other three are the same functions of x on all grids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kitipde.problem.problem import Domain

__all__ = ["CoordinateKind", "Coordinates", "grid_coordinates", "interpolate", "places", "resample"]

CoordinateKind = Literal["interpolated", "published", "harmonics", "none"]


@dataclass(frozen=True)
class Coordinates:
    """The coordinate channels of a network.

    Attributes:
        kind: see the head of this module.
        harmonics: K, if the kind is `harmonics`.
        endpoint: whether the published channel reaches 1 at the last point.
        domain: of the training.
    """

    kind: CoordinateKind
    harmonics: int
    endpoint: bool
    domain: Domain

    @property
    def count(self) -> int:
        """Channels of all axes."""
        if self.kind == "none":
            return 0
        waves = 2 * self.harmonics if self.kind == "harmonics" else 1
        return sum(waves if periodic else 1 for periodic in self.domain.periodic)

    def channels(self, like: Float[Tensor, "batch channels *grid"]) -> list[Float[Tensor, "batch coordinates *grid"]]:
        """The channels of each axis, on the grid, device and in the precision of a batch of fields, expanded to it."""
        if self.kind == "none":
            return []
        batch, grid = like.shape[0], like.shape[2:]
        result = []
        for axis, points in enumerate(grid):
            values = self._along(axis, points, like)
            shape = [1, len(values), *(points if other == axis else 1 for other in range(len(grid)))]
            result.append(values.reshape(shape).expand(batch, -1, *grid))
        return result

    def _along(self, axis: int, points: int, like: Tensor) -> Float[Tensor, "coordinates points"]:
        if not self.domain.periodic[axis]:
            return places(self.domain, axis, points, like.dtype, like.device)[None]
        if self.kind == "harmonics":
            return _harmonics(points, self.harmonics, like)
        trained = points if self.kind == "published" else self.domain.shape[axis]
        if trained == points:
            return _sawtooth(points, self.endpoint, like.dtype, like.device)[None]
        values = _sawtooth(trained, self.endpoint, torch.float64, like.device)
        return interpolate(values, points).to(like.dtype)[None]


def places(
    domain: Domain, axis: int, points: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, " points"]:
    """(x_j − a)/L of equally spaced points along an axis: (j + o)/(n + m)."""
    offset, more = domain.placements[axis]
    return (torch.arange(points, dtype=dtype, device=device) + offset) / (points + more)


def interpolate(values: Float[Tensor, "*shape given"], points: int) -> Float[Tensor, "*shape points"]:
    """The trigonometric interpolant of values on a periodic grid, on a grid of any other number of points.

    Of an even number of values the highest wave, ĉ cos(πmx/L), keeps its whole power. On a coarser grid the interpolant
    is sampled, not truncated.
    """
    given = values.shape[-1]
    spectrum = torch.fft.rfft(values, norm="forward")
    if given % 2 == 0:
        # On a finer grid this mode stands for two, k = m/2 and −m/2.
        spectrum = torch.cat([spectrum[..., :-1], spectrum[..., -1:] / 2], dim=-1)
    # The smallest multiple of the wanted grid that holds every mode.
    finer = given // points + 1
    return torch.fft.irfft(spectrum, n=finer * points, norm="forward")[..., ::finer]


def resample(
    fields: Float[Tensor, "batch channels *grid"], grid: Sequence[int], domain: Domain
) -> Float[Tensor, "batch channels *to"]:
    """Fields on another grid of the same domain, computed in float64.

    Along a period that is the trigonometric interpolant, along a bounded axis the piecewise linear one.
    """
    result = fields.double()
    for axis, points in enumerate(grid):
        given = result.shape[2 + axis]
        if given == points:
            continue
        along = result.movedim(2 + axis, -1)
        if domain.periodic[axis]:
            along = interpolate(along, points)
        else:
            along = along @ _linear(domain, axis, given, points, fields.device).mT
        result = along.movedim(-1, 2 + axis)
    return result.to(fields.dtype)


def _linear(domain: Domain, axis: int, given: int, points: int, device: torch.device) -> Float[Tensor, "points given"]:
    """The matrix of the piecewise linear interpolant, constant beyond the first and the last point."""
    known, wanted = (places(domain, axis, count, torch.float64, device) for count in (given, points))
    upper = (
        torch.searchsorted(known, wanted).clamp(1, max(given - 1, 1)) if given > 1 else torch.zeros_like(wanted).long()
    )
    lower = (upper - 1).clamp_min(0)
    gap = (known[upper] - known[lower]).clamp_min(torch.finfo(torch.float64).tiny)
    share = ((wanted - known[lower]) / gap).clamp(0, 1)[:, None]
    unit = torch.eye(given, dtype=torch.float64, device=device)
    return (1 - share) * unit[lower] + share * unit[upper]


def grid_coordinates(
    domain: Domain, grid: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "points dimension"]:
    """(x − a)/L of each point of a grid, the last axis fastest."""
    axes = [places(domain, axis, points, dtype, device) for axis, points in enumerate(grid)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(prod(grid), len(grid))


def _sawtooth(points: int, endpoint: bool, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " points"]:
    intervals = points - 1 if endpoint and points > 1 else points
    return torch.arange(points, dtype=dtype, device=device) / intervals


def _harmonics(points: int, number: int, like: Tensor) -> Float[Tensor, "waves points"]:
    places = torch.arange(points, device=like.device)
    waves = torch.arange(1, number + 1, device=like.device)
    # Whole turns are taken off as integers, before they cost digits.
    angles = (waves[:, None] * places % points).double() * (2 * torch.pi / points)
    return torch.cat([angles.sin(), angles.cos()]).to(like.dtype)
