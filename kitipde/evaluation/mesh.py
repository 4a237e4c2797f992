"""Errors and forces of runs on a mesh: every seed, sample and frame in one pass over the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datagen.store import Dataset, open_dataset
from kitipde.config import DataConfig
from kitipde.errors import InputError
from kitipde.evaluation.evaluate import Progress, Remark, trained_replicas, with_frames
from kitipde.evaluation.mesh_metrics import Wall, flow_errors, force_coefficients, stream_of, wall_of
from kitipde.evaluation.mesh_records import (
    FlowExamples,
    MeshEvaluation,
    labelled,
    read_mesh_evaluation,
    write_mesh_evaluation,
)
from kitipde.evaluation.run_labels import label_runs
from kitipde.evaluation.storage import fingerprint, storing
from kitipde.evaluation.test_data import Subject, choose_subject
from kitipde.models import MeshOperator
from kitipde.problem.mesh import MeshWindows, load_mesh_windows
from kitipde.runs import Replica, Run, open_run

__all__ = ["all_on_mesh", "evaluate_mesh_runs"]

# Nodes that a network works on at once: some 0.3 GB inside it.
_BATCH_NODES = 2**16

_SAMPLES = ("seed", "sample", "time")


def all_on_mesh(paths: Sequence[str | Path]) -> bool:
    """Whether all runs are on a mesh; false if none is.

    Raises:
        InputError: if only some are, or a folder is no run.
    """
    runs = [open_run(path) for path in paths]
    kinds = {run.on_mesh for run in runs}
    if len(kinds) > 1:
        first, other = (next(run for run in runs if run.on_mesh is kind) for kind in (True, False))
        raise InputError(f"{first.path} is on a mesh and {other.path} on a grid: their errors are not the same errors")
    return kinds == {True}


def evaluate_mesh_runs(
    paths: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    frames: int | None = None,
    progress: Progress = lambda done, total, note: None,
    remark: Remark = lambda text: None,
) -> tuple[MeshEvaluation, ...]:
    """Evaluate runs on a mesh, each on its own test split or all on one file; results are stored beside each run.

    Args:
        paths: run folders.
        data: a dataset file; None for the one that each run was trained on.
        frames: frames to predict; None for as many as in training.
        progress: told (samples done, samples in all, note).
        remark: told what a person should know.

    Raises:
        InputError: if a folder is no run or has no weights, or its data are missing, changed, or on another mesh.
    """
    runs = [open_run(path) for path in paths]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InputError(f"a run is given twice: {', '.join(str(run.path) for run in runs)}")
    if frames is not None:
        runs = [with_frames(run, frames) for run in runs]
    plans = []
    for run, label in zip(runs, label_runs(runs), strict=True):
        subject = choose_subject(run, None if data is None else Path(data))
        if subject.remark is not None:
            remark(f"{run.name}: {subject.remark}")
        plans.append(_Plan(run, label, subject, trained_replicas(run, remark)))
    total = sum(len(plan.subject.samples) * len(plan.replicas) for plan in plans)
    done, evaluations = 0, []
    for plan in plans:
        stamp = fingerprint(plan.run, plan.subject, plan.replicas)
        found = read_mesh_evaluation(plan.run, plan.label, plan.subject, stamp)
        if found is None:
            found = _compute(plan, lambda made, note, before=done: progress(before + made, total, note))
            with storing(plan.run, remark):
                write_mesh_evaluation(found, stamp)
        done += len(plan.subject.samples) * len(plan.replicas)
        evaluations.append(found)
    return tuple(evaluations)


@dataclass(frozen=True)
class _Plan:
    """A run and what it is evaluated on."""

    run: Run
    label: str
    subject: Subject
    replicas: tuple[Replica, ...]


def _compute(plan: _Plan, progress: Callable[[int, str], None]) -> MeshEvaluation:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [_operator(replica).to(device) for replica in plan.replicas]
    config, samples = plan.run.config.data, plan.subject.samples
    parts: list[dict[str, np.ndarray]] = []
    with open_dataset(plan.subject.path) as dataset:
        first = load_mesh_windows(dataset, config, samples[:1])
        _check_mesh(plan, models[0], first)
        wall, size, done = wall_of(first.mesh), max(1, _BATCH_NODES // first.grid[0]), 0
        for start in range(0, len(samples), size):
            windows = load_mesh_windows(dataset, config, samples[start : start + size])
            parts.append(_measure(models, windows, wall, device))
            done += len(windows) * len(models)
            progress(done, plan.run.name)
        values = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
        true = {f"true_{name}": values.pop(f"true_{name}")[0] for name in ("lift", "drag")}
        true = _stored_forces(dataset, samples, config) or true
        worst = int(values["momentum_squared_error"][0].mean(-1).argmax())
        chosen = tuple(samples[place] for place in dict.fromkeys((0, worst)))
        windows = load_mesh_windows(dataset, config, chosen)
        examples = FlowExamples(
            seed=plan.replicas[0].seed,
            samples=chosen,
            truth=windows.targets.numpy(),
            prediction=_predict(models[0], windows, device).numpy(),
            times=windows.times,
            mesh=windows.mesh,
        )
    per_field = (*_SAMPLES, "field")
    metrics = labelled(
        {
            "squared_error": (
                per_field,
                values["squared_error"],
                "mean over all nodes of (û − u)²",
                "of the field, squared",
            ),
            "power": (per_field, values["power"], "mean over all nodes of u²", "of the field, squared"),
            "momentum_squared_error": (
                _SAMPLES,
                values["momentum_squared_error"],
                "mean over the region of interest and both components of (ρ̂v̂ − ρv)²",
                "kg2 m-4 s-2",
            ),
            "lift": (_SAMPLES, values["lift"], "lift coefficient of the predicted pressure", "1"),
            "drag": (_SAMPLES, values["drag"], "drag coefficient of the predicted pressure", "1"),
            "true_lift": (_SAMPLES[1:], true["true_lift"], "lift coefficient", "1"),
            "true_drag": (_SAMPLES[1:], true["true_drag"], "drag coefficient", "1"),
        },
        [replica.seed for replica in plan.replicas],
        samples,
        first.times,
    )
    return MeshEvaluation(plan.run, plan.label, plan.subject, metrics, examples)


def _measure(
    models: Sequence[MeshOperator], windows: MeshWindows, wall: Wall, device: torch.device
) -> dict[str, np.ndarray]:
    """Of some samples: [seeds, samples, frames, …] by name."""
    stream = stream_of(windows.inputs[:, 0], windows.node_type)
    true_lift, true_drag = force_coefficients(windows.targets[..., 3], wall, stream)
    rows = []
    for model in models:
        prediction = _predict(model, windows, device)
        errors = flow_errors(prediction, windows.targets, windows.region)
        lift, drag = force_coefficients(prediction[..., 3], wall, stream)
        rows.append(
            {
                "squared_error": errors.squared,
                "power": errors.power,
                "momentum_squared_error": errors.momentum,
                "lift": lift,
                "drag": drag,
                "true_lift": true_lift,
                "true_drag": true_drag,
            }
        )
    return {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0]}


@torch.no_grad()
def _predict(model: MeshOperator, windows: MeshWindows, device: torch.device) -> Tensor:
    return model(windows.inputs.to(device), windows.targets.shape[1]).cpu()


def _operator(replica: Replica) -> MeshOperator:
    model = replica.load_model()
    assert isinstance(model, MeshOperator)
    return model


def _check_mesh(plan: _Plan, model: MeshOperator, windows: MeshWindows) -> None:
    known = model.positions.cpu()
    if known.shape != windows.positions.shape or not torch.allclose(known, windows.positions, rtol=1e-5, atol=1e-5):
        raise InputError(
            f"{plan.subject.path} has another mesh ({windows.grid[0]} nodes) than the data of {plan.run.path} "
            f"({len(known)} nodes): its model knows only the nodes that it was trained on"
        )


def _stored_forces(dataset: Dataset, samples: Sequence[int], config: DataConfig) -> dict[str, np.ndarray] | None:
    """Lift and drag as the solver integrated them, if the file has them; else those of the stored pressure serve."""
    names = {"true_lift": "lift_coefficient", "true_drag": "drag_coefficient"}
    if not set(names.values()) <= set(dataset.parameters):
        return None
    frames = slice(config.input_frames, config.input_frames + config.output_frames)
    return {key: dataset.parameter(name)[list(samples), frames].astype(float) for key, name in names.items()}
