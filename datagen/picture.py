"""A picture of a data set: a few samples of every field."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datagen.errors import InputError
from datagen.store.mesh import NODE_TYPES, Mesh
from datagen.store.reader import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_SAMPLES = 3
_FRAMES = 4


def draw(data: Dataset, path: Path) -> None:
    """Draw lines (1-D) or maps (2-D, or a mesh near its airfoil) of the first samples, frames from first to last.

    Args:
        data: an open data set.
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
    else:
        figure = _lines(data, Figure) if len(data.grid) == 1 else _maps(data, Figure)
    constants = [f"{name} = {data.attributes[name]:g}" for name in ("nu", "alpha") if name in data.attributes]
    figure.suptitle(", ".join([f"{data.path.name}: {data.equation}", *constants]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _lines(data: Dataset, new_figure: type) -> "Figure":
    rows = min(_SAMPLES, data.samples)
    figure = new_figure(figsize=(8, 2.2 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    places = data.coordinates["x"]
    for index, axes in enumerate(panels):
        for name, dims in data.fields.items():
            # What all samples share has no axis of samples.
            values = data.read(name, [index])[0] if dims[0] == "sample" else data.read(name)
            if "time" not in dims:
                axes.plot(places, values, label=name)
                continue
            for frame in _chosen(len(values)):
                axes.plot(places, values[frame], label=f"{name}, t = {_time(data, frame):g}")
        axes.set_ylabel(f"sample {index}")
    panels[0].legend(loc="upper right", fontsize="small")
    panels[-1].set_xlabel("x")
    return figure


def _maps(data: Dataset, new_figure: type) -> "Figure":
    name = max(data.fields, key=lambda one: len(data.fields[one]))
    frames = _chosen(len(data.times)) if "time" in data.fields[name] and data.times is not None else [0]
    rows = min(_SAMPLES, data.samples)
    figure = new_figure(figsize=(2.4 * len(frames) + 1, 2.4 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, len(frames), squeeze=False)
    for index, line in enumerate(panels):
        images = _images(data, name, index, frames)
        least, largest = float(np.min(images)), float(np.max(images))
        # White is zero where a field has both signs, and would be nothing where it has one.
        signed = least < 0 < largest
        reach = max(-least, largest)
        low, high, colours = (-reach, reach, "RdBu_r") if signed else (least, largest, "viridis")
        shown = None
        for axes, frame, image in zip(line, frames, images, strict=True):
            # Arrays have x first; pictures have it across.
            shown = axes.imshow(image.T, origin="lower", cmap=colours, vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[])
            if index == 0:
                axes.set_title(f"t = {_time(data, frame):g}", fontsize="small")
        line[0].set_ylabel(f"sample {index}")
        figure.colorbar(shown, ax=list(line), label=name)
    return figure


def _mesh_maps(data: Dataset, mesh: Mesh, new_figure: type) -> "Figure":
    name = "pressure" if "pressure" in data.fields else next(iter(data.fields))
    frames = _chosen(len(data.times)) if "time" in data.fields[name] and data.times is not None else [0]
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
        images = _images(data, name, index, frames)
        least, largest = (float(limit([image[seen] for image in images])) for limit in (np.min, np.max))
        shown = None
        for axes, frame, image in zip(line, frames, images, strict=True):
            shown = axes.tripcolor(
                mesh.x, mesh.y, triangles, image, shading="gouraud", cmap="viridis", vmin=least, vmax=largest
            )
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
            if index == 0:
                axes.set_title(f"t = {_time(data, frame):.3g}", fontsize="small")
        line[0].set_ylabel(f"sample {index}")
        figure.colorbar(shown, ax=list(line), label=name)
    return figure


def _images(data: Dataset, name: str, index: int, frames: list[int]) -> list[np.ndarray]:
    """A sample's field at some instants; its only one if it has no time."""
    if "time" not in data.fields[name]:
        return [data.read(name, [index])[0]]
    return [data.read(name, [index], slice(frame, frame + 1))[0, 0] for frame in frames]


def _chosen(frames: int) -> list[int]:
    return np.unique(np.linspace(0, frames - 1, min(_FRAMES, frames)).round().astype(int)).tolist()


def _time(data: Dataset, frame: int) -> float:
    return float(data.times[frame]) if data.times is not None else 0.0
