"""One panel: values on a geometry. Lines in 1-D, maps in 2-D and on meshes, the three middle planes of a box in 3-D.

A map has the proportions of the domain. A mesh with an airfoil is shown near it; the airfoil stays white.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.tri import Triangulation

from datagen.geometry import Axis, Geometry, Grid, Mesh
from datagen.geometry.mesh import NODE_TYPES
from kitipde.reporting.style import ERROR_MAP, FIELD_MAP, ONE_SIGN_ERROR_MAP, ONE_SIGN_MAP, limits

__all__ = ["Scale", "draw", "is_line", "label_outer", "labelled", "place_label", "proportions", "shown", "view_note"]

# Up to this ratio of its sides a domain is drawn in its own proportions.
_LONGEST = 4.0
# Space between the planes of a box, as a share of its longest side.
_GAP = 0.06


@dataclass(frozen=True)
class Scale:
    """Colours and the values at their two ends.

    Attributes:
        low: value of the first colour.
        high: value of the last.
        colours: name of the colour map.
    """

    low: float
    high: float
    colours: str

    @classmethod
    def of(cls, truth: Float[np.ndarray, "..."]) -> "Scale":
        """That of a true field and every prediction of it: symmetric about zero if the field has both signs."""
        (low, high), signed = limits(truth)
        return cls(low, high, FIELD_MAP if signed else ONE_SIGN_MAP)

    def of_errors(self, errors: Float[np.ndarray, "..."]) -> "Scale":
        """From zero to the largest finite error, in colours that are not those of this field."""
        finite = errors[np.isfinite(errors)]
        largest = float(finite.max(initial=0.0)) or 1.0
        return Scale(0.0, largest, ERROR_MAP if self.colours == FIELD_MAP else ONE_SIGN_ERROR_MAP)

    @property
    def ends(self) -> tuple[float, float]:
        """The two values."""
        return self.low, self.high


def is_line(geometry: Geometry) -> bool:
    """Whether fields on it are drawn as lines."""
    return isinstance(geometry, Grid) and geometry.dimension == 1


def shown(geometry: Geometry, values: Float[np.ndarray, "*stack space"]) -> Float[np.ndarray, "*stack points"]:
    """The values that a panel shows: what colours are chosen from.

    Args:
        geometry: where they live.
        values: whose last axes are its own.
    """
    if isinstance(geometry, Mesh):
        return values[..., _in_view(geometry)]
    stack = values.shape[: values.ndim - geometry.dimension]
    if geometry.dimension < 3:
        return values.reshape(*stack, -1)
    planes = [np.take(values, axis.points // 2, len(stack) + place) for place, axis in enumerate(geometry.axes)]
    return np.concatenate([plane.reshape(*stack, -1) for plane in planes], axis=-1)


def view_note(geometry: Geometry) -> str:
    """What a caption should say of the part that a map shows, as a sentence; empty if it shows everything."""
    if isinstance(geometry, Mesh):
        return " Maps show the surroundings of the airfoil." if _airfoil(geometry).any() else ""
    return " Maps show the three middle planes of the box." if geometry.dimension == 3 else ""


def proportions(geometry: Geometry) -> float:
    """Height of a map as a share of its width."""
    if isinstance(geometry, Mesh):
        (left, right), (low, high) = _view(geometry)
        ratio = (high - low) / (right - left)
    else:
        sides = _sides(geometry)
        ratio = sides[1] / sides[0] if len(sides) == 2 else (sides[1] + sides[2]) / (sides[0] + sides[2])
    return float(np.clip(ratio, 1 / _LONGEST, _LONGEST))


def draw(axes: Axes, geometry: Geometry, values: Float[np.ndarray, "*space"], scale: Scale) -> ScalarMappable:
    """Draw a map of values; its ticks and labels are those of `label_outer`.

    Args:
        axes: where.
        geometry: where the values live: a plane, a box or a mesh.
        values: one for each of its points; those that are not finite stay white.
        scale: of the colours.

    Returns:
        What a colour bar is made from.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    colours = {"cmap": scale.colours, "vmin": scale.low, "vmax": scale.high}
    if isinstance(geometry, Mesh):
        return _draw_mesh(axes, geometry, values, colours)
    if geometry.dimension == 3:
        return _draw_box(axes, geometry, values, colours)
    # Arrays are [x, y]; maps have x to the right and y upwards.
    image = axes.pcolorfast(*map(_edges, geometry.axes), values.T, **colours)
    axes.set_aspect("equal" if _comparable(geometry) else "auto")
    return image


