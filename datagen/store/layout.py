"""What a data set holds, in the words of its file: coordinates, variables and attributes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

__all__ = ["AttributeValue", "Coordinate", "Layout", "Variable"]

AttributeValue = str | int | float | np.ndarray


@dataclass(frozen=True)
class Coordinate:
    """A coordinate: along a dimension of its own name, or a single value that holds for the whole file.

    Attributes:
        values: strictly increasing, float64; 0-dimensional for a single value.
        axis: "X", "Y" or "T", as the CF conventions name them.
    """

    name: str
    values: Float[np.ndarray, "..."]
    units: str
    long_name: str
    axis: str


@dataclass(frozen=True)
class Variable:
    """A named array.

    Attributes:
        dims: names of its dimensions; a variable with "sample" first differs from sample to sample, one without is
            the same for all.
        dtype: as stored. Fields are float32: they are computed in float64 and rounded once.
        extra: further attributes, such as `flag_values`.
    """

    name: str
    dims: tuple[str, ...]
    units: str
    long_name: str
    dtype: str = "float32"
    extra: Mapping[str, AttributeValue] = field(default_factory=dict)

    @property
    def per_sample(self) -> bool:
        return self.dims[:1] == ("sample",)

    @property
    def is_field(self) -> bool:
        """Whether it is a function of space, rather than one number a sample."""
        return any(name not in ("sample", "time") for name in self.dims)


@dataclass(frozen=True)
class Layout:
    """The whole of a file but its samples.

    Attributes:
        equation: "burgers", "navier-stokes", "heat", ….
        config: JSON text of the settings that made the samples: with the same config, the same samples.
        attributes: what a reader should know without decoding the config.
        shared: values of the variables that are the same for every sample.
        dimensions: lengths of those that have no coordinate, such as the nodes of a mesh.
    """

    equation: str
    config: str
    coordinates: tuple[Coordinate, ...]
    variables: tuple[Variable, ...]
    attributes: Mapping[str, AttributeValue]
    shared: Mapping[str, np.ndarray] = field(default_factory=dict)
    dimensions: Mapping[str, int] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension but `sample`."""
        along = {one.name: len(one.values) for one in self.coordinates if np.ndim(one.values) == 1}
        return {**along, **self.dimensions}

    def sample_bytes(self) -> int:
        """Bytes of one sample before compression."""
        total = 0
        for variable in self.variables:
            if variable.per_sample:
                count = int(np.prod([self.sizes[name] for name in variable.dims[1:]], dtype=np.int64))
                total += count * np.dtype(variable.dtype).itemsize
        return total
