"""The one place where the oracle reaches the program: whoever moves or renames something rewrites this file.

What goes in and comes out are paths, texts, numbers and numpy arrays, and names are the reference's, not the program's.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from datagen import generate as making
from datagen.machine import Machine
from datagen.recipes import recipe_from
from datagen.store import Mesh, open_dataset, recipe_of
from datagen.store.mesh import NODE_TYPES
from kitipde.config.load import place, read_config, resolve_config, shipped_configs
from kitipde.data.mesh import FIELDS
from kitipde.evaluation import evaluate_runs
from kitipde.evaluation.mesh_metrics import flow_errors, force_coefficients, stream_of, wall_of
from kitipde.evaluation.mesh_records import MESH_METRICS, MeshEvaluation
from kitipde.evaluation.metrics import (
    FrameErrors,
    SampleErrors,
    Spectra,
    correlation_time,
    measure,
    over_rollout,
    power_above,
)
from kitipde.evaluation.records import METRICS
from kitipde.training.run import start_run, train

Arrays = dict[str, np.ndarray]


def generate(settings: Mapping[str, Any], path: Path) -> None:
    """Make a dataset from `equation` and the settings of its recipe."""
    recipe, machine = recipe_from(settings), Machine("cpu", "cpu")
    work = making.plan(recipe, path, "cpu")
    making.generate(work, recipe, machine)
    making.join(work)


def recipe_identity(settings: Mapping[str, Any]) -> str:
    """By this pooled studies know that their errors are of the same data."""
    work = making.plan(recipe_from(settings), Path("never-written.h5"), "cpu")
    return recipe_of(json.loads(work.layout.config), "")


def stored_values(path: Path) -> Arrays:
    """[sample, …] of every variable that the recipe computed, as it is in the file."""
    with open_dataset(path) as data:
        return {name: data.variable(name)[()] for name in data.sample_variables}


def stored_identity(path: Path) -> str:
    """The recipe's identity as the file's settings give it."""
    with open_dataset(path) as data:
        return data.recipe


def evaluate(run: Path, data: Path | None) -> Arrays:
    """[seed, sample] of each error over whole rollouts, by `resolution/metric`."""
    (found,) = evaluate_runs([run], data)
    return {
        f"{resolution}/{metric.name}": found.errors(metric.name, resolution)
        for resolution in found.resolutions
        for metric in METRICS
    }


def shipped_recipes() -> dict[str, Mapping[str, Any]]:
    """Settings of the datasets that come with the program, by name."""
    folder = next(iter(shipped_configs().values())).parent / "data"
    return {path.stem: read_config(str(path)) for path in sorted(folder.glob("*.yaml"))}


def train_losses(configuration: str, kiti: bool, settings: Mapping[str, Any], data: Path, out: Path) -> np.ndarray:
    """The training loss of each epoch, with some settings changed."""
    tree = place(read_config(configuration), "data.path", str(data))
    for key, value in settings.items():
        tree = place(tree, key, value)
    if kiti:
        tree = place(tree, "residual.kind", "kiti")
    run = start_run(resolve_config(tree), out)
    train(run, _Silent, lambda _text: None)
    return np.array([row["train_loss"] for row in run.replica(run.config.training.seed).metrics()])


class _Silent:
    """A progress line that nobody reads."""

    def __init__(self, _title: str) -> None:
        pass

    def __enter__(self):
        return lambda _done, _total, _note: None

    def __exit__(self, *_: object) -> None:
        pass


def grid_metrics(prediction: np.ndarray, target: np.ndarray, lengths: list[float], mean: float) -> Arrays:
    """Every metric of [sample, frame, *grid] on a periodic grid."""
    truth = torch.from_numpy(target)
    errors, spectra = measure(torch.from_numpy(prediction), truth, lengths, mean)
    over, frames = over_rollout(errors), target.shape[1]
    times = torch.arange(1.0, frames + 1, dtype=torch.float64)
    ratios = ("rmse", "relative_l2", "relative_l2_deviation", "relative_h1")
    found = {f"frame/{name}": getattr(errors, name) for name in (*(each.name for each in fields(FrameErrors)), *ratios)}
    found |= {f"rollout/{each.name}": getattr(over, each.name) for each in fields(SampleErrors)}
    found |= {f"spectrum/{each.name}": getattr(spectra, each.name) for each in fields(Spectra)}
    found["correlation_time"] = correlation_time(errors.correlation, times)
    found["power_above"] = power_above(truth, target.shape[-1] // 2)
    return {name: np.asarray(value) for name, value in found.items()}


def flow_metrics(
    prediction: np.ndarray, target: np.ndarray, first: np.ndarray, places: np.ndarray, cells: np.ndarray, **marks: Any
) -> Arrays:
    """Every metric of flows [sample, frame, node, (v_x, v_y, ρ, p)] on a mesh.

    Args:
        prediction, target: flows.
        first: [sample, node, 4], before the airfoil is felt far away.
        places: [node, 2].
        cells: [cell, 3].
        marks: whether a node is on the airfoil (`wall`), in the `far` field, in the `region` of interest.
    """
    kinds = np.where(marks["wall"], NODE_TYPES["airfoil"], NODE_TYPES["normal"]).astype(np.int8)
    wall = wall_of(Mesh(places[:, 0].copy(), places[:, 1].copy(), cells, kinds))
    predicted, true = torch.from_numpy(prediction), torch.from_numpy(target)
    stream = stream_of(torch.from_numpy(first), torch.from_numpy(np.where(marks["far"], 2, 0)))
    errors = flow_errors(predicted, true, torch.from_numpy(marks["region"]))
    lift, drag = force_coefficients(predicted[..., 3], wall, stream)
    true_lift, true_drag = force_coefficients(true[..., 3], wall, stream)
    dims = ("seed", "sample", "time", "field")
    of_seeds = {
        "squared_error": errors.squared,
        "power": errors.power,
        "momentum_squared_error": errors.momentum,
        "lift": lift,
        "drag": drag,
    }
    found = {
        **{name: (dims[: value.ndim + 1], value.numpy()[None]) for name, value in of_seeds.items()},
        **{f"true_{name}": (dims[1:3], value.numpy()) for name, value in (("lift", true_lift), ("drag", true_drag))},
    }
    evaluation: Any = MeshEvaluation
    evaluation = evaluation(None, "", None, xr.Dataset(found, coords={"field": list(FIELDS)}), None)
    return {
        **{f"frame/{name}": value for name, (_, value) in found.items()},
        **{f"frame/{name}": evaluation.against_time(name) for name in ("momentum_rmse", "relative_l2")},
        **{f"rollout/{name}": evaluation.errors(name) for name in MESH_METRICS},
    }
