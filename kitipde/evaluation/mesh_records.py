"""What an evaluation on a mesh found: labelled, summed up, and stored beside the run.

RUN/evaluation/test/metrics.nc      errors and forces of every seed, sample and frame
RUN/evaluation/test/examples.nc     flows of the first and of the worst sample, with the mesh
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from datagen.store import Mesh
from kitipde.errors import unknown
from kitipde.evaluation.cost import Cost, run_cost
from kitipde.evaluation.mesh_metrics import table4
from kitipde.evaluation.records import Metric
from kitipde.evaluation.storage import evaluation_folder, read_netcdf, stamps, write_netcdf
from kitipde.evaluation.summary import Estimate, estimate
from kitipde.evaluation.test_data import Subject
from kitipde.problem.mesh import FIELDS
from kitipde.runs import Run

__all__ = [
    "MESH_METRICS",
    "UNITS",
    "FlowExamples",
    "MeshEvaluation",
    "MeshSummary",
    "labelled",
    "mesh_metric",
    "read_mesh_evaluation",
    "summarise_mesh",
    "write_mesh_evaluation",
]

UNITS = {"velocity_x": "m/s", "velocity_y": "m/s", "density": "kg/m³", "pressure": "Pa", "momentum": "kg/(m² s)"}

MESH_METRICS: dict[str, tuple[Metric, str]] = {
    "table4_momentum_rmse": (
        Metric("table4_momentum_rmse", "momentum RMSE, region, as Table 4", "mean over batches of 16 of their RMSE"),
        UNITS["momentum"],
    ),
    "momentum_rmse": (
        Metric("momentum_rmse", "momentum RMSE, region", "√⟨(ρ̂v̂ − ρv)²⟩ of each sample"),
        UNITS["momentum"],
    ),
    "relative_l2": (Metric("relative_l2", "relative L2, all nodes", "√(Σ(û − u)²/Σu²), mean over the fields"), "1"),
    **{
        f"rmse_{name}": (
            Metric(f"rmse_{name}", f"RMSE of {name.replace('_', ' ')}, all nodes", "√⟨(û − u)²⟩ of each sample"),
            UNITS[name],
        )
        for name in FIELDS
    },
    "lift_rmse": (Metric("lift_rmse", "RMSE of the lift coefficient", "over the frames of each sample"), "1"),
    "drag_rmse": (Metric("drag_rmse", "RMSE of the drag coefficient", "over the frames of each sample"), "1"),
}
"""Each error of whole rollouts and its units, by the name under which users ask for it."""


def mesh_metric(name: str) -> tuple[Metric, str]:
    """The metric of a name, and its units.

    Raises:
        InputError: if there is none.
    """
    if name not in MESH_METRICS:
        raise unknown("metric on a mesh", name, MESH_METRICS)
    return MESH_METRICS[name]


@dataclass(frozen=True)
class FlowExamples:
    """Flows to look at: of the first test sample, which nobody chose, then of the one with the largest momentum error.

    Attributes:
        seed: whose predictions they are.
        samples: indices in the dataset.
        truth: true fields in SI units.
        prediction: predicted fields.
        times: of the frames, in seconds.
        mesh: nodes and cells.
    """

    seed: int
    samples: tuple[int, ...]
    truth: Float[np.ndarray, "samples frames nodes 4"]
    prediction: Float[np.ndarray, "samples frames nodes 4"]
    times: np.ndarray
    mesh: Mesh


@dataclass(frozen=True)
class MeshEvaluation:
    """A run's errors on some samples.

    Attributes:
        run: the run.
        label: its name in tables and legends.
        subject: what it was evaluated on.
        metrics: dimensions seed, sample, time, field. `squared_error`, `power` and `momentum_squared_error` are means
            over nodes; `lift` and `drag` predicted; `true_lift` and `true_drag`.
        examples: flows to look at.
    """

    run: Run
    label: str
    subject: Subject
    metrics: xr.Dataset
    examples: FlowExamples

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that were evaluated."""
        return tuple(int(seed) for seed in self.metrics["seed"].values)

    def errors(self, name: str, _resolution: int | None = None) -> Float[np.ndarray, "seeds samples"]:
        """An error of whole rollouts (Table 4's: a column a batch of 16); NaN where it is undefined."""
        mesh_metric(name)
        data = self.metrics
        if name == "table4_momentum_rmse":
            return table4(data["momentum_squared_error"].values)
        if name == "momentum_rmse":
            return np.sqrt(data["momentum_squared_error"].mean("time").values)
        if name == "relative_l2":
            return _relative_l2(*(data[key].mean("time").values for key in ("squared_error", "power")))
        if name.startswith("rmse_"):
            return np.sqrt(data["squared_error"].sel(field=name.removeprefix("rmse_")).mean("time").values)
        force = name.removesuffix("_rmse")
        gap = data[force].values - data[f"true_{force}"].values
        return np.sqrt(np.square(gap).mean(-1))

    def against_time(self, name: str) -> Float[np.ndarray, "seeds frames"]:
        """The momentum RMSE in the region, or the relative L2 error, of each frame.

        As in the tables: of each sample by itself, then the mean over the samples where it is defined.
        """
        data = self.metrics
        if name == "momentum_rmse":
            errors = np.sqrt(data["momentum_squared_error"].values)
        else:
            errors = _relative_l2(data["squared_error"].values, data["power"].values)
        defined = ~np.isnan(errors)
        total, count = np.where(defined, errors, 0.0).sum(1), defined.sum(1)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@dataclass(frozen=True)
