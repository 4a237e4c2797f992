"""Fourier neural operator with a choice of residual in each Fourier layer.

    h_0 = P(a(x), x)
    h_{l+1} = σ( R( W_l h_l + b_l,  K_l h_l ) )        l = 0 … L-1, no σ after the last
    u = Q(h_L)

P lifts the input and the coordinates (`kitipde.models.coordinates`) to `width` channels, W_l acts on each point, K_l is
a spectral convolution, Q is a two-layer network on each point. R(x, v) is the residual: x + v in the vanilla model;
with KITI the outputs of the linear map are the positions x of particles and those of the convolution their velocities
v.

References:
    Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2021.
    KITINet, appendix E.1.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.collisions.layouts import keeps_points
from kitipde.collisions.residual import make_residuals
from kitipde.config import FNOConfig, ResidualConfig
from kitipde.memory import points_first
from kitipde.models.coordinates import Coordinates
from kitipde.models.cpu.joined import can_join, joined
from kitipde.models.cpu.pointwise import as_matrix_products
from kitipde.models.spectral import SpectralConv
from kitipde.problem.problem import Domain, Problem

__all__ = ["FNO", "build"]

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


def build(config: FNOConfig, residual: ResidualConfig, problem: Problem) -> "FNO":
    """The network for a problem."""
    return FNO(config, residual, problem.channels, len(problem.targets), problem.domain)


class FNO(nn.Module):
    """Fourier neural operator on grids of any size, with one to three axes.

    Lifting, skip and projection are neuraloperator's layers; with copied weights the vanilla model equals its `FNO`.

    Args:
        config: modes, width, layers, activation, coordinates.
        residual: how each layer joins skip and convolution.
        in_channels: channels of the input.
        out_channels: channels of the output.
        domain: of the training; its coordinates are interpolated on other grids, bounded axes are padded.
    """

    def __init__(
        self,
        config: FNOConfig,
        residual: ResidualConfig,
        in_channels: int,
        out_channels: int,
        domain: Domain,
    ) -> None:
        # Importing neuraloperator takes a second and brings its tracking tools along: only who builds a model pays.
        from neuralop.layers.channel_mlp import ChannelMLP
        from neuralop.layers.skip_connections import skip_connection

        super().__init__()
        width, layers = config.width, range(config.layers)
        self.coordinates = Coordinates(config.coordinates, config.harmonics, config.grid_endpoint, domain)
        # Shares of the points that are added behind the end of each axis.
        self.padding = tuple(0.0 if closed else config.padding for closed in domain.periodic)
        self.activation = _ACTIVATIONS[config.activation]
        self.lifting = as_matrix_products(ChannelMLP(in_channels + self.coordinates.count, width, n_layers=1))
        self.skips = nn.ModuleList(
            as_matrix_products(skip_connection(width, width, bias=True, skip_type="linear")) for _ in layers
        )
        self.convolutions = nn.ModuleList(
            SpectralConv(width, width, config.modes_on(domain.shape), config.initialisation) for _ in layers
        )
        self.residuals = make_residuals(residual, config.layers)
        # Particles that are no whole points are gathered from all over such a memory.
        self.scattered = not keeps_points(residual, width)
        self.projection = as_matrix_products(
            ChannelMLP(width, out_channels, hidden_channels=config.projection_width, non_linearity=self.activation)
        )

    def forward(self, a: Float[Tensor, "batch in_channels *grid"]) -> Float[Tensor, "batch out_channels *grid"]:
        """The operator applied to the input frames a."""
        h = torch.cat([a, *self.coordinates.channels(a)], dim=1)
        # On a CPU all that follows are large matrix products if the channels of a point are neighbours in memory.
        if a.device.type == "cpu" and not (self.scattered and self.training):
            h = points_first(h)
        h = self._padded(self.lifting(h))
        for layer, (skip, convolution, residual) in enumerate(
            zip(self.skips, self.convolutions, self.residuals, strict=True)
        ):
            h = self._joined(h, skip, convolution, residual)
            if layer < len(self.residuals) - 1:
                h = self.activation(h)
        # What lies beyond the ends is cut off.
        return self.projection(h[(..., *(slice(points) for points in a.shape[2:]))] if any(self.padding) else h)

    def _padded(self, h: Float[Tensor, "batch width *grid"]) -> Float[Tensor, "batch width *more"]:
        """Zeros behind the end of each bounded axis: a Fourier layer takes every axis for a period."""
        if not any(self.padding):
            return h
        added = [math.ceil(share * points) for share, points in zip(self.padding, h.shape[2:], strict=True)]
        return F.pad(h, [number for count in reversed(added) for number in (0, count)])

    def _joined(self, h: Tensor, skip: nn.Module, convolution: nn.Module, residual: nn.Module) -> Tensor:
        """R(W h + b, K h)."""
        assert isinstance(convolution, SpectralConv)
        in_place = residual.in_sum(h) if can_join(h, skip, convolution, residual) else None  # pyright: ignore[reportCallIssue]
        return residual(skip(h), convolution(h)) if in_place is None else joined(h, skip, convolution, in_place)
