"""From a dataset on a mesh to the tensors that `AirfoilOFormer` sees.

A window is a few frames of (v_x, v_y, ρ, p) on all nodes that are given and those that follow, standardised by the mean
and deviation of the training samples; the given ones carry the nodes' positions, scaled to the unit square.

References:
    Li, Meidani and Barati Farimani, Transformer for Partial Differential Equations' Operator Learning, 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from datagen.store import Dataset, Mesh
from datagen.store.mesh import NODE_TYPES
from kitipde.errors import InputError, unknown

__all__ = ["FIELDS", "MeshScaling", "MeshWindows", "load_mesh_windows", "mesh_scaling", "momentum"]

FIELDS = ("velocity_x", "velocity_y", "density", "pressure")
"""In the order of the model's channels."""

REGION = ((-0.1, 1.4), (-1.2, 1.2))
"""The published region of interest, x and y in metres: the airfoil of chord 1 and its neighbourhood."""


@dataclass(frozen=True)
class MeshScaling:
    """Mean and deviation of each field over all nodes, frames and samples of the training split, in SI units."""

    mean: Float[Tensor, "4"]
    deviation: Float[Tensor, "4"]

    def standardise(self, fields: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4"]:
        return (fields - self.mean) / self.deviation

    def physical(self, fields: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 4"]:
        """What `standardise` was given."""
        return fields * self.deviation + self.mean


@dataclass(frozen=True)
class MeshWindows:
    """Inputs and targets of some samples.

    Attributes:
        inputs: standardised fields and the position in the unit square.
        targets: standardised fields of the frames that follow.
        positions: of the nodes in metres, from the lower left corner of the mesh.
        node_type: 0 fluid, 1 airfoil, 2 far field.
        region: whether a node lies in the region of interest.
        samples: index in the file of each.
        times: of the target frames.
        scaling: from standardised to SI units.
        mesh: as the file has it.
    """

    inputs: Float[Tensor, "samples input_frames nodes 6"]
    targets: Float[Tensor, "samples output_frames nodes 4"]
    positions: Float[Tensor, "nodes 2"]
    node_type: Int[Tensor, " nodes"]
    region: Bool[Tensor, " nodes"]
    samples: tuple[int, ...]
    times: np.ndarray
    scaling: MeshScaling
    mesh: Mesh

    def __len__(self) -> int:
        return len(self.samples)


def mesh_scaling(dataset: Dataset, samples: Sequence[int]) -> MeshScaling:
    """Mean and deviation of the fields, one sample in memory at a time.

    Args:
        dataset: an open file on a mesh.
        samples: those to train on.

    Raises:
        InputError: no mesh, a field missing, no sample, or a field that never changes.
    """
    _check(dataset)
    if not len(samples):
        raise InputError(f"{dataset.path}: no sample to take means and deviations from")
    sums, squares = np.zeros(len(FIELDS)), np.zeros(len(FIELDS))
    # Deviations are taken about the first sample's means: pressures are large beside their changes.
    offset = np.array([dataset.read(name, [samples[0]]).mean(dtype=np.float64) for name in FIELDS])
    for index in samples:
        for place, name in enumerate(FIELDS):
            gap = dataset.read(name, [index]).astype(np.float64) - offset[place]
            sums[place] += gap.mean()
            squares[place] += (gap**2).mean()
    shift = sums / len(samples)
    deviation = np.sqrt(np.maximum(squares / len(samples) - shift**2, 0))
    if not (deviation > 0).all():
        raise InputError(f"{dataset.path}: {FIELDS[int(np.argmin(deviation))]} is the same everywhere")
    return MeshScaling(torch.tensor(offset + shift).float(), torch.tensor(deviation).float())


def load_mesh_windows(
    dataset: Dataset,
    samples: Sequence[int],
    scaling: MeshScaling,
    input_frames: int = 4,
    output_frames: int = 22,
    region: tuple[tuple[float, float], tuple[float, float]] = REGION,
) -> MeshWindows:
    """Read the windows of some samples: the first frames are given, those after them wanted.

    Args:
        dataset: an open file on a mesh.
        samples: which.
        scaling: of the training samples, whatever samples these are.
        input_frames, output_frames: how many.
        region: bounds of the region of interest along x and y.

    Raises:
        InputError: no mesh, a field missing, or fewer frames than asked for.
    """
    mesh = _check(dataset)
    stored, needed = 0 if dataset.times is None else len(dataset.times), input_frames + output_frames
    if min(input_frames, output_frames) < 1 or needed > stored:
        raise InputError(
            f"{dataset.path} has {stored} frames, but data.input_frames + data.output_frames need "
            f"{input_frames} + {output_frames} = {needed} (allowed: 1 or more each)"
        )
    fields = np.stack([dataset.read(name, samples, slice(0, needed)) for name in FIELDS], axis=-1)
    standard = scaling.standardise(torch.from_numpy(fields))
    corner = np.array([mesh.x.min(), mesh.y.min()])
    positions = torch.from_numpy(np.stack([mesh.x, mesh.y], axis=-1) - corner).float()
    unit = positions / positions.amax(dim=0)
    given = standard[:, :input_frames]
    (left, right), (low, high) = region
    return MeshWindows(
        inputs=torch.cat([given, unit.expand(*given.shape[:2], -1, -1)], dim=-1),
        targets=standard[:, input_frames:],
        positions=positions,
        node_type=_model_types(mesh),
        region=torch.from_numpy((mesh.x > left) & (mesh.x < right) & (mesh.y > low) & (mesh.y < high)),
        samples=tuple(int(index) for index in samples),
        times=np.asarray(dataset.times)[input_frames:needed],
        scaling=scaling,
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
