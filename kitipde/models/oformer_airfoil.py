"""OFormer on the nodes of a mesh round an airfoil: 1,370,116 parameters in its published sizes.

Four frames of (v_x, v_y, ρ, p) and the position of each node are encoded together with the node's type; after
cross-attention and one mixing self-attention the latent field is marched in time, and each step decodes the four fields
of all nodes.

References:
    Li, Meidani and Barati Farimani, Transformer for Partial Differential Equations' Operator Learning, 2023.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kitipde.collisions.residual import make_residuals
from kitipde.config import ResidualConfig
from kitipde.models.attention import CrossAttention, CrossBlock, EncoderBlock, GaussianFeatures, SelfAttention
from kitipde.models.dropout import KeyedDropout
from kitipde.models.oformer import pointwise_network

__all__ = ["WIDTH", "AirfoilOFormer"]

WIDTH = 128
"""Channels of the stream that the residuals join."""

_LATENT, _FIELDS, _NODE_TYPES = 256, 4, 3
_MIN_FREQUENCY = 1.0 / 200.0
_ENCODER_SCALES = (32.0, 16.0, 16.0, 1.0)
_DECODER_SCALE = 32.0


class AirfoilOFormer(nn.Module):
    """Operator transformer on mesh nodes, in the published sizes.

    Args:
        residual: how each of the ten sums (attention and MLP of four encoder blocks and of the cross block) is joined.
        frames: given ones.
        dropout: probability with which an element of the encoding is dropped while training.
    """

    def __init__(self, residual: ResidualConfig, frames: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        residuals = iter(make_residuals(residual, 2 * len(_ENCODER_SCALES) + 2))
        # A convolution over all frames of 4 fields and 2 coordinates is one linear map.
        self.lifting = nn.Sequential(
            nn.Linear(frames * (_FIELDS + 2), WIDTH, bias=False), nn.GELU(), nn.Linear(WIDTH, WIDTH, bias=False)
        )
        self.node_type = nn.Embedding(_NODE_TYPES, WIDTH)
        self.typed = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.encoder = nn.ModuleList(
            EncoderBlock(
                SelfAttention(WIDTH, 1, WIDTH, "galerkin", scale, _MIN_FREQUENCY),
                WIDTH,
                True,
                (next(residuals), next(residuals)),
            )
            for scale in _ENCODER_SCALES
        )
        self.encoded_norm = nn.LayerNorm(WIDTH)
        self.encoded = nn.Sequential(
            nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU(), nn.Linear(WIDTH, WIDTH, bias=False)
        )
        self.queries = nn.Sequential(
            GaussianFeatures(2, WIDTH // 2, 2.0),
            nn.Linear(WIDTH, WIDTH, bias=False),
            nn.GELU(),
            nn.Linear(WIDTH, WIDTH, bias=False),
        )
        self.query_type = nn.Embedding(_NODE_TYPES, WIDTH)
        self.typed_query = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.dropout = KeyedDropout(dropout)
        cross = CrossAttention(WIDTH, 4, WIDTH, "galerkin", _DECODER_SCALE, _MIN_FREQUENCY)
        self.cross = CrossBlock(cross, WIDTH, (next(residuals), next(residuals)))
        self.mixing = SelfAttention(WIDTH, 1, WIDTH, "galerkin", _DECODER_SCALE, _MIN_FREQUENCY)
        self.expand = nn.Linear(WIDTH, _LATENT, bias=False)
        self.norm = nn.LayerNorm(_LATENT)
        self.propagator = pointwise_network(_LATENT + WIDTH + 2, *(_LATENT,) * 4, bias=False)
        self.decoded_norm = nn.LayerNorm(_LATENT)
        self.head = nn.Sequential(
            nn.Linear(_LATENT + WIDTH, _LATENT, bias=False),
            nn.ReLU(),
            nn.Linear(_LATENT, WIDTH, bias=False),
            nn.ReLU(),
            nn.Linear(WIDTH, _FIELDS),
        )

    def forward(
        self,
        frames: Float[Tensor, "batch frames nodes 6"],
        positions: Float[Tensor, "nodes 2"],
        node_type: Int[Tensor, "nodes"],
        steps: int,
    ) -> Float[Tensor, "batch steps nodes 4"]:
        """The fields of all nodes at the next `steps` frames.

        Args:
            frames: standardised v_x, v_y, ρ, p and the position scaled to the unit square.
            positions: in metres, from the lower left corner of the domain.
            node_type: 0 fluid, 1 airfoil, 2 far field.
            steps: frames to predict.
        """
        batch = frames.shape[0]
        stream = self.lifting(frames.transpose(1, 2).flatten(2))
        start = self.typed(torch.cat([stream, self.node_type(node_type).expand(batch, -1, -1)], dim=-1))
        x = start
        for block in self.encoder:
            x = block(x, positions)
        z = self.encoded(self.encoded_norm(x + start))
        kind = self.query_type(node_type)
        queries = self.typed_query(torch.cat([self.queries(positions), kind], dim=-1)).expand(batch, -1, -1)
        z = self.cross(queries, self.dropout(z), positions, positions)
        z = self.expand(z + self.mixing(z, positions))
        return self._march(z, positions.expand(batch, -1, -1), kind.expand(batch, -1, -1), steps)

    def _march(
        self,
        z: Float[Tensor, "batch nodes latent"],
        positions: Float[Tensor, "batch nodes 2"],
        kind: Float[Tensor, "batch nodes width"],
        steps: int,
    ) -> Float[Tensor, "batch steps nodes 4"]:
        frames = []
        for _ in range(steps):
            z = z + self.propagator(torch.cat([self.norm(z), kind, positions], dim=-1))
            frames.append(self.head(torch.cat([self.decoded_norm(z), kind], dim=-1)))
        return torch.stack(frames, dim=1)
