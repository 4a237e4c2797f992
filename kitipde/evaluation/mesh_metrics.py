"""Errors of flows on a mesh, and the forces on the airfoil that follow from the pressure.

With u the fields (v_x, v_y, ρ, p), û the predicted ones, n a node and R the nodes of the region of interest:

    RMSE of a field         √⟨(û_n − u_n)²⟩ over all nodes
    relative L2             √(Σ_n (û_n − u_n)² / Σ_n u_n²)
    momentum RMSE           √⟨(ρ̂v̂ − ρv)²⟩ over R and both components
    Table 4's               the root of the mean over 16 samples, all their frames, R and both components; then the
                            mean over such batches

The force on the airfoil is F = ∮ (p − p_∞) n ds over its contour, n out of the fluid, each edge with the mean pressure
of its ends. Lift is across the stream, drag along it, both divided by ½ρ_∞|v_∞|² times the chord of 1 m.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from datagen.geometry.mesh import NODE_TYPES
from datagen.store import Mesh
from kitipde.evaluation.metrics import or_infinite
from kitipde.problem.mesh import momentum

__all__ = [
    "BATCH",
    "FlowErrors",
    "Stream",
    "Wall",
    "flow_errors",
    "force_coefficients",
    "stream_of",
    "table4",
    "wall_of",
]

BATCH = 16
"""Samples over which Table 4 takes one root."""


@dataclass(frozen=True)
class FlowErrors:
    """Means of squares, of each sample and frame; roots and means over more come later.

    Attributes:
        squared: ⟨(û − u)²⟩ over all nodes.
        power: ⟨u²⟩ over all nodes.
        momentum: ⟨(ρ̂v̂ − ρv)²⟩ over the region of interest and both components, in (kg m⁻² s⁻¹)².
    """

    squared: Float[Tensor, "samples frames 4"]
    power: Float[Tensor, "samples frames 4"]
    momentum: Float[Tensor, "samples frames"]


def flow_errors(
    prediction: Float[Tensor, "samples frames nodes 4"],
    target: Float[Tensor, "samples frames nodes 4"],
    region: Bool[Tensor, " nodes"],
) -> FlowErrors:
    """Errors of flows in SI units, summed in float64; infinite for a prediction that is not finite."""
    predicted, true = prediction.double(), target.double()
    gap = (momentum(predicted) - momentum(true))[:, :, region]
    squared, momentum_squared = (predicted - true).square().mean(2), gap.square().mean((2, 3))
    return FlowErrors(or_infinite(squared), true.square().mean(2), or_infinite(momentum_squared))


def table4(momentum_squared: Float[np.ndarray, "*seeds samples frames"]) -> Float[np.ndarray, "*seeds batches"]:
    """Table 4's number of each batch of 16 samples, in kg m⁻² s⁻¹; the last batch may have fewer."""
    samples = momentum_squared.mean(-1)
    parts = [samples[..., first : first + BATCH] for first in range(0, samples.shape[-1], BATCH)]
    return np.stack([np.sqrt(part.mean(-1)) for part in parts], axis=-1)


@dataclass(frozen=True)
class Wall:
    """The contour of the airfoil.

    Attributes:
        edges: the two nodes of each.
        normals: out of the fluid, as long as the edge, in metres.
    """

    edges: Int[Tensor, "edges 2"]
    normals: Float[Tensor, "edges 2"]


@dataclass(frozen=True)
class Stream:
    """The air far away.

    Attributes:
        pressure: p_∞ in pascals.
        head: ½ρ_∞|v_∞|² in pascals.
        direction: v_∞/|v_∞|.
    """

    pressure: Float[Tensor, " samples"]
    head: Float[Tensor, " samples"]
    direction: Float[Tensor, "samples 2"]


def wall_of(mesh: Mesh) -> Wall:
    """The edges between airfoil nodes that belong to one cell only; none if the mesh has no airfoil."""
    cells, places = mesh.cells.astype(np.int64), np.stack([mesh.x, mesh.y], axis=1)
    corners, following = places[cells], np.roll(places[cells], -1, 1)
    area = (corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]).sum(1)
    counter_clockwise = np.where((area > 0)[:, None], cells, cells[:, ::-1])
    edges = np.stack([counter_clockwise, np.roll(counter_clockwise, -1, 1)], axis=-1).reshape(-1, 2)
    edges = edges[(mesh.node_type[edges] == NODE_TYPES["airfoil"]).all(1)]
    _, first, count = np.unique(np.sort(edges, 1), axis=0, return_index=True, return_counts=True)
    edges = edges[first[count == 1]]
    along = places[edges[:, 1]] - places[edges[:, 0]]
    # The fluid is on the left of its cells' edges.
    return Wall(torch.from_numpy(edges), torch.from_numpy(np.stack([along[:, 1], -along[:, 0]], axis=1)))


def stream_of(first: Float[Tensor, "samples nodes 4"], node_type: Int[Tensor, " nodes"]) -> Stream:
    """The stream from the far-field nodes of the first frame, which the airfoil has not reached yet."""
    velocity_x, velocity_y, density, pressure = first[:, node_type == 2].double().mean(1).unbind(-1)
    speed = torch.hypot(velocity_x, velocity_y)
    direction = torch.stack([velocity_x, velocity_y], dim=-1) / speed[:, None]
    return Stream(pressure, 0.5 * density * speed.square(), direction)


def force_coefficients(
    pressure: Float[Tensor, "samples frames nodes"], wall: Wall, stream: Stream
) -> tuple[Float[Tensor, "samples frames"], Float[Tensor, "samples frames"]]:
    """Coefficients of lift and drag; NaN without an airfoil, infinite where the pressure is not finite."""
    if not len(wall.edges):
        empty = torch.full(pressure.shape[:2], torch.nan, dtype=torch.float64)
        return empty, empty.clone()
    excess = pressure[:, :, wall.edges].double().mean(-1) - stream.pressure[:, None, None]
    force = excess @ wall.normals.double() / stream.head[:, None, None]
    along = stream.direction[:, None]
    drag = (force * along).sum(-1)
    lift = force[..., 1] * along[..., 0] - force[..., 0] * along[..., 1]
    return or_infinite(lift), or_infinite(drag)
