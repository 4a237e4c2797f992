"""Unstructured meshes in a data set, as the UGRID conventions write them.

Dimensions `node`, `cell` and `vertex`; a variable `mesh` that holds no data but says which variables are the topology;
`node_x`, `node_y`, `cells`, `node_type`, the same for all samples. Fields on the nodes have the dimensions
(sample, time, node).

References:
    UGRID Conventions 1.0, "2D triangular mesh topology".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int8, Int32

from datagen.errors import InputError
from datagen.store.layout import AttributeValue, Variable

__all__ = ["CONVENTIONS", "MESH_VARIABLES", "NODE_TYPES", "Mesh", "node_field"]

CONVENTIONS = "CF-1.11 UGRID-1.0"

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

MESH_VARIABLES = ("mesh", "node_x", "node_y", "cells", "node_type")


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

    node_coordinates: ClassVar[str] = "node_x node_y"

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
    def extent(self) -> float:
        """The longer side of the box round all nodes."""
        return float(max(np.ptp(self.x), np.ptp(self.y)))

    @property
    def dimensions(self) -> dict[str, int]:
        return {"node": len(self.x), "cell": len(self.cells), "vertex": self.cells.shape[1]}

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Of a layout, to stand before the fields."""
        topology: dict[str, AttributeValue] = {
            "cf_role": "mesh_topology",
            "topology_dimension": 2,
            "node_coordinates": self.node_coordinates,
            "face_node_connectivity": "cells",
            "face_dimension": "cell",
        }
        types: dict[str, AttributeValue] = {
            "mesh": "mesh",
            "location": "node",
            "flag_values": np.array(list(NODE_TYPES.values()), np.int8),
            "flag_meanings": " ".join(NODE_TYPES),
            "coordinates": self.node_coordinates,
        }
        connectivity: dict[str, AttributeValue] = {"cf_role": "face_node_connectivity", "start_index": 0}
        return (
            Variable("mesh", (), "", "topology of the mesh", "int32", topology),
            Variable("node_x", ("node",), "m", "position along x", "float64"),
            Variable("node_y", ("node",), "m", "position along y", "float64"),
            Variable("cells", ("cell", "vertex"), "", "nodes of each cell", "int32", connectivity),
            Variable("node_type", ("node",), "1", "what a node is part of", "int8", types),
        )

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Of `variables`."""
        return {
            "mesh": np.array(0, np.int32),
            "node_x": self.x,
            "node_y": self.y,
            "cells": self.cells,
            "node_type": self.node_type,
        }


def node_field(name: str, units: str, long_name: str) -> Variable:
    """A field on the nodes at every frame, stored in float32."""
    extra: dict[str, AttributeValue] = {"mesh": "mesh", "location": "node", "coordinates": Mesh.node_coordinates}
    return Variable(name, ("sample", "time", "node"), units, long_name, extra=extra)


def _named_types() -> str:
    return ", ".join(f"{number} {name}" for name, number in NODE_TYPES.items())
