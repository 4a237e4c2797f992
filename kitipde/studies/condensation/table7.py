"""Table 7: how condensed the layers of trained networks are, over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitipde.files import write_atomically, write_json
from kitipde.optim.condensation import condensation
from kitipde.runs import open_run

__all__ = ["CondensedLayer", "condensed_layers", "write_condensed"]

# The paper's Table 7 by our layers; its "linear" are the 1×1 convolutions of the skips.
PUBLISHED = {
    "convolutions.0": (0.113, 0.102),
    "convolutions.1": (0.089, 0.164),
    "convolutions.2": (0.092, 0.130),
    "skips.0": (0.188, 0.206),
    "skips.1": (0.175, 0.192),
    "skips.2": (0.182, 0.191),
}


@dataclass(frozen=True)
class CondensedLayer:
    """A layer in two models.

    Attributes:
        layer: its name.
        kind: `dense`, `convolutional` or `spectral`.
        degrees: ρ of the seeds, by model.
        published: the paper's two numbers, where it has them.
    """

    layer: str
    kind: str
    degrees: tuple[tuple[float, ...], ...]
    published: tuple[float, float] | None

    def texts(self) -> tuple[str, ...]:
        """Name, mean ± deviation of each model, mean difference to the first with its 95 % interval, the paper."""
        first, *others = (np.array(each) for each in self.degrees)
        cells = [_spread(each) for each in (first, *others)]
        cells += [_difference(each, first) for each in others]
        paper = "" if self.published is None else " → ".join(f"{each:.3f}" for each in self.published)
        return (self.layer, *cells, paper)


def condensed_layers(paths: Sequence[Path]) -> tuple[CondensedLayer, ...]:
    """The layers of some runs of one network.

    Args:
        paths: run folders, the reference first.
    """
    tables = [[condensation(replica.load_model()) for replica in open_run(path).replicas] for path in paths]
    layers = []
    for place, layer in enumerate(tables[0][0]):
        short = layer.name.removeprefix("network.").removesuffix(".weight").removesuffix(".conv")
        published = next((pair for name, pair in PUBLISHED.items() if short.startswith(name)), None)
        degrees = tuple(tuple(seed[place].degree for seed in seeds) for seeds in tables)
        layers.append(CondensedLayer(short, layer.kind, degrees, published))
    return tuple(layers)


def write_condensed(layers: Sequence[CondensedLayer], titles: Sequence[str], folder: Path) -> None:
    """`condensation.json` and `condensation.md` in a folder."""
    header = header_of(titles)
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(layer.texts()) + " |" for layer in layers]
    write_atomically(folder / "condensation.md", ("\n".join(lines) + "\n").encode())
    document = [
        {"layer": layer.layer, "kind": layer.kind, "degrees": dict(zip(titles, layer.degrees, strict=True))}
        for layer in layers
    ]
    write_json(folder / "condensation.json", document)


def header_of(titles: Sequence[str]) -> tuple[str, ...]:
    """Titles of the columns that `CondensedLayer.texts` has."""
    return ("layer", *(f"ρ, {title}" for title in titles), *(f"change, {title}" for title in titles[1:]), "paper")


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def _difference(values: np.ndarray, reference: np.ndarray) -> str:
    """Mean paired difference and its 95 % interval by Student's t."""
    from scipy import stats

    change = values - reference
    if len(change) < 3:
        return f"{change.mean():+.3f}"
    half = stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5
    return f"{change.mean():+.3f} ± {half:.3f}"
