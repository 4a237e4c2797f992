"""From a dataset on a mesh to the tensors that a model on it sees.

A window is a few frames of (v_x, v_y, ρ, p) on all nodes that are given and those that follow, in SI units: together
they are the *flow*, which is what `data.input` and `data.target` name.

References:
    Li, Meidani and Barati Farimani, Transformer for Partial Differential Equations' Operator Learning, 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from datagen.geometry.mesh import NODE_TYPES
from datagen.store import Dataset, Mesh
from kitipde.config import DataConfig
from kitipde.errors import InputError, unknown
from kitipde.problem.windows import refuse_not_finite

__all__ = ["FIELDS", "MeshScaling", "MeshWindows", "load_mesh_windows", "mesh_scaling", "momentum"]

FIELDS = ("velocity_x", "velocity_y", "density", "pressure")
"""In the order of the model's channels."""

FLOW = "flow"
"""What the four fields together are called in the settings."""

REGION = ((-0.1, 1.4), (-1.2, 1.2))
"""The published region of interest, x and y in metres: the airfoil of chord 1 and its neighbourhood."""


@dataclass(frozen=True)
class MeshScaling:
    """Mean and deviation of each field over all nodes, frames and samples of the training split, in SI units."""

    mean: Float[Tensor, "4"]
    deviation: Float[Tensor, "4"]


@dataclass(frozen=True)
class MeshWindows:
    """Inputs and targets of some samples on one mesh, in SI units.

    Attributes:
        inputs: given frames, oldest first.
        targets: frames to predict.
        positions: of the nodes in metres, from the lower left corner of the mesh.
        node_type: 0 fluid, 1 airfoil, 2 far field.
        region: whether a node lies in the region of interest.
        samples: index in the file of each.
        times: of the target frames.
        mesh: as the file has it.
    """

    inputs: Float[Tensor, "samples input_frames nodes 4"]
    targets: Float[Tensor, "samples output_frames nodes 4"]
    positions: Float[Tensor, "nodes 2"]
    node_type: Int[Tensor, " nodes"]
    region: Bool[Tensor, " nodes"]
    samples: tuple[int, ...]
    times: np.ndarray
    mesh: Mesh

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def grid(self) -> tuple[int]:
        """The number of nodes."""
        return (len(self.positions),)

    @property
    def dimension(self) -> int:
        """Spatial axes."""
        return self.positions.shape[1]


def mesh_scaling(windows: MeshWindows) -> MeshScaling:
    """Mean and deviation of the fields over every frame of some samples.

    Args:
        windows: those to train on.

    Raises:
        InputError: no sample, or a field that never changes.
    """
    if not len(windows):
        raise InputError("no sample to take means and deviations from")
    sums, squares = torch.zeros(2, len(FIELDS), dtype=torch.float64)
    frames = windows.inputs.shape[1] + windows.targets.shape[1]
    # Deviations are taken about the first sample's means: pressures are large beside their changes.
    offset = windows.inputs[0].double().mean((0, 1))
    for sample in range(len(windows)):
        for part in (windows.inputs, windows.targets):
            gap = part[sample].double() - offset
            sums += gap.mean(1).sum(0) / frames
            squares += gap.square().mean(1).sum(0) / frames
    shift = sums / len(windows)
    deviation = (squares / len(windows) - shift.square()).clamp_min(0).sqrt()
    if not (deviation > 0).all():
        raise InputError(f"{FIELDS[int(deviation.argmin())]} is the same everywhere in the samples to train on")
    return MeshScaling((offset + shift).float(), deviation.float())


def load_mesh_windows(
    dataset: Dataset,
    config: DataConfig,
    samples: Sequence[int],
    region: tuple[tuple[float, float], tuple[float, float]] = REGION,
) -> MeshWindows:
    """Read the windows of some samples: the first frames are given, those after them wanted.

    Args:
        dataset: an open file on a mesh.
        config: how many frames.
        samples: which.
        region: bounds of the region of interest along x and y, in metres.

    Raises:
        InputError: no mesh, a field missing or not finite, fewer frames than asked for, settings that only a grid has,
            or no node in the region of interest.
    """
    mesh = _check(dataset)
    _check_settings(config)
    given, wanted = config.input_frames, config.output_frames
    stored, needed = 0 if dataset.times is None else len(dataset.times), given + wanted
    if needed > stored:
        raise InputError(
            f"{dataset.path} has {stored} frames, but data.input_frames + data.output_frames need "
            f"{given} + {wanted} = {needed}"
        )
    fields = torch.empty(len(samples), needed, len(mesh.x), len(FIELDS))
    for channel, name in enumerate(FIELDS):
        array = dataset.read(name, samples, slice(0, needed))
        refuse_not_finite(dataset, name, samples, array)
        fields[..., channel] = torch.from_numpy(array)
    corner = np.array([mesh.x.min(), mesh.y.min()])
    (left, right), (low, high) = region
    inside = (mesh.x > left) & (mesh.x < right) & (mesh.y > low) & (mesh.y < high)
    if not inside.any():
        raise InputError(
            f"{dataset.path} has no node in the region of interest, x from {left:g} to {right:g} m and y from {low:g} "
            f"to {high:g} m (its nodes: x {mesh.x.min():g} to {mesh.x.max():g} m, y {mesh.y.min():g} to "
            f"{mesh.y.max():g} m)"
        )
    return MeshWindows(
        inputs=fields[:, :given],
        targets=fields[:, given:],
        positions=torch.from_numpy(np.stack([mesh.x, mesh.y], axis=-1) - corner).float(),
        node_type=_model_types(mesh),
        region=torch.from_numpy(inside),
        samples=tuple(int(index) for index in samples),
        times=np.asarray(dataset.times)[given:needed],
        mesh=mesh,
    )


def momentum(fields: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 2"]:
    """ρv of fields in SI units, the quantity of Table 4."""
    return fields[..., :2] * fields[..., 2:3]


def _model_types(mesh: Mesh) -> Int[Tensor, " nodes"]:
    kinds = np.zeros(len(mesh.x), np.int64)
    kinds[mesh.node_type == NODE_TYPES["airfoil"]] = 1
    kinds[np.isin(mesh.node_type, (NODE_TYPES["inflow"], NODE_TYPES["outflow"]))] = 2
    return torch.from_numpy(kinds)


def _check(dataset: Dataset) -> Mesh:
    if dataset.mesh is None:
        raise InputError(f"{dataset.path} is on a grid, not on a mesh (airfoil data are)")
    for name in FIELDS:
        if name not in dataset.fields:
            raise unknown(f"field that {dataset.path} should have", name, dataset.fields)
    return dataset.mesh


def _check_settings(config: DataConfig) -> None:
    for key, value in (("data.input", config.input), ("data.target", config.target)):
        if value != FLOW:
            raise InputError(f"{key}={value}: on a mesh it is '{FLOW}', which is {', '.join(FIELDS)} together")
    if config.resolution is not None:
        raise InputError(f"data.resolution={config.resolution}: a mesh has the nodes it has; leave it out")
    if config.normalize != "standard":
        raise InputError(
            f"data.normalize={config.normalize}: pascals and metres per second cannot be learnt side by side; on a "
            "mesh it is standard"
        )
