"""What trained networks say to inputs whose solutions nobody need know, as a data set that every command reads."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import kitipde
from datagen.equations.registry import stored_recipe
from datagen.errors import unknown
from datagen.geometry.resampling import Method, check_grid
from datagen.store import Coordinate, Dataset, Layout, Variable, open_dataset
from datagen.store.ingest import ingest
from kitipde.errors import InputError
from kitipde.evaluation.evaluate import BATCH_POINTS, Progress, Remark, trained_replicas
from kitipde.evaluation.trained_on import seen_samples
from kitipde.models import rollout
from kitipde.problem.rollouts import check_rollout
from kitipde.problem.windows import grid_coordinates, refuse_not_finite, split_samples
from kitipde.runs import Run, open_run

__all__ = ["predict"]


@dataclass(frozen=True)
class _Question:
    """What is asked of the networks.

    Attributes:
        name: of the variable that goes in.
        given: which of its frames; none for a field without time.
        steps: frames to predict.
        times: their instants; none for a field without time.
        time_units: of these.
        resolution: points along each axis.
        downsample: how a coarser grid than the stored one is reached.
        dtype: of the input as stored, and so of the predictions.
    """

    name: str
    given: slice | None
    steps: int
    times: Float[np.ndarray, "steps"] | None
    time_units: str
    resolution: int
    downsample: Method
    dtype: str


def predict(
    path: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    seed: int | None = None,
    frames: int | None = None,
    resolution: int | None = None,
    progress: Progress = lambda done, total, note: None,
    remark: Remark = lambda text: None,
) -> None:
    """Apply the networks of a run to each sample of a data set and write what they predict.

    The file has the target as a field: of one network its prediction, of several their mean, and beside it
    `<target>_spread`, the standard deviation over them (n − 1).

    Args:
        path: the run folder.
        data: a data set with the run's input; it needs no target.
        out: the file to make.
        seed: take this network alone; by default all.
        frames: frames to predict; by default as many as in training.
        resolution: points per axis; by default the stored grid.
        progress: told (samples done, samples in all, note).
        remark: told what a person should know.

    Raises:
        InputError: the run has no such network or works on a mesh, the data are of another equation, grid or variable,
            a prediction is not finite, or the file cannot be written.
    """
    run = open_run(path)
    if run.on_mesh:
        raise InputError(
            f"{run.path} works on the nodes of a mesh, and predictions are written for grids only; `kitipde evaluate "
            f"{shlex.quote(str(run.path))} --data FILE` keeps those of two samples"
        )
    replicas = trained_replicas(run, remark)
    if seed is not None:
        replicas = tuple(replica for replica in replicas if replica.seed == seed)
        if not replicas:
            raise unknown(f"seed of {run.path}", str(seed), [str(replica.seed) for replica in run.replicas])
    with open_dataset(data) as dataset:
        question = _question(run, dataset, frames, resolution, remark)
        _remark_on_seen(run, dataset, remark)
        layout = _layout(run, dataset, question, [replica.seed for replica in replicas])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        models = [replica.load_model().to(device) for replica in replicas]

        def read(samples: slice) -> Mapping[str, np.ndarray]:
            return _answers(dataset, question, models, range(samples.start, samples.stop), layout, device)

        ingest(Path(out), layout, dataset.samples, read, lambda done, total: progress(done, total, run.name))


def _remark_on_seen(run: Run, dataset: Dataset, remark: Remark) -> None:
    """Predictions for samples that a run was trained on are no proof of anything."""
    if dataset.identity == run.dataset_identity or dataset.recipe == run.dataset_recipe:
        split = split_samples(dataset.samples, run.config.data)
        count, evidence = len(split.train) + len(split.validation), "it is its own dataset"
    else:
        seen = seen_samples(run, dataset)
        count, evidence = len(seen.samples), f"the same {seen.evidence}"
    if count:
        remark(
            f"{run.name} was trained on {count} of the {dataset.samples} samples of {dataset.path}, or its epoch "
            f"chosen on them ({evidence})"
        )


def _question(run: Run, dataset: Dataset, frames: int | None, resolution: int | None, remark: Remark) -> _Question:
    config = run.config.data
    if dataset.equation != run.equation:
        raise InputError(f"{dataset.path} holds {dataset.equation}, but {run.path} was trained on {run.equation}")
    if dataset.mesh is not None or len(dataset.grid) != run.facts.dimension:
        raise InputError(
            f"{dataset.path} is no data set on a grid in {run.facts.dimension}-D, on which {run.path} works"
        )
    dataset.refuse_unequal_axes()
    if config.input not in dataset.fields:
        raise unknown(f"variable in data.input of {dataset.path}", config.input, dataset.fields)
    points = dataset.grid[0] if resolution is None else resolution
    check_grid(dataset.grid[:1], (points,), config.downsample)
    steps = config.output_frames if frames is None else frames
    dtype = "float64" if dataset.variable(config.input).dtype == np.float64 else "float32"
    stored = dataset.times if "time" in dataset.fields[config.input] else None
    if stored is None and config.input_frames > 1:
        raise InputError(
            f"{run.path} takes {config.input_frames} frames of {config.input}, which has no time in {dataset.path}"
        )
    if stored is not None and len(stored) < config.input_frames:
        raise InputError(
            f"{dataset.path} has {len(stored)} frames of {config.input}, but {run.path} takes {config.input_frames}"
        )
    if stored is None and config.output_frames == 1:
        if steps > 1:
            raise InputError(f"--frames {steps}: {run.path} predicts one field without time, which has no next frame")
        return _Question(config.input, None, 1, None, "1", points, config.downsample, dtype)
    units = str(dataset.description("time").get("units", "1")) if stored is not None else "1"
    given = None if stored is None else slice(0, config.input_frames)
    times = _instants(run, stored, steps, remark)
    used = times if stored is None else np.concatenate([stored[: config.input_frames], times])
    check_rollout(run.config, dataset.path, used, steps)
    return _Question(config.input, given, steps, times, units, points, config.downsample, dtype)


def _instants(
    run: Run, stored: Float[np.ndarray, "frames"] | None, steps: int, remark: Remark
) -> Float[np.ndarray, "steps"]:
    """When the predicted frames are: as the file has them, and beyond its end as far apart as its last ones."""
    known = np.zeros(1) if stored is None else np.asarray(stored, dtype=np.float64)
    count = run.config.data.input_frames if stored is not None else 1
    recipe = stored_recipe(run.facts.dataset_config)
    apart = known[-1] - known[-2] if len(known) > 1 else recipe and recipe.frame_interval()
    if apart is None:
        apart = 1.0
        remark("how far apart frames are is not known: those predicted are numbered")
    beyond = known[-1] + apart * np.arange(1, steps + 1)
    return np.concatenate([known[count:], beyond])[:steps]


def _layout(run: Run, dataset: Dataset, question: _Question, seeds: list[int]) -> Layout:
    target, axes = run.config.data.target, ("x", "y")[: len(dataset.grid)]
    source = target if target in dataset.fields else question.name
    units = str(dataset.description(source).get("units", "1"))
    dims = ("sample", *(() if question.times is None else ("time",)), *axes)
    coordinates = [
        Coordinate(
            axis,
            places,
            str(dataset.description(axis).get("units", "1")),
            "position",
            axis.upper(),
        )
        for axis, places in zip(axes, grid_coordinates(dataset, [question.resolution] * len(axes)), strict=True)
    ]
    if question.times is not None:
        coordinates.insert(0, Coordinate("time", question.times, question.time_units, "time", "T"))
    networks = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean over {len(seeds)} networks"
    variables = [Variable(target, dims, units, f"predicted {target}, {networks}", question.dtype)]
    if len(seeds) > 1:
        spread = f"standard deviation over {len(seeds)} networks of predicted {target}"
        variables.append(Variable(f"{target}_spread", dims, units, spread, question.dtype))
    settings = {
        "equation": run.equation,
        "predicted": True,
        "run": run.name,
        "seeds": seeds,
        "dataset": dataset.identity,
        "frames": question.steps,
        "resolution": question.resolution,
    }
    attributes: dict[str, Any] = {
        "title": f"predicted: {run.equation}, by {run.name}",
        "domain_length": dataset.length,
        "predicted_from": f"{dataset.path.name}, identity {dataset.identity}",
        "model": run.config.model.name,
        "residual": run.config.residual.kind,
        "version": kitipde.__version__,
    }
    return Layout(run.equation, json.dumps(settings), tuple(coordinates), tuple(variables), attributes)


def _answers(
    dataset: Dataset,
    question: _Question,
    models: list[nn.Module],
    samples: range,
    layout: Layout,
    device: torch.device,
) -> dict[str, Float[np.ndarray, "samples ..."]]:
    """Mean and spread of the predictions of some samples, a few at a time."""
    size = max(1, BATCH_POINTS // question.resolution ** len(dataset.grid))
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        chosen = slice(batch.start, batch.stop)
        fields = dataset.read(question.name, chosen, question.given, question.resolution, question.downsample)
        refuse_not_finite(dataset, question.name, batch, fields)
        inputs = torch.from_numpy(np.ascontiguousarray(fields)).to(device)
        parts.append(_mean_and_spread(models, inputs if question.given is not None else inputs.unsqueeze(1), question))
    names = [variable.name for variable in layout.variables]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}


@torch.no_grad()
def _mean_and_spread(
    models: list[nn.Module], inputs: Float[Tensor, "batch frames *grid"], question: _Question
) -> list[np.ndarray]:
    """In float64 over the networks, which differ in the last digits only where they agree."""
    predictions = torch.stack([rollout(model, inputs, question.steps).double() for model in models])
    if question.times is None:
        predictions = predictions.squeeze(2)
    results = [predictions.mean(0)] if len(models) == 1 else [predictions.mean(0), predictions.std(0)]
    return [result.cpu().numpy().astype(question.dtype) for result in results]
