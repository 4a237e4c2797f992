"""Errors of compressible flows on a mesh, and the forces on the airfoil that follow from the pressure.

With u the fields (v_x, v_y, ρ, p), û the predicted ones, n a node and R the nodes of the region of interest:

    momentum RMSE           √⟨(ρ̂v̂ − ρv)²⟩ over R and both components
    Table 4's               the root of the mean over 16 samples, all their frames, R and both components; then the
                            mean over such batches

The force on the airfoil is F = ∮ (p − p_∞) n ds over its contour, n out of the fluid, each edge with the mean pressure
of its ends. Lift is across the stream, drag along it, both divided by ½ρ_∞|v_∞|² times the chord of 1 m.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from datagen.geometry import Mesh
from datagen.geometry.mesh import NODE_TYPES
from kitipde.evaluation.metrics.compared import Compared, Quantities, or_infinite
from kitipde.evaluation.metrics.registry import Metric, Need

__all__ = ["BATCH", "METRICS", "Stream", "Wall", "force_coefficients", "stream_of", "table4", "wall_of"]

BATCH = 16
"""Samples over which Table 4 takes one root."""

_FLOW = ("velocity_x", "velocity_y", "density", "pressure")


def momentum(compared: Compared) -> Quantities:
    """⟨(ρ̂v̂ − ρv)²⟩ over the region of interest and both components, in (kg m⁻² s⁻¹)²."""
    gaps = []
    for name in _FLOW[:2]:
        predicted, true = (
            compared.channel(of, name) * compared.channel(of, "density")
            for of in (compared.prediction, compared.target)
        )
        gaps.append(predicted - true)
    gap = torch.stack(gaps, dim=2)
    if compared.region is not None:
        gap = gap[..., torch.from_numpy(compared.region).to(gap.device)]
    return {"momentum_squared_error": or_infinite(gap.square().mean((2, 3)))[..., None]}


def forces(compared: Compared) -> Quantities:
    """Lift and drag of predicted and true pressure; the true ones as the solver integrated them, if the file says."""
    wall, mesh = wall_of(compared.mesh), compared.mesh
    stream = stream_of(compared, np.isin(mesh.node_type, (NODE_TYPES["inflow"], NODE_TYPES["outflow"])))
    lift, drag = force_coefficients(compared.channel(compared.prediction, "pressure"), wall, stream)
    true_lift, true_drag = force_coefficients(compared.channel(compared.target, "pressure"), wall, stream)
    recorded = compared.recorded
    if {"lift_coefficient", "drag_coefficient"} <= recorded.keys():
        true_lift, true_drag = recorded["lift_coefficient"].double(), recorded["drag_coefficient"].double()
    named = {"lift": lift, "drag": drag, "true_lift": true_lift, "true_drag": true_drag}
    return {name: values[..., None] for name, values in named.items()}


def table4(squared: Float[np.ndarray, "*seeds samples"]) -> Float[np.ndarray, "*seeds batches"]:
    """Table 4's number of each batch of 16 samples, in kg m⁻² s⁻¹; the last batch may have fewer.

    Args:
        squared: momentum errors of each sample, squared and averaged over its frames.
    """
    parts = [squared[..., first : first + BATCH] for first in range(0, squared.shape[-1], BATCH)]
    return np.stack([np.sqrt(part.mean(-1)) for part in parts], axis=-1)


_MESH: frozenset[Need] = frozenset({"mesh"})

METRICS: tuple[Metric, ...] = (
    Metric(
        "table4_momentum_rmse",
        "momentum RMSE, region, as Table 4",
        "mean over batches of 16 of their RMSE",
        momentum,
        lambda q: q["momentum_squared_error"].mean(1),
        units="kg/(m² s)",
        needs=_MESH,
        fields=_FLOW[:3],
        finish=table4,
    ),
    Metric(
        "momentum_rmse",
        "momentum RMSE, region",
        "√⟨(ρ̂v̂ − ρv)²⟩ of each sample",
        momentum,
        lambda q: q["momentum_squared_error"].mean(1).sqrt(),
        lambda q: q["momentum_squared_error"].sqrt(),
        "kg/(m² s)",
        _MESH,
        _FLOW[:3],
    ),
    *(
        Metric(
            f"{name}_rmse",
            f"RMSE of the {name} coefficient",
            "over the frames of each sample",
            forces,
            lambda q, key=name: (q[key] - q[f"true_{key}"]).square().mean(1).sqrt(),
            lambda q, key=name: (q[key] - q[f"true_{key}"]).abs(),
            needs=_MESH,
            fields=_FLOW,
        )
        for name in ("lift", "drag")
    ),
)


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


def stream_of(compared: Compared, far: np.ndarray) -> Stream:
    """The stream from the far-field nodes of the first given frame, which the airfoil has not reached yet."""
    first = compared.inputs[:, 0].double()[..., torch.from_numpy(far).to(compared.inputs.device)].mean(-1)
    velocity_x, velocity_y, density, pressure = (first[:, compared.given.index(name)] for name in _FLOW)
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
