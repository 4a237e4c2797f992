"""A picture of a data set: a few samples of every field."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datagen.errors import InputError
from datagen.store.reader import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_SAMPLES = 3
_FRAMES = 4


def draw(data: Dataset, path: Path) -> None:
    """Draw lines (1-D) or maps (2-D) of the first samples; of fields with time, frames from the first to the last.

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
            values = data.read(name, [index])[0]
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
        images = [data.read(name, [index], slice(frame, frame + 1))[0, 0] for frame in frames]
        largest = float(np.abs(images).max())
        shown = None
        for axes, frame, image in zip(line, frames, images, strict=True):
            # Arrays have x first; pictures have it across.
            shown = axes.imshow(image.T, origin="lower", cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.set(xticks=[], yticks=[])
            if index == 0:
                axes.set_title(f"t = {_time(data, frame):g}", fontsize="small")
        line[0].set_ylabel(f"sample {index}")
        figure.colorbar(shown, ax=list(line), label=name)
    return figure


def _chosen(frames: int) -> list[int]:
    return np.unique(np.linspace(0, frames - 1, min(_FRAMES, frames)).round().astype(int)).tolist()


def _time(data: Dataset, frame: int) -> float:
    return float(data.times[frame]) if data.times is not None else 0.0
