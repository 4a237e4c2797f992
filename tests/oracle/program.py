"""The one place where the oracle reaches the program: what is moved or renamed there changes in this file alone.

What goes in and comes out are paths, texts, numbers and numpy arrays, and names are the reference's, not the program's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datagen.equations.registry import recipe_from
from datagen.generation import generate as making
from datagen.generation.machine import Machine
from datagen.geometry import Mesh, periodic_grid
from datagen.geometry.mesh import NODE_TYPES
from datagen.store import open_dataset, recipe_of
from kitipde.cli.console import as_number
from kitipde.config.load import place, read_config, resolve_config, shipped_configs
from kitipde.evaluation import METRICS, evaluate_runs
from kitipde.evaluation.metrics import Compared, applicable, correlation_time, grouped, measured, with_spread
from kitipde.evaluation.metrics.flow import table4
from kitipde.evaluation.metrics.spectral import power_above, spectra
from kitipde.training.run import start_run, train

FIELDS = ("velocity_x", "velocity_y", "density", "pressure")

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
        f"{as_number(resolution)}/{metric.name}": found.errors(metric.name, resolution)
        for resolution in found.resolutions
        for metric in found.defined
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
    """A progress line without output."""

    def __init__(self, _title: str) -> None:
        pass

    def __enter__(self):
        return lambda _done, _total, _note: None

    def __exit__(self, *_: object) -> None:
        pass


def grid_metrics(prediction: np.ndarray, target: np.ndarray, lengths: list[float], mean: float) -> Arrays:
    """Every metric of [sample, frame, *grid] on a periodic grid."""
    predicted, truth = (torch.from_numpy(each)[:, :, None] for each in (prediction, target))
    grid = periodic_grid(target.shape[2:], lengths)
    compared = Compared(predicted, truth, truth, grid, ("u",), ("u",), (mean,))
    metrics = applicable(grid, ("u",))
    found = with_spread(measured(compared, metrics))
    named = {f"frame/{each.name}": each.frame(found) for each in metrics if each.frame is not None}
    named |= {f"rollout/{each.name}": each.rollout(found) for each in metrics}
    kept = (
        "target_mean",
        "target_power",
        "target_variance",
        "target_deviation",
        "error_h1",
        "target_h1",
        "correlation",
    )
    named |= {f"frame/{name}": found[name] for name in kept}
    result = {name: np.asarray(value[..., 0]) for name, value in named.items()}
    power = spectra(compared)
    result |= {f"spectrum/{name}": getattr(power, name)[:, 0].numpy() for name in ("target", "prediction", "error")}
    result["spectrum/samples"] = np.asarray(power.samples)
    times = torch.arange(1.0, target.shape[1] + 1, dtype=torch.float64)
    result["correlation_time"] = correlation_time(found["correlation"][..., 0], times).numpy()
    coarse = (target.shape[-1] // 2,) * len(lengths)
    result["power_above"] = np.asarray(power_above(truth, coarse))
    return result


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
    kinds = np.where(marks["wall"], NODE_TYPES["airfoil"], NODE_TYPES["normal"])
    kinds = np.where(marks["far"], NODE_TYPES["inflow"], kinds).astype(np.int8)
    mesh = Mesh(places[:, 0].copy(), places[:, 1].copy(), cells, kinds)
    predicted, true = (torch.from_numpy(each).movedim(-1, 2) for each in (prediction, target))
    given = torch.from_numpy(first).movedim(-1, 1)[:, None]
    compared = Compared(predicted, true, given, mesh, FIELDS, FIELDS, (), {}, marks["region"])
    q = with_spread(measured(compared, applicable(mesh, FIELDS)))
    # Here each field counts alone: velocity's components are not one vector.
    alone = [(place,) for place in range(4)]

    def over_samples(name: str) -> np.ndarray:
        """[seed, frame]: of each sample by itself, then the mean over the samples where it is defined."""
        metric = METRICS[name]
        assert metric.frame is not None
        values = metric.frame(grouped(q, alone)).mean(-1)
        return values.nanmean(0).numpy()[None]

    frames = {
        "squared_error": q["mse"],
        "power": q["target_power"],
        **{name: q[name][..., 0] for name in ("momentum_squared_error", "lift", "drag")},
    }
    rollouts = {
        name: METRICS[name].rollout(grouped(q, alone)).mean(-1).numpy()[None]
        for name in ("momentum_rmse", "relative_l2", "lift_rmse", "drag_rmse")
    }
    squared = METRICS["table4_momentum_rmse"].rollout(q)[:, 0].numpy()
    by_field = METRICS["rmse"].rollout(q).numpy()
    return {
        **{f"frame/{name}": value.numpy()[None] for name, value in frames.items()},
        **{f"frame/true_{name}": q[f"true_{name}"][..., 0].numpy() for name in ("lift", "drag")},
        **{f"frame/{name}": over_samples(name) for name in ("momentum_rmse", "relative_l2")},
        **{f"rollout/{name}": value for name, value in rollouts.items()},
        "rollout/table4_momentum_rmse": table4(squared)[None],
        **{f"rollout/rmse_{name}": by_field[None, :, place] for place, name in enumerate(FIELDS)},
    }
