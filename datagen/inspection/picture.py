"""A picture of a dataset: a few samples of every field."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64

from datagen.equations.stored import constants
from datagen.errors import InputError
from datagen.geometry import Axis, Grid, Mesh
from datagen.geometry.mesh import NODE_TYPES
from datagen.store.reader import Dataset
from datagen.store.writer import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_SAMPLES = 3
_FRAMES = 4
_MOST_ROWS = 10
_NARROW, _WIDE = 0.4, 2.5
"""Shapes of a panel, height by width, within which lengths along both axes have one scale."""
_NOTABLE = 0.05
"""Share of the other sign from which a field has two."""


@dataclass(frozen=True)
class _Plane:
    """What a map shows of a grid: two axes, and where on the third one it is, in 3-D.

    Attributes:
        across, up: places of the axes among those of the grid.
        where: index of everything else.
        text: the same in words.
    """

    across: int
    up: int
    where: tuple[int | slice, ...]
    text: str = ""


@dataclass(frozen=True)
class _Row:
    """A field in one plane: at some instants of a sample, or of some samples. It has one scale of colours.

    Attributes:
        name: of the field.
        plane: what is shown of the grid.
        panels: sample and frame of each; None where the field has none.
    """

    name: str
    plane: _Plane
    panels: tuple[tuple[int | None, int | None], ...]


def draw(data: Dataset, path: Path) -> None:
    """Draw all fields of the first samples, frames from first to last, those without time first.

    In 1-D a row of lines for each field; in 2-D a row of maps for each, with lengths to scale; in 3-D a row for each of
    the three planes through the middle; the pressure of a mesh near its airfoil.

    Args:
        data: an open dataset.
        path: where; the suffix chooses the format (png, pdf, svg).

    Raises:
        InputError: a suffix that no picture has, or a folder that cannot be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = FigureCanvasAgg(Figure()).get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        raise InputError(f"no picture format '{path.suffix}' (allowed: {', '.join(sorted(kinds))})")
    if isinstance(data.geometry, Mesh):
        figure = _mesh_maps(data, data.geometry, Figure)
    elif data.geometry.dimension == 1:
        figure = _lines(data, data.geometry.axes[0], Figure)
    else:
        figure = _maps(data, data.geometry, Figure)
    numbers = [f"{each.symbol} = {each.value:g} {each.units}".removesuffix(" 1") for each in constants(data)]
    figure.suptitle(", ".join([f"{data.path.name}: {data.equation}", *numbers]), fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, bbox_inches="tight", format=path.suffix[1:])


def _lines(data: Dataset, axis: Axis, new_figure: type) -> "Figure":
    """A row per field, a column per sample; the later the instant, the darker the line."""
    columns, names = min(_SAMPLES, data.samples), _ordered(data)
    figure = new_figure(figsize=(3.2 * columns + 1.2, 2.2 * len(names) + 0.6), layout="constrained")
    panels = figure.subplots(len(names), columns, sharex=True, sharey="row", squeeze=False)
    for line, name in zip(panels, names, strict=True):
        frames = _frames(data, name)
        for index, axes in enumerate(line):
            for place, frame in enumerate(frames):
                color = None if frame is None else str(0.75 * (1 - place / max(1, len(frames) - 1)))
                label = "" if frame is None else _instant(data, frame)
                axes.plot(axis.coordinates, _image(data, name, index, frame), color=color, label=label)
            axes.set_title(_title(data, name, index), fontsize="small")
        if frames != (None,):
            # Outside, where it hides no line.
            line[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    for axes in panels[-1]:
        axes.set_xlabel(_with_units(axis.name, axis.units))
    return figure


def _maps(data: Dataset, grid: Grid, new_figure: type) -> "Figure":
    """A row per field, plane and sample, a column per frame; without time, a column per sample."""
    rows = _rows(data, grid)
    shapes = [_shape(grid, row.plane) for row in rows]
    heights = [min(max(shape, _NARROW), _WIDE) for shape in shapes]
    columns = max(len(row.panels) for row in rows)
    width = 2.4 / max(1.0, *heights)
    figure = new_figure(
        figsize=(width * columns + 1.4, sum(width * height + 0.45 for height in heights) + 0.5), layout="constrained"
    )
    panels = figure.subplots(
        len(rows), columns + 1, squeeze=False, width_ratios=[1] * columns + [0.05], height_ratios=heights
    )
    for number, (line, row, shape, height) in enumerate(zip(panels, rows, shapes, heights, strict=True)):
        across, up = grid.axes[row.plane.across], grid.axes[row.plane.up]
        images = [_image(data, row.name, *panel)[row.plane.where] for panel in row.panels]
        scale = _scale(images)
        lowest = number + 1 == len(rows) or rows[number + 1].plane.across != row.plane.across
        shown = None
        for axes, image, (sample, frame) in zip(line, images, row.panels, strict=False):
            first = axes is line[0]
            # Arrays have x first, pictures have it across. The points need not be equally spaced.
            shown = axes.pcolormesh(_edges(across), _edges(up), image.T, **scale)
            axes.set_aspect("equal" if shape == height else "auto")
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize="x-small", labelbottom=lowest, labelleft=first)
            axes.set_xlabel(_with_units(across.name, across.units) if lowest else "", fontsize="small")
            axes.set_ylabel(_with_units(up.name, up.units) if first else "", fontsize="small")
            named = first or sample != row.panels[0][0]
            title = [_title(data, row.name, sample, row.plane.text)] if named else []
            title += [] if frame is None else [_instant(data, frame)]
            axes.set_title(", ".join(title), fontsize="small", loc="left")
        for axes in line[len(images) : columns]:
            axes.set_visible(False)
        figure.colorbar(shown, cax=line[-1]).ax.tick_params(labelsize="x-small")
    return figure


