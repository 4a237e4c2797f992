"""A mesh in a file, as the UGRID conventions write it.

Dimensions `node`, `cell` and `vertex`; a variable `mesh` that holds no data but says which variables are the topology;
`node_x`, `node_y`, `cells`, `node_type`, the same for all samples. Fields on the nodes have the dimensions
(sample, time, node).

References:
    UGRID Conventions 1.0, "2D triangular mesh topology".
"""

import numpy as np

from datagen.geometry.mesh import NODE_TYPES, Mesh
from datagen.store.layout import AttributeValue, Variable

__all__ = ["CONVENTIONS", "MESH_VARIABLES", "mesh_values", "mesh_variables", "node_field"]

CONVENTIONS = "CF-1.11 UGRID-1.0"

MESH_VARIABLES = ("mesh", "node_x", "node_y", "cells", "node_type")

_COORDINATES = "node_x node_y"


def mesh_variables() -> tuple[Variable, ...]:
    """Of a file, to stand before the fields."""
    topology: dict[str, AttributeValue] = {
        "cf_role": "mesh_topology",
        "topology_dimension": 2,
        "node_coordinates": _COORDINATES,
        "face_node_connectivity": "cells",
        "face_dimension": "cell",
    }
    types: dict[str, AttributeValue] = {
        "mesh": "mesh",
        "location": "node",
        "flag_values": np.array(list(NODE_TYPES.values()), np.int8),
        "flag_meanings": " ".join(NODE_TYPES),
        "coordinates": _COORDINATES,
    }
    connectivity: dict[str, AttributeValue] = {"cf_role": "face_node_connectivity", "start_index": 0}
    return (
        Variable("mesh", (), "", "topology of the mesh", "int32", topology, "geometry"),
        Variable("node_x", ("node",), "m", "position along x", "float64", role="geometry"),
        Variable("node_y", ("node",), "m", "position along y", "float64", role="geometry"),
        Variable("cells", ("cell", "vertex"), "", "nodes of each cell", "int32", connectivity, "geometry"),
        Variable("node_type", ("node",), "1", "what a node is part of", "int8", types, "geometry"),
    )


def mesh_values(mesh: Mesh) -> dict[str, np.ndarray]:
    """Of `mesh_variables`."""
    return {
        "mesh": np.array(0, np.int32),
        "node_x": mesh.x,
        "node_y": mesh.y,
        "cells": mesh.cells,
        "node_type": mesh.node_type,
    }


def node_field(name: str, units: str, long_name: str, vector: str = "") -> Variable:
    """A field on the nodes at every frame, stored in float32; maybe a component of a vector."""
    extra: dict[str, AttributeValue] = {"mesh": "mesh", "location": "node", "coordinates": _COORDINATES}
    return Variable(name, ("sample", "time", "node"), units, long_name, extra=extra, vector=vector)
