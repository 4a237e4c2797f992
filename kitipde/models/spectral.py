"""Spectral convolution: a learnt linear map of the lowest Fourier modes.

For a field v with C_in channels on a periodic grid,

    (K v)_o = F⁻¹[ Σ_i W_io(k) · F[v_i](k) ]    for |k_a| within the kept modes of each axis, 0 elsewhere,

with F normalised by the number of points, so that the map does not depend on the grid.

neuraloperator 2.0 offers the same layer. This one differs where that one is wrong or slow: odd grids (its shifts are
exchanged), float64, the imaginary part of modes that a real field does not have (cuFFT and the CPU disagree about it),
`torch.func.vmap` (no writes in place), and it computes only the modes that are kept (`kitipde.models.transforms`).

References:
    Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021, section 4.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.memory import has_points_first
from kitipde.models.transforms import Modes, kept_modes, to_grid, to_modes

__all__ = ["SpectralConv", "weights_kept"]


class SpectralConv(nn.Module):
    """Linear map of the lowest Fourier modes, the same on every grid.

    The kept wavenumbers are 0 … modes-1 on the last axis (a real field has no more) and -modes … modes-1 on each other
    one, with the modes of that axis, in this order. A grid too coarse for them uses those it has.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        modes: modes kept on each spatial axis, per sign.
        initialisation: `original` draws both parts from [0, 1/(in·out)), as the FNO paper's code does; `library` from
            a normal distribution of variance 2/(in + out), as neuraloperator does.

    The weight is stored as pairs of real numbers, [in, out, *modes, 2], so that `.double()`, optimizers and collective
    communication treat it like any other.
    """

    def __init__(
        self, in_channels: int, out_channels: int, modes: Sequence[int], initialisation: str = "original"
    ) -> None:
        super().__init__()
        self.modes = tuple(modes)
        kept = (*(2 * each for each in self.modes[:-1]), self.modes[-1])
        weight = torch.empty(in_channels, out_channels, *kept, 2)
        if initialisation == "original":
            nn.init.uniform_(weight, 0.0, 1.0 / (in_channels * out_channels))
        else:
            # A complex normal number of variance s² has real and imaginary parts of variance s²/2.
            nn.init.normal_(weight, 0.0, math.sqrt(1.0 / (in_channels + out_channels)))
        self.weight = nn.Parameter(weight)
        self._made: dict[tuple[Modes, torch.dtype], Tensor] | None = None

    def forward(self, v: Float[Tensor, "batch in_channels *grid"]) -> Float[Tensor, "batch out_channels *grid"]:
        """The convolved field, on the same grid, transformed in at least float32, also under autocast."""
        modes = kept_modes(v.shape[2:], self.modes)
        with torch.autocast(v.device.type, enabled=False):
            field = v.float() if v.dtype in (torch.bfloat16, torch.float16) else v
            spectrum = to_modes(field, modes)
            mapped = torch.bmm(spectrum.flatten(2), self.matrices(modes, field.dtype))
            return to_grid(mapped.unflatten(2, (2, -1)), modes, has_points_first(v)).to(v.dtype)

    def matrices(self, modes: Modes, dtype: torch.dtype) -> Float[Tensor, "mode 2*in_channels 2*out_channels"]:
        """The complex matrix of each wavenumber as a real one of twice the size, [[Re, Im], [-Im, Re]].

        torch computes batched products of complex matrices on a CPU one matrix at a time.
        """
        if self._made is not None and (modes, dtype) in self._made:
            return self._made[modes, dtype]
        weight = self.weight.to(dtype)
        for axis, (negative, positive) in enumerate(modes.rows):
            weight = weight.narrow(2 + axis, self.modes[axis] - negative, negative + positive)
        real, imaginary = weight[..., : modes.kept, :].flatten(2, -2).permute(3, 2, 0, 1)
        matrices = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
        if self._made is not None:
            self._made[modes, dtype] = matrices
        return matrices


@contextmanager
def weights_kept(model: nn.Module) -> Iterator[None]:
    """While this lasts the weights stay what they are: what spectral convolutions make of them is made once.

    For a model that is applied to its own predictions again and again, with one gradient through all of it.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SpectralConv)]
    for layer in layers:
        layer._made = {}
    try:
        yield
    finally:
        for layer in layers:
            layer._made = None