def _rows(data: Dataset, grid: Grid) -> list[_Row]:
    """What all samples share once, then the fields of one sample after the other."""
    planes, names = _planes(grid), _ordered(data)
    own = [name for name in names if data.fields[name][0] == "sample"]
    panels: list[tuple[str, tuple[tuple[int | None, int | None], ...]]] = [
        (name, tuple((None, frame) for frame in _frames(data, name))) for name in names if name not in own
    ]
    samples = min(_SAMPLES, data.samples)
    if any("time" in data.fields[name] for name in own):
        fit = max(1, min(samples, _MOST_ROWS // (len(own) * len(planes) ** 2)))
        panels += [
            (name, tuple((sample, frame) for frame in _frames(data, name))) for sample in range(fit) for name in own
        ]
    else:
        panels += [(name, tuple((sample, None) for sample in range(samples))) for name in own]
    return [_Row(name, plane, each) for name, each in panels for plane in planes]


def _planes(grid: Grid) -> list[_Plane]:
    if grid.dimension == 2:
        return [_Plane(0, 1, (slice(None), slice(None)))]
    result = []
    for across, up, third in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        axis, where = grid.axes[third], [slice(None)] * 3
        middle = axis.points // 2
        index = tuple(middle if place == third else each for place, each in enumerate(where))
        result.append(_Plane(across, up, index, f"{axis.name} = {axis.coordinates[middle]:.3g}"))
    return result


def _shape(grid: Grid, plane: _Plane) -> float:
    return grid.lengths[plane.up] / grid.lengths[plane.across]


def _ordered(data: Dataset) -> list[str]:
    """All fields, those without time first: they are mostly what is given."""
    return sorted(data.fields, key=lambda name: "time" in data.fields[name])


def _edges(axis: Axis) -> Float64[np.ndarray, " edges"]:
    """Where the part of the axis ends that is nearest to each point."""
    start = axis.extent[0]
    if axis.periodic:
        start = (axis.coordinates[0] + axis.coordinates[-1] - axis.length) / 2
    return start + np.concatenate([[0.0], np.cumsum(axis.weights)])


def _scale(images: list[np.ndarray]) -> dict[str, Any]:
    """Colours that part at zero for a field with both signs; for another one from its least to its greatest value."""
    least, greatest = min(float(each.min()) for each in images), max(float(each.max()) for each in images)
    largest = max(-least, greatest)
    if min(-least, greatest) > _NOTABLE * largest:
        return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    return {"cmap": "viridis", "vmin": least, "vmax": greatest}


def _mesh_maps(data: Dataset, mesh: Mesh, new_figure: type) -> "Figure":
    name = "pressure" if "pressure" in data.fields else next(iter(data.fields))
    frames = _frames(data, name)
    rows = min(_SAMPLES, data.samples)
    figure = new_figure(figsize=(2.8 * len(frames) + 1, 2.4 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, len(frames), squeeze=False)
    near = mesh.node_type == NODE_TYPES["airfoil"]
    near = near if near.any() else np.ones_like(near)
    middle = 0.5 * (mesh.x[near].min() + mesh.x[near].max()), 0.5 * (mesh.y[near].min() + mesh.y[near].max())
    reach = max(float(np.ptp(mesh.x[near])), float(np.ptp(mesh.y[near])))
    # Quadrilaterals and the like are cut into triangles from their first node.
    triangles = np.concatenate([mesh.cells[:, [0, k, k + 1]] for k in range(1, mesh.cells.shape[1] - 1)])
    seen = (np.abs(mesh.x - middle[0]) < reach) & (np.abs(mesh.y - middle[1]) < reach)
    for index, line in enumerate(panels):
        images = [_image(data, name, index, frame) for frame in frames]
        least, largest = (float(limit([image[seen] for image in images])) for limit in (np.min, np.max))
        shown = None
        for axes, frame, image in zip(line, frames, images, strict=True):
            shown = axes.tripcolor(
                mesh.x, mesh.y, triangles, image, shading="gouraud", cmap="viridis", vmin=least, vmax=largest
            )
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
            if index == 0:
                axes.set_title(name if frame is None else f"{name}, {_instant(data, frame)}", fontsize="small")
        line[0].set_ylabel(f"sample {index}")
        figure.colorbar(shown, ax=list(line), label=name)
    return figure


def _image(data: Dataset, name: str, sample: int | None, frame: int | None) -> Float[np.ndarray, "*grid"]:
    """A sample's field, at one instant if it has time; what all samples share has no axis of samples."""
    if sample is None or data.fields[name][0] != "sample":
        whole = data.read(name)
        return whole if frame is None else whole[frame]
    if frame is None:
        return data.read(name, [sample])[0]
    return data.read(name, [sample], slice(frame, frame + 1))[0, 0]


def _frames(data: Dataset, name: str) -> tuple[int | None, ...]:
    """Evenly spread instants, the first and the last among them; None alone for a field without time."""
    if "time" not in data.fields[name] or data.times is None:
        return (None,)
    frames = len(data.times)
    return tuple(np.unique(np.linspace(0, frames - 1, min(_FRAMES, frames)).round().astype(int)).tolist())


def _title(data: Dataset, name: str, sample: int | None, plane: str = "") -> str:
    shown = _with_units(name, str(data.description(name).get("units", "1")))
    own = "" if sample is None or data.fields[name][0] != "sample" else f"sample {sample}: "
    return f"{own}{shown}" + (f", {plane}" if plane else "")


def _instant(data: Dataset, frame: int) -> str:
    assert data.times is not None
    return f"t = {float(data.times[frame]):.4g}"


def _with_units(name: str, units: str) -> str:
    return name if units in ("", "1") else f"{name} ({units})"