def label_outer(axes: Axes, geometry: Geometry, *, below: bool, left: bool) -> None:
    """Name and units of the axes and where they end, at the outer panels of a figure.

    Args:
        axes: of a panel that has been drawn.
        geometry: where its values live.
        below: whether it is in the last row.
        left: whether it is in the first column.
    """
    axes.tick_params(labelsize=7, length=2)
    if isinstance(geometry, Mesh) or geometry.dimension == 2:
        if below:
            axes.set_xticks(axes.get_xlim(), [f"{end:.4g}" for end in axes.get_xlim()])
            axes.set_xlabel(place_label(geometry, 0), fontsize=8, labelpad=-6)
        if left:
            axes.set_yticks(axes.get_ylim(), [f"{end:.4g}" for end in axes.get_ylim()])
            axes.set_ylabel(place_label(geometry, 1), fontsize=8, labelpad=-6)
        for tick, side in zip(axes.get_xticklabels(), ("left", "right"), strict=False):
            tick.set_horizontalalignment(side)
        return
    # Of a box the middle of each side has its name.
    x, y, z = _sides(geometry)
    gap, (across, up, depth) = _gap(geometry), (place_label(geometry, place) for place in range(3))
    if below:
        axes.set_xticks((x / 2, x + gap + z / 2), (across, depth))
    if left:
        axes.set_yticks((y / 2, y + gap + z / 2), (up, depth))


def place_label(geometry: Geometry, place: int) -> str:
    """Name and units of a direction in space, for an axis."""
    if isinstance(geometry, Mesh):
        return labelled("xy"[place], "m")
    axis = geometry.axes[place]
    return labelled(axis.name, axis.units)


def labelled(name: str, units: str) -> str:
    """A quantity and its units."""
    return name if units in ("", "1") else f"{name} [{units}]"


def _edges(axis: Axis) -> Float[np.ndarray, " edges"]:
    """Between the parts of the axis that belong to one point each: the parts fill its extent."""
    return axis.extent[0] + np.concatenate([[0.0], np.cumsum(axis.weights)])


def _comparable(grid: Grid) -> bool:
    """Whether its sides are lengths of one kind that fit into one picture."""
    lengths = grid.lengths
    return len({axis.units for axis in grid.axes}) == 1 and max(lengths) <= _LONGEST * min(lengths)


def _sides(grid: Grid) -> tuple[float, ...]:
    """Lengths as drawn: all the same if the true ones cannot be compared."""
    return grid.lengths if _comparable(grid) else (1.0,) * grid.dimension


def _gap(grid: Grid) -> float:
    return _GAP * max(_sides(grid))


def _draw_box(axes: Axes, grid: Grid, values: np.ndarray, colours: dict) -> ScalarMappable:
    """The plane at the middle z, above it that at the middle y, to its right that at the middle x."""
    x, y, z = (
        (_edges(axis) - axis.extent[0]) * (side / axis.length)
        for axis, side in zip(grid.axes, _sides(grid), strict=True)
    )
    gap = _gap(grid)
    along, across, deep = (axis.points // 2 for axis in grid.axes)
    planes = (
        (x, y, values[:, :, deep].T),
        (x, y[-1] + gap + z, values[:, across].T),
        (x[-1] + gap + z, y, values[along]),
    )
    images = [axes.pcolorfast(right, up, plane, **colours) for right, up, plane in planes]
    axes.set_xlim(0.0, x[-1] + gap + z[-1])
    axes.set_ylim(0.0, y[-1] + gap + z[-1])
    axes.set_aspect("equal")
    for side in axes.spines.values():
        side.set_visible(False)
    return images[0]


def _draw_mesh(axes: Axes, mesh: Mesh, values: np.ndarray, colours: dict) -> ScalarMappable:
    vertices = mesh.cells.shape[1]
    if len(mesh.cells) and vertices > 2:
        # Polygons are cut into triangles from their first node.
        cells = np.concatenate([mesh.cells[:, [0, k, k + 1]] for k in range(1, vertices - 1)])
        image = axes.tripcolor(Triangulation(mesh.x, mesh.y, cells), values, shading="gouraud", **colours)
    else:
        image = axes.scatter(mesh.x, mesh.y, c=values, s=6, linewidths=0, **colours)
    # In a PDF thousands of shaded triangles are slow to show and no sharper.
    image.set_rasterized(True)
    across, up = _view(mesh)
    axes.set_xlim(*across)
    axes.set_ylim(*up)
    axes.set_aspect("equal")
    return image


def _view(mesh: Mesh) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends along x and y of what is shown: the airfoil with its surroundings and wake, or all nodes without one."""
    airfoil = _airfoil(mesh)
    if not airfoil.any():
        return (float(mesh.x.min()), float(mesh.x.max())), (float(mesh.y.min()), float(mesh.y.max()))
    x, y = mesh.x[airfoil], mesh.y[airfoil]
    chord = float(max(np.ptp(x), np.ptp(y)))
    middle = float(y.min() + y.max()) / 2
    return (float(x.min()) - 0.25 * chord, float(x.max()) + 0.5 * chord), (middle - 0.75 * chord, middle + 0.75 * chord)


def _airfoil(mesh: Mesh) -> Bool[np.ndarray, " nodes"]:
    return mesh.node_type == NODE_TYPES["airfoil"]


def _in_view(mesh: Mesh) -> Bool[np.ndarray, " nodes"]:
    (left, right), (low, high) = _view(mesh)
    return (mesh.x >= left) & (mesh.x <= right) & (mesh.y >= low) & (mesh.y <= high)
