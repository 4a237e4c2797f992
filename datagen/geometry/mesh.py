"""Unstructured meshes: nodes in the plane and the cells between them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8, Int32

from datagen.errors import InputError
from datagen.geometry.axis import Method, Reduction

__all__ = ["NODE_TYPES", "Mesh"]

NODE_TYPES: Mapping[str, int] = {
    "normal": 0,
    "obstacle": 1,
    "airfoil": 2,
    "handle": 3,
    "inflow": 4,
    "outflow": 5,
    "wall_boundary": 6,
}
"""What a node is part of, numbered as in the MeshGraphNets data."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Nodes in the plane and the cells between them.

    Attributes:
        x, y: of the nodes, in metres.
        cells: the nodes of each, counter-clockwise or as they were given.
        node_type: of each node, one of `NODE_TYPES`.

    Raises:
        InputError: lengths that do not fit, a place that is not finite, a cell with a node that does not exist, or a
            node type without a name.
    """

    x: Float64[np.ndarray, " nodes"]
    y: Float64[np.ndarray, " nodes"]
    cells: Int32[np.ndarray, "cells vertices"]
    node_type: Int8[np.ndarray, " nodes"]

    def __post_init__(self) -> None:
        nodes = len(self.x)
        if not nodes or self.y.shape != (nodes,) or self.node_type.shape != (nodes,) or self.cells.ndim != 2:
            raise InputError(
                f"a mesh of {self.x.shape} and {self.y.shape} coordinates, {self.node_type.shape} node types and "
                f"{self.cells.shape} cells does not fit together"
            )
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise InputError("the mesh has nodes at places that are not finite")
        if self.cells.size and not (self.cells.min() >= 0 and self.cells.max() < nodes):
            raise InputError(f"the mesh has cells with nodes that do not exist (allowed: 0 to {nodes - 1})")
        strange = sorted(set(np.unique(self.node_type).tolist()) - set(NODE_TYPES.values()))
        if strange:
            raise InputError(f"node type {strange[0]} is none (allowed: {_named_types()})")

    @property
    def names(self) -> tuple[str]:
        """The dimension of a field in space."""
        return ("node",)

    @property
    def shape(self) -> tuple[int]:
        """How many nodes."""
        return (len(self.x),)

    @property
    def points(self) -> int:
        """How many nodes."""
        return len(self.x)

    @property
    def dimension(self) -> int:
        """Of the space that it lies in."""
        return 2

    @property
    def periodic(self) -> bool:
        """A mesh is not."""
        return False

    @property
    def positions(self) -> Float64[np.ndarray, "nodes 2"]:
        """Of the nodes."""
        return np.stack([self.x, self.y], axis=-1)

    @property
    def weights(self) -> Float64[np.ndarray, " nodes"]:
        """Quadrature weight of each node: every node counts the same, as in the published errors."""
        return np.full(len(self.x), 1 / len(self.x))

    def resolved(self, resolution: Sequence[int]) -> tuple[int]:
        """The one resolution that a mesh has: its nodes.

        Raises:
            InputError: another is asked for.
        """
        if tuple(resolution) != self.shape:
            raise InputError(
                f"resolution {'x'.join(map(str, resolution))}: a mesh has its {self.points} nodes and no other "
                "resolution; leave it out"
            )
        return self.shape

    def reductions(self, resolution: Sequence[int], method: Method = "stride") -> tuple[Reduction]:
        """How a field becomes one of that resolution: as it is.

        Raises:
            InputError: as `resolved`.
        """
        return (Reduction(*self.resolved(resolution)),)

    def coarsened(self, resolution: Sequence[int], method: Method = "stride") -> "Mesh":
        """The mesh itself.

        Raises:
            InputError: as `resolved`.
        """
        self.resolved(resolution)
        return self

    def possible(self, wanted: Iterable[Sequence[int]], method: Method = "stride") -> tuple[tuple[int], ...]:
        """Its nodes, if they are among the resolutions."""
        return (self.shape,) if self.shape in map(tuple, wanted) else ()

    @property
    def extent(self) -> float:
        """The longer side of the box round all nodes."""
        return float(max(np.ptp(self.x), np.ptp(self.y)))

    @property
    def dimensions(self) -> dict[str, int]:
        return {"node": len(self.x), "cell": len(self.cells), "vertex": self.cells.shape[1]}


def _named_types() -> str:
    return ", ".join(f"{number} {name}" for name, number in NODE_TYPES.items())
