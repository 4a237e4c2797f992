"""Where fields live: axes, grids and meshes."""

from datagen.geometry.axis import Axis, Boundary, Method
from datagen.geometry.grid import Grid, Resolution, parse_resolution, periodic_grid, resolution_text
from datagen.geometry.mesh import Mesh

__all__ = [
    "Axis",
    "Boundary",
    "Geometry",
    "Grid",
    "Mesh",
    "Method",
    "Resolution",
    "parse_resolution",
    "periodic_grid",
    "resolution_text",
]

Geometry = Grid | Mesh
"""Where a field lives: `names` and `shape` of its dimensions in space, `dimension`, `points`, `weights`."""
