"""What a dataset holds, in the words of its file: geometry, coordinates, variables and attributes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from datagen.errors import InputError
from datagen.geometry import Geometry, Grid

__all__ = [
    "ROLES",
    "AttributeValue",
    "Coordinate",
    "DefaultProblem",
    "Layout",
    "Role",
    "Variable",
    "role_of",
    "rollout_problem",
]

AttributeValue = str | int | float | np.ndarray

Role = Literal["field", "static", "parameter", "mask", "geometry"]
ROLES: tuple[Role, ...] = ("field", "static", "parameter", "mask", "geometry")
"""What a variable is for: a field that is learnt from, a field that is constant in time, a number of a sample, which
points exist, or a part of the mesh."""


@dataclass(frozen=True)
class Coordinate:
    """A coordinate other than those of space: along a dimension of its own name, or one value for the whole file.

    Attributes:
        values: strictly increasing, float64; 0-dimensional for a single value.
        axis: "T" for time, as the CF conventions name it.
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
        role: what it is for; None: as its dimensions say (see `role_of`).
        vector: name that the components of one vector share; they have one norm.
    """

    name: str
    dims: tuple[str, ...]
    units: str
    long_name: str
    dtype: str = "float32"
    extra: Mapping[str, AttributeValue] = field(default_factory=dict)
    role: Role | None = None
    vector: str = ""

    @property
    def per_sample(self) -> bool:
        return self.dims[:1] == ("sample",)

    @property
    def is_field(self) -> bool:
        """Whether it is a function of space, rather than one number a sample."""
        return any(name not in ("sample", "time") for name in self.dims)


@dataclass(frozen=True)
class DefaultProblem:
    """What is learnt from a dataset by default.

    Attributes:
        inputs: fields that are given.
        targets: fields that are predicted.
        static: fields that are constant in time and given too.
        parameters: numbers of a sample that are given too.
        input_frames: given ones.
        output_frames: predicted ones.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    static: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    input_frames: int = 1
    output_frames: int = 1


def rollout_problem(fields: tuple[str, ...], frames: int, given: int, wanted: int) -> DefaultProblem | None:
    """So many frames of some fields from the frames before; as far as there are any, and none of a single frame."""
    if frames < 2:
        return None
    given = min(given, frames - 1)
    return DefaultProblem(fields, fields, input_frames=given, output_frames=min(wanted, frames - given))


@dataclass(frozen=True)
class Layout:
    """The whole of a file but its samples.

    Attributes:
        equation: "burgers", "navier-stokes", "heat", ….
        config: JSON text of the settings that made the samples: with the same config, the same samples.
        geometry: where the fields live.
        variables: fields and numbers; those of the geometry are written besides.
        attributes: what a reader should know without decoding the config.
        coordinates: instants, and single values that hold for the whole file.
        shared: values of the variables that are the same for every sample.
        problem: what is learnt by default.
        more_dimensions: lengths of those that neither the geometry nor a coordinate has.
    """

    equation: str
    config: str
    geometry: Geometry
    variables: tuple[Variable, ...]
    attributes: Mapping[str, AttributeValue]
    coordinates: tuple[Coordinate, ...] = ()
    shared: Mapping[str, np.ndarray] = field(default_factory=dict)
    problem: DefaultProblem | None = None
    more_dimensions: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [one.name for one in self.variables]
        for name in () if self.problem is None else (*self.problem.inputs, *self.problem.targets):
            if name not in names:
                raise InputError(f"the default problem names {name}, which is no variable ({', '.join(names)})")

    @property
    def dimensions(self) -> Mapping[str, int]:
        """Lengths of those without a coordinate, such as the nodes of a mesh."""
        own = {} if isinstance(self.geometry, Grid) else self.geometry.dimensions
        return {**own, **self.more_dimensions}

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension but `sample`."""
        along = {one.name: len(one.values) for one in self.coordinates if np.ndim(one.values) == 1}
        space = dict(zip(self.geometry.names, self.geometry.shape, strict=True))
        return {**along, **space, **self.dimensions}

    def sample_bytes(self) -> int:
        """Bytes of one sample before compression."""
        total = 0
        for variable in self.variables:
            if variable.per_sample:
                count = int(np.prod([self.sizes[name] for name in variable.dims[1:]], dtype=np.int64))
                total += count * np.dtype(variable.dtype).itemsize
        return total


def role_of(dims: tuple[str, ...]) -> Role:
    """What a variable is for, as far as its dimensions tell."""
    if not any(name not in ("sample", "time") for name in dims):
        return "parameter"
    return "field" if dims[:1] == ("sample",) else "static"
