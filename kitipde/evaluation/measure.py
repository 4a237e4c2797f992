"""One resolution of an evaluation: every seed's predictions, and the quantities that its metrics are computed from."""

import math
from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from datagen.geometry import Geometry, Grid, Resolution
from datagen.store import Dataset
from kitipde.config import DataConfig
from kitipde.evaluation.metrics import Compared, Metric, Quantities, joined
from kitipde.evaluation.metrics import measured as measured_quantities
from kitipde.evaluation.metrics.spectral import Spectra, join_spectra, power_above
from kitipde.evaluation.metrics.spectral import spectra as spectra_of
from kitipde.evaluation.records import Measured
from kitipde.evaluation.test_data import Subject
from kitipde.memory import give_back_freed_memory
from kitipde.models.rollout import rollout
from kitipde.problem.windows import Windows, load_windows
from kitipde.runs import Run

__all__ = ["BATCH_POINTS", "measure", "predicted", "recorded_numbers"]

# Values of fields, and grid points that a network works on, held at once: some 100 MB of fields, and 0.5 GB inside a
# network of width 64. A single sample may need more.
_BATCH_VALUES = 2**22
BATCH_POINTS = 2**18
_BATCH_SAMPLES = 64

# Values transformed at once: bounds the float64 copies and their spectra to some 200 MB.
_CHUNK_VALUES = 2**21


def measure(
    run: Run,
    subject: Subject,
    dataset: Dataset,
    models: Sequence[nn.Module],
    resolution: Resolution,
    means: tuple[float, ...],
    metrics: Sequence[Metric],
    progress: Callable[[int], None],
) -> Measured:
    """Errors of every seed on every sample.

    Args:
        run: whose networks they are.
        subject: which samples.
        dataset: where they are, open.
        models: a network each seed.
        resolution: points along each axis; of a mesh, its nodes.
        means: of each target over the training split.
        metrics: those that are defined here.
        progress: called with the samples done, each as often as there are seeds.
    """
    device = next(models[0].parameters()).device
    quantities: list[list[Quantities]] = [[] for _ in models]
    spectra: list[list[Spectra]] = [[] for _ in models]
    problem, config, done = run.facts.problem, run.config.data, 0
    for windows in _batches(dataset, config, subject, resolution):
        recorded = recorded_numbers(dataset, config, windows.samples)
        for model, own, own_spectra in zip(models, quantities, spectra, strict=True):
            whole = Compared(
                predicted(model, windows, device),
                windows.targets,
                windows.inputs,
                windows.geometry,
                problem.targets,
                problem.inputs,
                means,
                recorded,
                _region(run, windows.geometry),
            )
            size = max(1, _CHUNK_VALUES // max(1, whole.target[0].numel()))
            for start in range(0, len(windows), size):
                part = whole.part(slice(start, start + size))
                own.append(measured_quantities(part, metrics))
                if part.on_periodic_grid:
                    own_spectra.append(spectra_of(part))
            done += len(windows)
            progress(done)
        give_back_freed_memory()
    return Measured(
        resolution,
        tuple(joined(parts) for parts in quantities),
        tuple(join_spectra(parts) for parts in spectra if parts),
        _lost_power(dataset, config, subject, resolution),
    )


def _region(run: Run, geometry: Geometry) -> Bool[np.ndarray, " nodes"] | None:
    """The nodes of the region of interest that the network's settings have; none if they have none."""
    ends = getattr(run.config.model, "region", None)
    if ends is None or isinstance(geometry, Grid):
        return None
    inside = [(low < at) & (at < high) for at, (low, high) in zip(geometry.positions.T, ends, strict=True)]
    return np.logical_and.reduce(inside)


def recorded_numbers(dataset: Dataset, config: DataConfig, samples: Sequence[int]) -> dict[str, Tensor]:
    """Numbers that the file has of each sample and frame, at the predicted frames, [samples, frames]."""
    if config.targets is None or "time" not in dataset.fields[config.targets[0]]:
        return {}
    first = config.start + config.given_frames * config.stride
    names = [name for name in dataset.parameters if dataset.dimensions(name) == ("sample", "time")]
    frames = slice(first, first + (config.wanted_frames - 1) * config.stride + 1, config.stride)
    return {name: torch.from_numpy(dataset.parameter(name)[list(samples), frames]) for name in names}


def _batches(dataset: Dataset, config: DataConfig, subject: Subject, resolution: Resolution) -> Iterator[Windows]:
    points, samples = prod(resolution), subject.samples
    names = len({*(config.inputs or ()), *(config.targets or ())})
    values = points * names * (config.given_frames + config.wanted_frames)
    size = max(1, min(_BATCH_VALUES // values, BATCH_POINTS // points, _BATCH_SAMPLES))
    for start in range(0, len(samples), size):
        yield load_windows(dataset, config, samples[start : start + size], resolution)


@torch.no_grad()
def predicted(model: nn.Module, windows: Windows, device: torch.device) -> Tensor:
    """What a network makes of some windows, on the CPU."""
    given = (windows.inputs.to(device), windows.targets.shape[1], windows.context.to(device), windows.known.to(device))
    return rollout(model, *given).cpu()


def _lost_power(dataset: Dataset, config: DataConfig, subject: Subject, resolution: Resolution) -> float:
    """Share of the truth's power that the grid cannot hold, from the first samples at the stored resolution."""
    geometry = subject.geometry
    if not (isinstance(geometry, Grid) and geometry.periodic and geometry.uniform):
        return math.nan
    values = max(1, 2**22 // (config.wanted_frames * len(config.targets or ()) * geometry.points))
    windows = load_windows(dataset, config, subject.samples[: min(values, 16)], None)
    return power_above(windows.targets, resolution)
