"""Spectral convolution: a learnt linear map of the lowest Fourier modes.

For a field v with C_in channels on a periodic grid,

    (K v)_o = F⁻¹[ Σ_i W_io(k) · F[v_i](k) ]    for |k_a| within the kept modes of each axis, 0 elsewhere,

with F normalised by the number of points, so that the map does not depend on the grid.

neuraloperator 2.0 offers the same layer. This one differs where that one is wrong or slow: odd grids (its shifts are
exchanged), float64, the imaginary part of modes that a real field does not have (cuFFT and the CPU disagree about it),
`torch.func.vmap` (no writes in place), and it transforms only the columns that are kept.

References:
    Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021, section 4.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

__all__ = ["SpectralConv"]


class SpectralConv(nn.Module):
    """Linear map of the lowest Fourier modes, the same on every grid.

    The kept wavenumbers are 0 … modes-1 on the last axis (a real field has no more) and -modes … modes-1 on each other
    one, in this order. A grid too coarse for them uses those it has.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        modes: modes kept per axis and sign.
        dimension: number of spatial axes.
        initialisation: `original` draws both parts from [0, 1/(in·out)), as the FNO paper's code does; `library` from
            a normal distribution of variance 2/(in + out), as neuraloperator does.

    The weight is stored as pairs of real numbers, [in, out, *modes, 2], so that `.double()`, optimizers and collective
    communication treat it like any other.
    """

    def __init__(
        self, in_channels: int, out_channels: int, modes: int, dimension: int, initialisation: str = "original"
    ) -> None:
        super().__init__()
        self.modes = modes
        self.dimension = dimension
        kept = (2 * modes,) * (dimension - 1) + (modes,)
        weight = torch.empty(in_channels, out_channels, *kept, 2)
        if initialisation == "original":
            nn.init.uniform_(weight, 0.0, 1.0 / (in_channels * out_channels))
        else:
            # A complex normal number of variance s² has real and imaginary parts of variance s²/2.
            nn.init.normal_(weight, 0.0, math.sqrt(1.0 / (in_channels + out_channels)))
        self.weight = nn.Parameter(weight)

    def forward(self, v: Float[Tensor, "batch in_channels *grid"]) -> Float[Tensor, "batch out_channels *grid"]:
        """The convolved field, on the same grid. FFTs run in at least float32, also under autocast."""
        grid = v.shape[2:]
        with torch.autocast(v.device.type, enabled=False):
            field = v.float() if v.dtype in (torch.bfloat16, torch.float16) else v
            spectrum, rows = self._low_modes(field, grid)
            weight = self.weight.to(field.dtype)
            for axis, (negative, positive) in enumerate(rows):
                weight = weight.narrow(2 + axis, self.modes - negative, negative + positive)
            weight = weight[..., : spectrum.shape[-1], :]
            return self._to_grid(_map_each_mode(spectrum, weight), grid, rows).to(v.dtype)

    def _low_modes(
        self, v: Float[Tensor, "batch channels *grid"], grid: torch.Size
    ) -> tuple[Complex[Tensor, "batch channels *kept"], list[tuple[int, int]]]:
        """The kept modes of v, and how many negative and non-negative ones that is on each axis but the last."""
        kept = min(self.modes, grid[-1] // 2 + 1)
        spectrum = torch.fft.rfft(v, norm="forward")[..., :kept]
        rows = []
        for axis, points in enumerate(grid[:-1]):
            negative, positive = min(self.modes, points // 2), min(self.modes, (points + 1) // 2)
            spectrum = torch.fft.fft(spectrum, dim=2 + axis, norm="forward")
            spectrum = torch.cat(
                [spectrum.narrow(2 + axis, points - negative, negative), spectrum.narrow(2 + axis, 0, positive)],
                dim=2 + axis,
            )
            rows.append((negative, positive))
        return spectrum, rows

    def _to_grid(
        self, product: Complex[Tensor, "batch channels *kept"], grid: torch.Size, rows: list[tuple[int, int]]
    ) -> Float[Tensor, "batch channels *grid"]:
        for axis, (negative, positive) in reversed(list(enumerate(rows))):
            dim, points = 2 + axis, grid[axis]
            gap = list(product.shape)
            gap[dim] = points - negative - positive
            product = torch.cat(
                [product.narrow(dim, negative, positive), product.new_zeros(gap), product.narrow(dim, 0, negative)],
                dim=dim,
            )
            product = torch.fft.ifft(product, dim=dim, norm="forward")
        return torch.fft.irfft(_realisable(product, grid[-1]), n=grid[-1], norm="forward")


def _map_each_mode(
    spectrum: Complex[Tensor, "batch in_channels *kept"], weight: Float[Tensor, "in_channels out_channels *kept 2"]
) -> Complex[Tensor, "batch out_channels *kept"]:
    """Σ_i ŵ_io(k) v̂_i(k): for each wavenumber one matrix product.

    The complex matrices are written as real ones of twice the size, [[Re, Im], [-Im, Re]], because torch computes
    batched products of complex matrices on a CPU one matrix at a time.
    """
    batch, kept = len(spectrum), spectrum.shape[2:]
    channels_in, channels_out = weight.shape[:2]
    rows = torch.view_as_real(spectrum.reshape(batch, channels_in, -1)).permute(2, 0, 3, 1)
    real, imaginary = weight.reshape(channels_in, channels_out, -1, 2).permute(3, 2, 0, 1)
    matrices = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
    columns = torch.bmm(rows.reshape(-1, batch, 2 * channels_in), matrices)
    pairs = columns.reshape(-1, batch, 2, channels_out).permute(1, 3, 0, 2).contiguous()
    return torch.view_as_complex(pairs).reshape(batch, channels_out, *kept)


def _realisable(spectrum: Complex[Tensor, "*shape kept"], points: int) -> Complex[Tensor, "*shape kept"]:
    """The spectrum with real mean (and Nyquist) mode: the rest of those modes belongs to no real field.

    FFT libraries differ in what they make of that rest, so it is taken away before they see it.
    """
    kept = spectrum.shape[-1]
    mask = torch.ones(kept, 2, dtype=spectrum.real.dtype, device=spectrum.device)
    mask[0, 1] = 0.0
    if points % 2 == 0 and kept == points // 2 + 1:
        mask[-1, 1] = 0.0
    return torch.view_as_complex(torch.view_as_real(spectrum) * mask)
