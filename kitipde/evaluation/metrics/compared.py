"""A prediction beside its truth: what every metric is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from datagen.geometry import Geometry, Grid, Mesh

__all__ = ["Compared", "Quantities", "grouped", "joined", "or_infinite", "ratio"]

Quantities = dict[str, Tensor]
"""Numbers of each sample, frame and field, [samples, frames, fields] in float64, by name; of all fields together the
last axis is 1."""


@dataclass(frozen=True)
class Compared:
    """Predicted and true fields of some samples.

    Attributes:
        prediction: in physical units.
        target: the truth.
        inputs: what the prediction was made from.
        geometry: where the fields live.
        fields: names of the targets.
        given: names of the inputs.
        training_means: μ of each target over the training split; NaN where it is not known.
        recorded: numbers that the dataset has of each sample and frame, by name.
        region: the points that a metric of a region is about; none for all.
    """

    prediction: Float[Tensor, "samples frames fields *space"]
    target: Float[Tensor, "samples frames fields *space"]
    inputs: Float[Tensor, "samples input_frames inputs *space"]
    geometry: Geometry
    fields: tuple[str, ...]
    given: tuple[str, ...] = ()
    training_means: tuple[float, ...] = ()
    recorded: Mapping[str, Float[Tensor, "samples frames"]] = field(default_factory=dict)
    region: Bool[np.ndarray, "*space"] | None = None

    @cached_property
    def error(self) -> Float64[Tensor, "samples frames fields *space"]:
        """e = p − t."""
        return self.prediction.double() - self.target.double()

    @property
    def axes(self) -> tuple[int, ...]:
        """Of space."""
        return tuple(range(3, self.target.ndim))

    @cached_property
    def weights(self) -> Float64[Tensor, "*space"] | None:
        """Quadrature weights, which sum to 1; none where all points count the same."""
        weights = self.geometry.weights
        return None if np.ptp(weights) <= 1e-12 * weights.max() else torch.from_numpy(weights).to(self.target.device)

    def mean(self, values: Float64[Tensor, "samples frames fields *space"]) -> Float64[Tensor, "samples frames fields"]:
        """⟨·⟩ over the domain, by the quadrature of its geometry."""
        return values.mean(self.axes) if self.weights is None else (values * self.weights).sum(self.axes)

    def channel(self, values: Float[Tensor, "samples frames fields *space"], name: str) -> Tensor:
        """One of the targets, in float64."""
        return values[:, :, self.fields.index(name)].double()

    @property
    def on_periodic_grid(self) -> bool:
        """Whether a Fourier transform is meant for it."""
        return isinstance(self.geometry, Grid) and self.geometry.periodic and self.geometry.uniform

    @property
    def mesh(self) -> Mesh:
        """Its geometry, for metrics that need one."""
        assert isinstance(self.geometry, Mesh)
        return self.geometry

    def part(self, samples: slice) -> "Compared":
        """Some of the samples."""
        return Compared(
            self.prediction[samples],
            self.target[samples],
            self.inputs[samples],
            self.geometry,
            self.fields,
            self.given,
            self.training_means,
            {name: values[samples] for name, values in self.recorded.items()},
            self.region,
        )


def joined(parts: Sequence[Quantities]) -> Quantities:
    """The quantities of several batches as those of one, in their order."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


# How components of a vector make one quantity: squares add up; these do otherwise.
_OTHERWISE = {"max_error": torch.amax, "mean_drift": torch.mean, "correlation": torch.mean}


def grouped(quantities: Quantities, groups: Sequence[Sequence[int]]) -> Quantities:
    """Quantities of groups of fields: the components of a vector share one norm.

    Args:
        quantities: of each field.
        groups: places of the fields of each group.
    """
    result = {}
    for name, values in quantities.items():
        how, fields = _OTHERWISE.get(name, torch.sum), sum(map(len, groups))
        # What is of all fields together stays so.
        of_each = values.shape[-1] == fields
        parts = [how(values[..., list(group)], dim=-1) for group in groups] if of_each else [values[..., 0]]
        result[name] = torch.stack(parts, dim=-1)
    return result


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient, NaN where the denominator is zero (an undefined relative error, not an infinite one)."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)


def or_infinite(error: Tensor) -> Tensor:
    """Infinity for the NaN that a prediction which is not finite leaves."""
    return error.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
