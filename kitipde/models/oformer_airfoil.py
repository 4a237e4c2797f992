"""OFormer on the nodes of a mesh; on flow round an airfoil, in its published sizes, 1,370,116 parameters.

The given frames of all fields and the position of each node are encoded together with the node's type; after
cross-attention and one mixing self-attention the latent field is marched in time, and each step decodes the fields of
all nodes.

References:
    Li, Meidani and Barati Farimani, Transformer for Partial Differential Equations' Operator Learning, 2023.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from datagen.geometry import Geometry, Mesh
from datagen.geometry.mesh import NODE_TYPES
from kitipde.collisions.residual import make_residuals
from kitipde.config import AirfoilOFormerConfig, ResidualConfig
from kitipde.errors import InputError
from kitipde.models.attention import CrossAttention, CrossBlock, EncoderBlock, GaussianFeatures, SelfAttention
from kitipde.models.dropout import KeyedDropout
from kitipde.models.oformer import pointwise_network
from kitipde.problem.problem import Problem

__all__ = ["AirfoilOFormer", "build"]

_NODE_TYPES = 3
"""Fluid, airfoil, far field."""

_MIN_FREQUENCY = 1.0 / 200.0


def build(config: AirfoilOFormerConfig, residual: ResidualConfig, problem: Problem) -> "AirfoilOFormer":
    """The network for a problem."""
    return AirfoilOFormer(config, residual, problem)


class AirfoilOFormer(nn.Module):
    """Operator transformer on mesh nodes.

    Positions, node types and the region of interest are buffers: they are saved with the weights, so that a
    model cannot be applied with those of another mesh.

    Args:
        config: sizes, dropout, and how much the region of interest counts.
        residual: how each of the sums (attention and MLP of the encoder blocks and of the cross block) is joined.
        problem: fields, frames, nodes.
    """

    marches = True

    positions: Tensor
    node_type: Tensor
    region: Tensor

    def __init__(self, config: AirfoilOFormerConfig, residual: ResidualConfig, problem: Problem) -> None:
        super().__init__()
        width, latent, scales = config.width, config.latent_width, config.rope_scales
        fields, (nodes,) = len(problem.targets), problem.domain.shape
        dimension = problem.domain.dimension
        self.fields, self.frames, self.config = fields, problem.input_frames, config
        residuals = iter(make_residuals(residual, 2 * len(scales) + 2))
        self.register_buffer("positions", torch.zeros(nodes, dimension))
        self.register_buffer("node_type", torch.zeros(nodes, dtype=torch.long))
        self.register_buffer("region", torch.ones(nodes, dtype=torch.bool))
        places = {name: place for place, name in enumerate(problem.targets)}
        weighted = config.region_products if config.region_weight else ()
        self.products = tuple((places[a], places[b]) for a, b in weighted)
        # A convolution over all frames of all fields and coordinates is one linear map.
        given = self.frames * (fields + dimension) + problem.context
        self.lifting = nn.Sequential(
            nn.Linear(given, width, bias=False), nn.GELU(), nn.Linear(width, width, bias=False)
        )
        self.node_embedding = nn.Embedding(_NODE_TYPES, width)
        self.typed = nn.Linear(2 * width, width, bias=False)
        self.encoder = nn.ModuleList(
            EncoderBlock(
                SelfAttention(width, 1, width, "galerkin", scale, _MIN_FREQUENCY),
                width,
                True,
                (next(residuals), next(residuals)),
            )
            for scale in scales
        )
        self.encoded_norm = nn.LayerNorm(width)
        self.encoded = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False)
        )
        self.queries = nn.Sequential(
            GaussianFeatures(dimension, width // 2, 2.0),
            nn.Linear(width, width, bias=False),
            nn.GELU(),
            nn.Linear(width, width, bias=False),
        )
        self.query_type = nn.Embedding(_NODE_TYPES, width)
        self.typed_query = nn.Linear(2 * width, width, bias=False)
        self.dropout = KeyedDropout(config.dropout)
        cross = CrossAttention(width, config.cross_heads, width, "galerkin", config.query_scale, _MIN_FREQUENCY)
        self.cross = CrossBlock(cross, width, (next(residuals), next(residuals)))
        self.mixing = SelfAttention(width, 1, width, "galerkin", config.query_scale, _MIN_FREQUENCY)
        self.expand = nn.Linear(width, latent, bias=False)
        self.norm = nn.LayerNorm(latent)
        self.propagator = pointwise_network(latent + width + dimension, *(latent,) * 4, bias=False)
        self.decoded_norm = nn.LayerNorm(latent)
        self.head = nn.Sequential(
            nn.Linear(latent + width, latent, bias=False),
            nn.ReLU(),
            nn.Linear(latent, width, bias=False),
            nn.ReLU(),
            nn.Linear(width, fields),
        )

    def place(self, geometry: Geometry) -> None:
        """Take the mesh of the training: positions from its lower left corner, node types, the region of interest.

        Raises:
            InputError: no node lies in the region.
        """
        assert isinstance(geometry, Mesh)
        at = geometry.positions
        inside = np.ones(len(at), bool)
        for axis, (low, high) in enumerate(self.config.region):
            inside &= (at[:, axis] > low) & (at[:, axis] < high)
        if not inside.any():
            said = " and ".join(f"{low:g} to {high:g} m" for low, high in self.config.region)
            raise InputError(
                f"model.region has no node: it goes from {said}; the nodes are at x {at[:, 0].min():g} to "
                f"{at[:, 0].max():g} m and y {at[:, 1].min():g} to {at[:, 1].max():g} m"
            )
        kinds = np.zeros(len(at), np.int64)
        kinds[geometry.node_type == NODE_TYPES["airfoil"]] = 1
        kinds[np.isin(geometry.node_type, (NODE_TYPES["inflow"], NODE_TYPES["outflow"]))] = 2
        self.positions.copy_(torch.from_numpy(at - at.min(0)).float())
        self.node_type.copy_(torch.from_numpy(kinds))
        self.region.copy_(torch.from_numpy(inside))

    def forward(
        self, channels: Float[Tensor, "batch channels nodes"], steps: int = 1
    ) -> Float[Tensor, "batch steps fields nodes"]:
        """The standardised fields of all nodes at the next `steps` frames."""
        batch, frames, fields = len(channels), self.frames, self.fields
        unit = self.positions / self.positions.amax(dim=0).clamp_min(torch.finfo(channels.dtype).tiny)
        given, context = channels[:, : frames * fields], channels[:, frames * fields :]
        moving = given.unflatten(1, (frames, fields)).permute(0, 3, 1, 2)
        lifted = torch.cat([moving, unit[:, None].expand(batch, -1, frames, -1)], dim=-1).flatten(2)
        stream = self.lifting(torch.cat([lifted, context.transpose(1, 2)], dim=-1) if context.shape[1] else lifted)
        start = self.typed(torch.cat([stream, self.node_embedding(self.node_type).expand(batch, -1, -1)], dim=-1))
        x = start
        for block in self.encoder:
            x = block(x, self.positions)
        z = self.encoded(self.encoded_norm(x + start))
        kind = self.query_type(self.node_type)
        queries = self.typed_query(torch.cat([self.queries(self.positions), kind], dim=-1)).expand(batch, -1, -1)
        z = self.cross(queries, self.dropout(z), self.positions, self.positions)
        z = self.expand(z + self.mixing(z, self.positions))
        return self._march(z, self.positions.expand(batch, -1, -1), kind.expand(batch, -1, -1), steps)

    def _march(
        self,
        z: Float[Tensor, "batch nodes latent"],
        positions: Float[Tensor, "batch nodes dimension"],
        kind: Float[Tensor, "batch nodes width"],
        steps: int,
    ) -> Float[Tensor, "batch steps fields nodes"]:
        frames = []
        for _ in range(steps):
            z = z + self.propagator(torch.cat([self.norm(z), kind, positions], dim=-1))
            frames.append(self.head(torch.cat([self.decoded_norm(z), kind], dim=-1)))
        return torch.stack(frames, dim=1).transpose(2, 3)

    def errors(
        self,
        prediction: Float[Tensor, "batch frames fields nodes"],
        target: Float[Tensor, "batch frames fields nodes"],
    ) -> Float[Tensor, "batch frames"]:
        """What training minimises, of each sample and frame of standardised fields: see `AirfoilOFormerConfig`."""
        with torch.autocast(target.device.type, enabled=False):
            predicted, true = prediction.to(target.dtype), target
            error = (predicted - true).square().sum(2).mean(-1)
            if not self.products:
                return error
            # As published, products of standardised fields, and so not quite momenta.
            both = (torch.stack([z[:, :, a] * z[:, :, b] for a, b in self.products], dim=2) for z in (predicted, true))
            gap = next(both) - next(both)
            # A sum with weights: replicas under vmap cannot pick elements by a mask.
            near = (gap.square().mean(2) * self.region).sum(-1) / self.region.sum()
            return error + self.config.region_weight * near
