"""Predictions of trained networks for inputs without known solutions, as a dataset that every command reads."""

import json
from collections.abc import Mapping, Sequence
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
from datagen.geometry import Resolution
from datagen.store import Coordinate, Dataset, Layout, Variable, open_dataset
from datagen.store.ingest import ingest
from kitipde.config import DataConfig
from kitipde.errors import InputError
from kitipde.evaluation.evaluate import Progress, Remark, trained_replicas
from kitipde.evaluation.measure import BATCH_POINTS
from kitipde.evaluation.trained_on import seen_samples
from kitipde.models import rollout
from kitipde.problem.rollouts import check_rollout
from kitipde.problem.windows import load_inputs, split_samples
from kitipde.runs import Run, open_run

__all__ = ["predict"]


@dataclass(frozen=True)
class _Question:
    """What is asked of the networks.

    Attributes:
        config: which fields are given.
        steps: frames to predict.
        times: their instants; none for fields without time.
        time_units: of these.
        resolution: points along each axis; none for the stored geometry.
        dtype: of the inputs as stored, and so of the predictions.
    """

    config: DataConfig
    steps: int
    times: Float[np.ndarray, "steps"] | None
    time_units: str
    resolution: Resolution | None
    dtype: str


def predict(
    path: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    seed: int | None = None,
    frames: int | None = None,
    resolution: Sequence[int] | None = None,
    progress: Progress = lambda done, total, note: None,
    remark: Remark = lambda text: None,
) -> None:
    """Apply the networks of a run to each sample of a dataset and write what they predict.

    The file has each target as a field: of one network its prediction, of several their mean, and beside it
    `<target>_spread`, the standard deviation over them (n − 1).

    Args:
        path: the run folder.
        data: a dataset with the run's inputs; it needs no targets.
        out: the file to make.
        seed: take this network alone; by default all.
        frames: frames to predict; by default as many as in training.
        resolution: points along each axis, or all; by default the stored grid.
        progress: called with (samples done, samples in all, note).
        remark: called with what the user should know.

    Raises:
        InputError: the run has no such network, the data are of another equation, geometry or variable, a prediction
            is not finite, or the file cannot be written.
    """
    run = open_run(path)
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


def _question(
    run: Run, dataset: Dataset, frames: int | None, resolution: Sequence[int] | None, remark: Remark
) -> _Question:
    config, problem = run.config.data, run.facts.problem
    if dataset.equation != run.equation:
        raise InputError(f"{dataset.path} holds {dataset.equation}, but {run.path} was trained on {run.equation}")
    problem.domain.refuse_other(dataset.geometry, dataset.path, run.path)
    for name in (*problem.inputs, *problem.static):
        if name not in dataset.fields:
            raise unknown(f"variable in data.inputs of {dataset.path}", name, dataset.fields)
    for name in problem.parameters:
        if name not in dataset.parameters:
            raise unknown(f"variable in data.parameters of {dataset.path}", name, dataset.parameters)
    points = None
    if resolution is not None:
        points = dataset.geometry.resolved(resolution)
        dataset.geometry.reductions(points, config.downsample)
    steps = config.wanted_frames if frames is None else frames
    dtype = "float64" if any(dataset.dtype(name) == np.float64 for name in problem.inputs) else "float32"
    first = problem.inputs[0]
    stored = dataset.times if "time" in dataset.fields[first] else None
    if stored is None and config.given_frames > 1:
        raise InputError(
            f"{run.path} takes {config.given_frames} frames of {first}, which has no time in {dataset.path}"
        )
    needed = config.start + (config.given_frames - 1) * config.stride + 1
    if stored is not None and len(stored) < needed:
        raise InputError(f"{dataset.path} has {len(stored)} frames of {first}, but {run.path} takes {needed}")
    if stored is None and config.wanted_frames == 1:
        if steps > 1:
            raise InputError(f"--frames {steps}: {run.path} predicts fields without time, which have no next frame")
        return _Question(config, 1, None, "1", points, dtype)
    if problem.known and stored is not None and len(stored) < needed + (steps - 1) * config.stride:
        raise InputError(
            f"{run.path} takes {', '.join(problem.known)}, which is not predicted: {dataset.path} must have each "
            f"frame of it ({needed + (steps - 1) * config.stride}, not {len(stored)})"
        )
    units = str(dataset.description("time").get("units", "1")) if stored is not None else "1"
    known = None if stored is None else np.asarray(stored)[config.start :: config.stride]
    times = _instants(run, known, steps, remark)
    used = times if known is None else np.concatenate([known[: config.given_frames], times])
    check_rollout(run.config, dataset.path, used, steps)
    return _Question(config, steps, times, units, points, dtype)


