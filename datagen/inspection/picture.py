"""A picture of a dataset: a few samples of every field."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
_COLUMNS = 8


def draw(data: Dataset, path: Path) -> None:
    """Draw the first samples, frames from first to last: lines in 1-D, maps in 2-D and of a mesh near its airfoil.

    In 3-D a map is the slice through the middle of the last axis.

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
    if data.mesh is not None:
        figure = _mesh_maps(data, data.mesh, Figure)
    elif len(data.grid) == 1:
        figure = _lines(data, Figure)
    else:
        figure = _maps(data, Figure)
    numbers = [f"{each.symbol} = {each.value:g} {each.units}".removesuffix(" 1") for each in constants(data)]
    figure.suptitle(", ".join([f"{data.path.name}: {data.equation}", *numbers]), fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, bbox_inches="tight", format=path.suffix[1:])


def _lines(data: Dataset, new_figure: type) -> "Figure":
    rows = min(_SAMPLES, data.samples)
    figure = new_figure(figsize=(8, 2.2 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    (name_across,) = data.geometry.names
    places = data.coordinates[name_across]
    for index, axes in enumerate(panels):
        for name, dims in data.fields.items():
            frames = _chosen(len(data.times)) if "time" in dims and data.times is not None else [None]
            for frame in frames:
                axes.plot(places, _image(data, name, index, frame), label=_title(data, name, frame))
        axes.set_ylabel(f"sample {index}")
    # Outside, where it hides no line.
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    panels[-1].set_xlabel(name_across)
    return figure


def _maps(data: Dataset, new_figure: type) -> "Figure":
    """A row per sample and field, a column per chosen frame; of few fields a row per sample, all fields in it."""
    frames = {
        name: _chosen(len(data.times)) if "time" in dims and data.times is not None else [None]
        for name, dims in data.fields.items()
    }
    samples = range(min(_SAMPLES, data.samples))
    columns = [(name, frame) for name, own in frames.items() for frame in own]
    if len(columns) <= _COLUMNS:
        rows = [(sample, columns) for sample in samples]
    else:
        rows = [(sample, [(name, frame) for frame in own]) for sample in samples[:2] for name, own in frames.items()]
    assert isinstance(data.geometry, Grid)
    across, up = data.geometry.axes[:2]
    # A panel has the domain's shape, as far as a page allows.
    shape = up.length / across.length
    high = min(max(shape, 0.4), 2.5)
    most = max(len(own) for _, own in rows)
    size = (2.5 / max(high, 1.0) * most + 0.8, (2.2 * min(high, 1.0) + 0.3) * len(rows) + 0.5)
    figure = new_figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), most, squeeze=False)
    for line, (sample, own) in zip(panels, rows, strict=True):
        images = [_image(data, name, sample, frame) for name, frame in own]
        for name in dict.fromkeys(name for name, _ in own):
            members = [place for place, (each, _) in enumerate(own) if each == name]
            scale = _scale([images[place] for place in members])
            shown = [_map(line[place], images[place], across, up, scale) for place in members]
            figure.colorbar(shown[0], ax=[line[place] for place in members], shrink=0.85)
        line[0].set_ylabel(f"sample {sample}", fontsize="small")
        for axes, column in zip(line, own, strict=False):
            axes.set(xticks=[], yticks=[], aspect="equal" if high == shape else "auto")
            axes.set_title(_title(data, *column), fontsize="small")
        for axes in line[len(own) :]:
            axes.set_visible(False)
    return figure


def _map(panel: Any, image: np.ndarray, across: Axis, up: Axis, scale: dict[str, Any]) -> Any:
    """One field; arrays have x first, pictures have it across. The points need not be equally spaced."""
    edges = (_edges(axis) for axis in (across, up))
    return panel.pcolormesh(*edges, image.T, **scale)


def _edges(axis: Axis) -> np.ndarray:
    """Where the part of the axis ends that is nearest to each point."""
    if axis.periodic:
        step = axis.length / axis.points
        return axis.coordinates[0] - step / 2 + step * np.arange(axis.points + 1)
    return axis.extent[0] + np.concatenate([[0.0], np.cumsum(axis.weights)])


def _scale(images: list[np.ndarray]) -> dict[str, Any]:
    """Colours that part at zero for a field with both signs; for another one from its least to its greatest value."""
    least, greatest = min(float(each.min()) for each in images), max(float(each.max()) for each in images)
    if least < 0 < greatest:
        return {"cmap": "RdBu_r", "vmin": -max(-least, greatest), "vmax": max(-least, greatest)}
    return {"cmap": "viridis", "vmin": least, "vmax": greatest}


def _mesh_maps(data: Dataset, mesh: Mesh, new_figure: type) -> "Figure":
    name = "pressure" if "pressure" in data.fields else next(iter(data.fields))
    frames = _chosen(len(data.times)) if "time" in data.fields[name] and data.times is not None else [None]
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
                axes.set_title(_title(data, name, frame), fontsize="small")
        line[0].set_ylabel(f"sample {index}")
        figure.colorbar(shown, ax=list(line), label=name)
    return figure


def _image(data: Dataset, name: str, index: int, frame: int | None) -> np.ndarray:
    """A sample's field, at one instant if it has time; what all samples share has no axis of samples."""
    if data.fields[name][0] != "sample":
        whole = data.read(name)
        image = whole if frame is None else whole[frame]
    elif frame is None:
        image = data.read(name, [index])[0]
    else:
        image = data.read(name, [index], slice(frame, frame + 1))[0, 0]
    return image[..., image.shape[-1] // 2] if image.ndim == 3 else image


def _chosen(frames: int) -> list[int]:
    return np.unique(np.linspace(0, frames - 1, min(_FRAMES, frames)).round().astype(int)).tolist()


def _title(data: Dataset, name: str, frame: int | None) -> str:
    """The field, and the instant if it has time; in 3-D the slice."""
    if len(data.grid) == 3:
        axis = data.geometry.names[-1]
        name = f"{name}, {axis} = {float(data.coordinates[axis][data.grid[2] // 2]):.3g}"
    return name if frame is None or data.times is None else f"{name}, t = {float(data.times[frame]):.4g}"
