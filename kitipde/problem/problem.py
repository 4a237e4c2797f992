"""What a run learns: named fields in, named fields out, on a geometry. Nothing else knows shapes.

Tensors are [sample, frame, field, *space]; space is a grid or the nodes of a mesh. What a network sees are channels,
[batch, channel, *space]: the frames of the input fields, oldest first, then the *context*, which does not change while
a rollout goes on: static fields, and parameters as constant fields.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from datagen.geometry import Geometry, Grid, resolution_text
from datagen.store import Dataset
from kitipde.config import DataConfig
from kitipde.errors import InputError, unknown

__all__ = ["Domain", "Problem", "problem_of"]


@dataclass(frozen=True)
class Domain:
    """The geometry of the training, as far as a network and a reader of the run need to know.

    Attributes:
        kind: a grid, or the nodes of a mesh.
        shape: points along each axis, or how many nodes.
        dimension: of space.
        extents: the two ends of each axis.
        boundaries: what they are.
        placements: o and m of equally spaced points x_j = a + (j + o) L/(n + m) along each axis, n of them.
        uniform: whether they are equally spaced.
    """

    kind: Literal["grid", "mesh"]
    shape: tuple[int, ...]
    dimension: int
    extents: tuple[tuple[float, float], ...] = ()
    boundaries: tuple[tuple[str, str], ...] = ()
    placements: tuple[tuple[float, float], ...] = ()
    uniform: bool = True

    @classmethod
    def of(cls, geometry: Geometry) -> "Domain":
        """That of a geometry."""
        if not isinstance(geometry, Grid):
            return cls("mesh", geometry.shape, geometry.dimension)
        told = [(axis.extent, axis.boundary, axis.placement) for axis in geometry.axes]
        extents, boundaries, placements = (tuple(each) for each in zip(*told, strict=True))
        return cls("grid", geometry.shape, geometry.dimension, extents, boundaries, placements, geometry.uniform)

    @classmethod
    def square(cls, points: int, dimension: int) -> "Domain":
        """The periodic unit line, square or cube with as many points along each axis: what the first edition knew."""
        ends, places = ((0.0, 1.0),) * dimension, ((0.0, 0.0),) * dimension
        return cls("grid", (points,) * dimension, dimension, ends, (_PERIODIC,) * dimension, places)

    def refuse_other(self, geometry: Geometry, data: Path, run: Path) -> None:
        """Refuse to apply a network of this domain on another kind of geometry.

        Raises:
            InputError: a mesh instead of a grid, another number of axes, other boundaries, or points that lie otherwise
                between two ends.
        """
        other = Domain.of(geometry)
        if other.kind != self.kind:
            raise InputError(f"{data} is on a {other.kind}, but {run} was trained on a {self.kind}")
        if other.dimension != self.dimension:
            raise InputError(f"{data} is {other.dimension}-D, but {run} was trained in {self.dimension}-D")
        bounded = [place for place, periodic in zip(self.placements, self.periodic, strict=True) if not periodic]
        theirs = [place for place, periodic in zip(other.placements, other.periodic, strict=True) if not periodic]
        if other.periodic != self.periodic or theirs != bounded:
            raise InputError(
                f"{data} has other boundaries, or other points at them, than the data of {run}: "
                f"{_ends(other)} instead of {_ends(self)}"
            )

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Whether each axis is; none of a mesh."""
        return tuple(ends == _PERIODIC for ends in self.boundaries)


_PERIODIC = ("periodic", "periodic")


def _ends(domain: Domain) -> str:
    """The boundaries of each axis, and where its first point lies if it is bounded, in words."""
    each = zip(domain.boundaries, domain.placements, strict=True)
    return ", ".join(
        "periodic" if ends == _PERIODIC else f"{'/'.join(ends)} with the first point {offset:g} steps from the end"
        for ends, (offset, _) in each
    )