class MeshSummary:
    """One run's line.

    Attributes:
        run: the run's folder name.
        label: its name in tables.
        nodes: of the mesh.
        samples: test samples.
        frames: predicted.
        errors: by the names of `MESH_METRICS`: mean over samples, mean and deviation over seeds.
        units: of each.
        cost: parameters, operations, time and memory of training.
    """

    run: str
    label: str
    nodes: int
    samples: int
    frames: int
    errors: dict[str, Estimate]
    units: dict[str, str]
    cost: Cost


def _relative_l2(
    error: Float[np.ndarray, "*shape fields"], power: Float[np.ndarray, "*shape fields"]
) -> Float[np.ndarray, "*shape"]:
    """Mean over the fields of ‖û − u‖/‖u‖; NaN where a field is zero everywhere, which has no relative error."""
    ratio = np.divide(error, power, out=np.full_like(error, np.nan), where=power > 0)
    return np.sqrt(ratio).mean(-1)


def summarise_mesh(evaluations: Sequence[MeshEvaluation]) -> tuple[MeshSummary, ...]:
    """A line a run."""
    return tuple(
        MeshSummary(
            run=evaluation.run.name,
            label=evaluation.label,
            nodes=len(evaluation.examples.mesh.x),
            samples=evaluation.metrics.sizes["sample"],
            frames=evaluation.metrics.sizes["time"],
            errors={name: estimate(evaluation.errors(name)) for name in MESH_METRICS},
            units={name: units for name, (_, units) in MESH_METRICS.items()},
            cost=run_cost(evaluation.run),
        )
        for evaluation in evaluations
    )


def write_mesh_evaluation(evaluation: MeshEvaluation, stamp: str) -> None:
    """Store an evaluation; a crash leaves the old one or the new one."""
    folder = evaluation_folder(evaluation.run, evaluation.subject)
    folder.mkdir(parents=True, exist_ok=True)
    attributes, examples = stamps(evaluation.run, evaluation.subject, stamp), evaluation.examples
    dims = ("sample", "time", "node", "field")
    flows = xr.Dataset(
        {
            "truth": (dims, examples.truth),
            "prediction": (dims, examples.prediction),
            "node_x": ("node", examples.mesh.x, {"units": "m"}),
            "node_y": ("node", examples.mesh.y, {"units": "m"}),
            "node_type": ("node", examples.mesh.node_type),
            "cells": (("cell", "vertex"), examples.mesh.cells),
            "seed": examples.seed,
        },
        coords={"sample": list(examples.samples), "time": examples.times, **_fields()},
    )
    write_netcdf(evaluation.metrics.assign_attrs(attributes), folder / "metrics.nc")
    write_netcdf(flows.assign_attrs(attributes), folder / "examples.nc")


def read_mesh_evaluation(run: Run, label: str, subject: Subject, stamp: str) -> MeshEvaluation | None:
    """A stored evaluation, or None if there is none that is still true (arguments as of `read_evaluation`)."""
    folder = evaluation_folder(run, subject)
    metrics, flows = (read_netcdf(folder / name, stamp) for name in ("metrics.nc", "examples.nc"))
    if metrics is None or flows is None:
        return None
    examples = FlowExamples(
        seed=int(flows["seed"]),
        samples=tuple(flows["sample"].values.tolist()),
        truth=flows["truth"].values,
        prediction=flows["prediction"].values,
        times=flows["time"].values,
        mesh=Mesh(*(flows[name].values for name in ("node_x", "node_y", "cells", "node_type"))),
    )
    return MeshEvaluation(run, label, subject, metrics, examples)


def _fields() -> dict[str, Any]:
    return {"field": list(FIELDS), "field_units": ("field", [UNITS[name] for name in FIELDS])}


def labelled(
    values: dict[str, tuple[tuple[str, ...], np.ndarray, str, str]],
    seeds: Sequence[int],
    samples: Sequence[int],
    times: np.ndarray,
) -> xr.Dataset:
    """Arrays with names, dimensions, a meaning in words and units."""
    variables = {
        name: xr.Variable(dims, array, {"long_name": meaning, "units": units})
        for name, (dims, array, meaning, units) in values.items()
    }
    coordinates = {
        "seed": ("seed", list(seeds)),
        "sample": ("sample", list(samples), {"long_name": "index in the dataset"}),
        "time": ("time", np.asarray(times, float), {"units": "s"}),
    }
    return xr.Dataset(variables, coords={**coordinates, **_fields()})
