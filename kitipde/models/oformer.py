"""OFormer on periodic grids: an encoder of the given frames, a decoder that can be asked at any points.

Both work on the grid of the training, whatever the grid of the input: the input is interpolated there, and the
prediction back (`kitipde.models.coordinates.resample`). Rotary positions and query features vary faster than that grid
resolves. The attention's mean over its points is therefore no integral, which other grids would give as well, and
between its points nothing has been learnt.

Encoder: the frames and the coordinates of each point are lifted to `width` channels and pass blocks of linear
self-attention. Decoder: the points asked for are described by random Fourier features of their coordinates; they look
at the encoded points through cross-attention, which gives a latent field z. What comes of z depends on the task:

    pointwise   u = head(z + three residual MLPs)                                      one frame
    propagator  z_{t+1} = z_t + MLP([LN z_t, position]),  u_t = head(LN z_t)           as many frames as asked

so that time is marched in the latent space, not by feeding predictions back. With KITI the two residual sums of each
encoder block and of the cross-attention block collide.

References:
    Li, Meidani and Barati Farimani, Transformer for Partial Differential Equations' Operator Learning, 2023.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.collisions.residual import make_residuals
from kitipde.config import OFormerConfig, ResidualConfig
from kitipde.models.attention import CrossAttention, CrossBlock, EncoderBlock, GaussianFeatures, SelfAttention
from kitipde.models.coordinates import grid_coordinates, resample
from kitipde.problem.problem import Domain, Problem

__all__ = ["OFormer", "build", "pointwise_network"]


def build(config: OFormerConfig, residual: ResidualConfig, problem: Problem) -> "OFormer":
    """The network for a problem."""
    return OFormer(config, residual, problem.channels, len(problem.targets), problem.domain)


class OFormer(nn.Module):
    """Operator transformer for fields on grids of any size.

    Args:
        config: attention, widths, scales, decoder.
        residual: how each block joins its stream and what a sub-layer adds.
        in_channels: channels of the input.
        out_channels: fields of the output.
        domain: of the training.
    """

    def __init__(
        self,
        config: OFormerConfig,
        residual: ResidualConfig,
        in_channels: int,
        out_channels: int,
        domain: Domain,
    ) -> None:
        super().__init__()
        self.domain, dimension = domain, domain.dimension
        width, latent, scales = config.width, config.latent_width, config.rope_scales
        self.marches = config.marches
        residuals = iter(make_residuals(residual, 2 * len(scales) + 2))
        # Without normalisation in the blocks the coordinates are kept beside the lifted values.
        self.keeps_coordinates = not config.layer_norm
        lifted = width - dimension if self.keeps_coordinates else width
        self.lifting = nn.Linear(in_channels + dimension, lifted, bias=False)
        self.encoder = nn.ModuleList(
            EncoderBlock(
                SelfAttention(width, 1, width, config.attention, scale, config.rope_min_frequency),
                width,
                config.layer_norm,
                (next(residuals), next(residuals)),
            )
            for scale in scales
        )
        self.encoded = nn.Linear(width, latent, bias=False)
        self.queries = nn.Sequential(
            GaussianFeatures(dimension, latent, config.query_scale),
            nn.GELU(),
            nn.Linear(2 * latent, latent, bias=False),
        )
        attention = CrossAttention(
            latent, config.cross_heads, latent, config.attention, max(scales), config.rope_min_frequency
        )
        self.cross = CrossBlock(attention, latent, (next(residuals), next(residuals)))
        self.decoder = (
            LatentMarching(latent, config.marching_width, dimension, out_channels)
            if config.marching == "propagator"
            else PointwiseDecoder(latent, out_channels)
        )

    def forward(self, a: Float[Tensor, "batch in_channels *grid"], steps: int = 1) -> Float[Tensor, "batch *out"]:
        """On the grid of the input, the next `steps` frames [batch, step, field, *grid], or one without that axis."""
        grid = tuple(a.shape[2:])
        if self.domain.shape == grid:
            return self._predict(a, steps)
        predicted = self._predict(resample(a, self.domain.shape, self.domain), steps)
        return resample(predicted.flatten(1, -len(grid) - 1), grid, self.domain).unflatten(
            1, predicted.shape[1 : -len(grid)]
        )

    def _predict(self, a: Float[Tensor, "batch in_channels *grid"], steps: int) -> Float[Tensor, "batch *out"]:
        """The next frames, on the grid of the training."""
        grid = a.shape[2:]
        positions = grid_coordinates(self.domain, grid, a.dtype, a.device)
        latent = self._latent(a.flatten(2).transpose(1, 2), positions)
        return self.decoder(latent, positions, steps).unflatten(-1, grid)

    def _latent(
        self, a: Float[Tensor, "batch points in_channels"], positions: Float[Tensor, "points dimension"]
    ) -> Float[Tensor, "batch points latent"]:
        coordinates = positions.expand(a.shape[0], -1, -1)
        x = self.lifting(torch.cat([a, coordinates], dim=-1))
        if self.keeps_coordinates:
            x = torch.cat([x, coordinates], dim=-1)
        for block in self.encoder:
            x = block(x, positions)
        queries = self.queries(positions).expand(a.shape[0], -1, -1)
        return self.cross(queries, self.encoded(x), positions, positions)


class PointwiseDecoder(nn.Module):
    """One frame from the latent field: three residual MLPs and a head, at each point alone."""

    def __init__(self, width: int, fields: int) -> None:
        super().__init__()
        self.mlps = nn.ModuleList(pointwise_network(width, width, width) for _ in range(3))
        self.head = pointwise_network(width, width // 2, fields)

    def forward(
        self, z: Float[Tensor, "batch points latent"], _positions: Float[Tensor, "points dimension"], steps: int
    ) -> Float[Tensor, "batch fields points"]:
        """The fields at the final time; there is only one."""
        if steps != 1:
            raise ValueError(f"this decoder predicts one frame, not {steps}: set model.marching to propagator")
        for mlp in self.mlps:
            z = z + mlp(z)
        return self.head(z).transpose(1, 2)


class LatentMarching(nn.Module):
    """Frames from the latent field: the same propagator moves it from one to the next."""

    def __init__(self, latent: int, width: int, dimension: int, fields: int) -> None:
        super().__init__()
        self.expand = nn.Linear(latent, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.propagator = pointwise_network(width + dimension, width, width, width, width, bias=False)
        self.decoded_norm = nn.LayerNorm(width)
        self.head = pointwise_network(width, width // 2, width // 4, fields)

    def forward(
        self, z: Float[Tensor, "batch points latent"], positions: Float[Tensor, "points dimension"], steps: int
    ) -> Float[Tensor, "batch steps fields points"]:
        """The fields after each step."""
        z, frames = self.expand(z), []
        coordinates = positions.expand(z.shape[0], -1, -1)
        for _ in range(steps):
            z = z + self.propagator(torch.cat([self.norm(z), coordinates], dim=-1))
            frames.append(self.head(self.decoded_norm(z)))
        return torch.stack(frames, dim=1).transpose(2, 3)


def pointwise_network(*widths: int, bias: bool = True) -> nn.Sequential:
    """Linear maps at each point with GELU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.GELU()]
    return nn.Sequential(*layers[:-1])
