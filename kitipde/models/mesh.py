"""An operator between flows on a mesh, in SI units: the network, and all it has to know of the mesh and the data."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kitipde.config import AirfoilOFormerConfig, ResidualConfig
from kitipde.models.oformer_airfoil import AirfoilOFormer

__all__ = ["PUBLISHED_NODES", "MeshOperator"]

PUBLISHED_NODES = 5233
"""Of the mesh of the MeshGraphNets airfoil set."""


class MeshOperator(nn.Module):
    """`AirfoilOFormer` on standardised fields z = (u − μ)/σ, each field with its own μ and σ of the training split.

    Statistics, positions, node types and the region of interest are buffers: they are saved with the weights, so that
    nobody can apply a model with those of other data.

    Args:
        config: dropout, and how much the region of interest counts.
        residual: how each of the ten sums is joined.
        frames: given ones.
        nodes: of the mesh.
    """

    marches = True

    mean: Tensor
    deviation: Tensor
    positions: Tensor
    node_type: Tensor
    region: Tensor

    def __init__(self, config: AirfoilOFormerConfig, residual: ResidualConfig, frames: int, nodes: int) -> None:
        super().__init__()
        self.network = AirfoilOFormer(residual, frames, config.dropout)
        self.region_weight = config.region_weight
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("deviation", torch.ones(4))
        self.register_buffer("positions", torch.zeros(nodes, 2))
        self.register_buffer("node_type", torch.zeros(nodes, dtype=torch.long))
        self.register_buffer("region", torch.ones(nodes, dtype=torch.bool))

    def fit(
        self,
        mean: Float[Tensor, "4"],
        deviation: Float[Tensor, "4"],
        positions: Float[Tensor, "nodes 2"],
        node_type: Int[Tensor, " nodes"],
        region: Bool[Tensor, " nodes"],
    ) -> None:
        """Take the statistics of the training split, and the mesh (see `kitipde.problem.mesh`)."""
        given = {"mean": mean, "deviation": deviation, "positions": positions, "node_type": node_type, "region": region}
        for name, value in given.items():
            getattr(self, name).copy_(value)

    def forward(self, a: Float[Tensor, "batch frames nodes 4"], steps: int = 1) -> Float[Tensor, "batch steps nodes 4"]:
        """The next `steps` frames; SI units in and out."""
        unit = self.positions / self.positions.amax(dim=0).clamp_min(torch.finfo(a.dtype).tiny)
        frames = torch.cat([self.standardised(a), unit.expand(*a.shape[:2], -1, -1)], dim=-1)
        predicted = self.network(frames, self.positions, self.node_type, steps).to(a.dtype)
        return predicted * self.deviation + self.mean

    def standardised(self, fields: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4"]:
        """(u − μ)/σ."""
        return (fields - self.mean) / self.deviation

    def errors(
        self, prediction: Float[Tensor, "batch frames nodes 4"], target: Float[Tensor, "batch frames nodes 4"]
    ) -> Float[Tensor, "batch frames"]:
        """What training minimises, of each sample and frame:

            ⟨Σ_c (ẑ_c − z_c)²⟩ over all nodes + w ⟨(ẑ_v ẑ_ρ − z_v z_ρ)²⟩ over the region of interest and both v,

        with w = `region_weight`. The products are of standardised fields, as published, and so not quite momenta.
        """
        with torch.autocast(target.device.type, enabled=False):
            predicted, true = self.standardised(prediction.to(target.dtype)), self.standardised(target)
            everywhere = (predicted - true).square().sum(-1).mean(-1)
            products = (z[..., :2] * z[..., 2:3] for z in (predicted, true))
            gap = (next(products) - next(products)).square().mean(-1)
            # A sum with weights: replicas under vmap cannot pick elements by a mask.
            near = (gap * self.region).sum(-1) / self.region.sum()
            return everywhere + self.region_weight * near