def _instants(
    run: Run, stored: Float[np.ndarray, "frames"] | None, steps: int, remark: Remark
) -> Float[np.ndarray, "steps"]:
    """When the predicted frames are: as the file has them, and beyond its end as far apart as its last ones."""
    known = np.zeros(1) if stored is None else np.asarray(stored, dtype=np.float64)
    count = run.config.data.given_frames if stored is not None else 1
    recipe = stored_recipe(run.facts.dataset_config)
    apart = known[-1] - known[-2] if len(known) > 1 else recipe and recipe.frame_interval()
    if apart is None:
        apart = 1.0
        remark("how far apart frames are is not known: those predicted are numbered")
    beyond = known[-1] + apart * np.arange(1, steps + 1)
    return np.concatenate([known[count:], beyond])[:steps]


def _layout(run: Run, dataset: Dataset, question: _Question, seeds: list[int]) -> Layout:
    problem, geometry = run.facts.problem, dataset.geometry
    if question.resolution is not None:
        geometry = geometry.coarsened(question.resolution, question.config.downsample)
    dims = ("sample", *(() if question.times is None else ("time",)), *geometry.names)
    coordinates = ()
    if question.times is not None:
        coordinates = (Coordinate("time", question.times, question.time_units, "time", "T"),)
    networks = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean over {len(seeds)} networks"
    variables = []
    for target in problem.targets:
        source = target if target in dataset.fields else problem.inputs[0]
        units, vector = str(dataset.description(source).get("units", "1")), problem.vectors.get(target, "")
        words = f"predicted {target}, {networks}"
        variables.append(Variable(target, dims, units, words, question.dtype, vector=vector))
        if len(seeds) > 1:
            words = f"standard deviation over {len(seeds)} networks of predicted {target}"
            variables.append(Variable(f"{target}_spread", dims, units, words, question.dtype))
    settings = {
        "equation": run.equation,
        "predicted": True,
        "run": run.name,
        "seeds": seeds,
        "dataset": dataset.identity,
        "frames": question.steps,
        "resolution": list(geometry.shape),
    }
    attributes: dict[str, Any] = {
        "title": f"predicted: {run.equation}, by {run.name}",
        "predicted_from": f"{dataset.path.name}, identity {dataset.identity}",
        "model": run.config.model.name,
        "residual": run.config.residual.kind,
        "version": kitipde.__version__,
    }
    return Layout(run.equation, json.dumps(settings), geometry, tuple(variables), attributes, coordinates)


def _answers(
    dataset: Dataset,
    question: _Question,
    models: list[nn.Module],
    samples: range,
    layout: Layout,
    device: torch.device,
) -> dict[str, Float[np.ndarray, "samples ..."]]:
    """Mean and spread of the predictions of some samples, a few at a time."""
    size = max(1, BATCH_POINTS // layout.geometry.points)
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        given = load_inputs(dataset, question.config, batch, question.resolution, question.steps)
        parts.append(_mean_and_spread(models, [each.to(device) for each in given], question))
    names = [variable.name for variable in layout.variables]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}


@torch.no_grad()
def _mean_and_spread(models: list[nn.Module], given: list[Tensor], question: _Question) -> list[np.ndarray]:
    """Of each target; in float64 over the networks, which differ in the last digits only where they agree."""
    inputs, context, known = given
    predictions = torch.stack([rollout(model, inputs, question.steps, context, known).double() for model in models])
    results = []
    for field in predictions.unbind(3):
        frames = field.squeeze(2) if question.times is None else field
        results += [frames.mean(0)] if len(models) == 1 else [frames.mean(0), frames.std(0)]
    return [result.cpu().numpy().astype(question.dtype) for result in results]