@dataclass(frozen=True)
class Problem:
    """What is given, what is predicted, and where.

    Attributes:
        inputs: fields whose frames are given.
        targets: fields that are predicted.
        static: fields that are constant in time and given too.
        parameters: numbers of a sample that are given too.
        input_frames: given ones.
        output_frames: predicted ones, in training.
        domain: the geometry of the training.
        vectors: of each component of a vector, its vector's name.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    static: tuple[str, ...]
    parameters: tuple[str, ...]
    input_frames: int
    output_frames: int
    domain: Domain
    vectors: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> tuple[str, ...]:
        """Inputs that are not predicted: in a rollout their later frames come from the data."""
        return tuple(name for name in self.inputs if name not in self.targets)

    @property
    def feeds_back(self) -> bool:
        """Whether predictions can be the next input."""
        return set(self.inputs) <= {*self.targets, *self.known} and any(name in self.targets for name in self.inputs)

    @property
    def channels(self) -> int:
        """What a network is given at each point, without coordinates."""
        return self.input_frames * len(self.inputs) + self.context

    @property
    def context(self) -> int:
        """Channels that do not change in a rollout."""
        return len(self.static) + len(self.parameters)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Places of the targets that share one norm: the components of a vector, or a field alone."""
        groups: dict[str, list[int]] = {}
        for place, name in enumerate(self.targets):
            groups.setdefault(self.vectors.get(name) or f"{name} alone", []).append(place)
        return tuple(map(tuple, groups.values()))

    def to_json(self) -> dict[str, Any]:
        """What `run.json` keeps."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Problem":
        """What `run.json` has.

        Raises:
            TypeError, KeyError, ValueError: it is not what `to_json` gave.
        """
        domain = {key: _tuples(value) for key, value in told["domain"].items()}
        rest = {key: _tuples(value) for key, value in told.items() if key != "domain"}
        problem = cls(domain=Domain(**domain), **rest)
        if problem.domain.dimension < 1 or not problem.domain.shape or min(problem.domain.shape) < 1:
            raise ValueError(f"its shape is {problem.domain.shape}")
        return problem


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def problem_of(config: DataConfig, dataset: Dataset) -> Problem:
    """The problem that settings describe, in which everything is said (`kitipde.problem.choice`).

    Raises:
        InputError: a variable that the file does not hold, or holds in another role.
    """
    assert config.inputs is not None
    assert config.targets is not None
    _check_names(config, dataset)
    geometry = dataset.geometry
    if config.resolution is not None:
        try:
            geometry = geometry.coarsened(config.resolution, config.downsample)
        except InputError as error:
            raise InputError(f"data.resolution={resolution_text(config.resolution)}: {error}") from error
    return Problem(
        config.inputs,
        config.targets,
        config.static,
        config.parameters,
        config.given_frames,
        config.wanted_frames,
        Domain.of(geometry),
        {name: dataset.vector(name) for name in config.targets if dataset.vector(name)},
    )


def _check_names(config: DataConfig, dataset: Dataset) -> None:
    keys = (("data.inputs", config.inputs), ("data.targets", config.targets), ("data.static", config.static))
    for key, names in keys:
        for name in names or ():
            if name not in dataset.fields:
                raise unknown(f"variable in {key} of {dataset.path}", name, dataset.fields)
            if key != "data.static" and dataset.fields[name][0] != "sample":
                raise InputError(
                    f"{key}={name}: all samples of {dataset.path} share this field, it tells none from another "
                    f"(beside others it can be data.static={name})"
                )
    for name in config.static:
        if "time" in dataset.fields[name]:
            raise InputError(
                f"data.static={name}: this field of {dataset.path} changes in time; name it in data.inputs"
            )
    own = [name for name in dataset.parameters if dataset.dimensions(name) == ("sample",)]
    for name in config.parameters:
        if name not in own:
            raise unknown(f"variable in data.parameters of {dataset.path}", name, own)
