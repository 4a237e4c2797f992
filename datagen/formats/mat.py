"""Reading and writing the `.mat` files in which the FNO data were published.

Arrays `a` (sample, x, (y)), the initial field or the coefficient, and `u`: (sample, x) or (sample, x, y) of one
instant, or with time as a last axis of several, whose instants are in `t`. Darcy's flow has `coeff` and `sol`
instead.

The arrays do not say which equation they solve. What does: `equation` in files of our own, the names `coeff` and `sol`,
and the names of the published files. Otherwise the user has to.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from datagen.checks import an_equation, positive
from datagen.equations.recipe import Recipe
from datagen.equations.registry import EQUATIONS
from datagen.equations.stored import coefficient, initial_field, main_field, recipe_with_main_field, start_field
from datagen.errors import InputError
from datagen.formats.axes import one_boundary
from datagen.formats.matlab import Array, Contents, WithoutEndPoint, WithTime, contents_of
from datagen.formats.survey import few_of, refuse_other_end_point, surveyed
from datagen.geometry import Axis, Boundary, Geometry, Grid, periodic_grid
from datagen.store.ingest import ingest
from datagen.store.layout import AttributeValue, Coordinate, Layout, Variable
from datagen.store.reader import Dataset
from datagen.store.writer import atomic_path

__all__ = ["MatDescription", "export_mat", "import_mat"]

_PAIRS = (("a", "u"), ("coeff", "sol"))
_PUBLISHED = {r"burgers": "burgers", r"ns_v\d|navierstokes": "navier-stokes", r"piececonst": "darcy"}
"""How the names of published files begin."""

_AXES = ("x", "y")
_LARGEST = 2**31 - 1
"""Bytes of one array that MATLAB's own format can hold."""


@dataclass(frozen=True)
class MatDescription:
    """What a `.mat` file does not say about itself.

    Attributes:
        equation: what the arrays are solutions of; empty: as the file tells. Those of this program ("burgers",
            "navier-stokes", "heat") get the names that its configurations know; of others the arrays keep theirs.
        constant: ν or α, or None if it is not known.
        length: L.
        boundary: what the ends of all axes are: "periodic" (points jL/n), or "wall" or "open", which are among the
            points: jL/(n − 1).
        final_time: time of `u` where it is of one instant and the file has no `t`; None: 1 for equations of this
            program, and no time for others.
        drop_endpoint: axes ("x", "y") whose last point repeats the first and is left out.
    """

    equation: str = ""
    constant: float | None = None
    length: float = 1.0
    boundary: Boundary = "periodic"
    final_time: float | None = None
    drop_endpoint: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.equation:
            an_equation(self.equation)
        if self.constant is not None:
            positive("nu", self.constant)
        positive("length", self.length)
        one_boundary(self.boundary)
        if self.final_time is not None:
            positive("final time", self.final_time)


@dataclass(frozen=True)
class _Content:
    """What the arrays of a file mean.

    Attributes:
        equation: what they solve.
        recipe: of the equation, if the program knows it.
        names: of the fields as they will be stored: that which is given (None if there is none) and the solution.
        given: the initial field or the coefficient.
        solution: with time as its last axis if `has_time`.
        dimension: axes of space.
        has_time: whether there are several instants, or may be.
        instants: `t`.
    """

    equation: str
    recipe: type[Recipe] | None
    names: tuple[str, str]
    given: Array | None
    solution: Array
    dimension: int
    has_time: bool
    instants: Array | None


def import_mat(
    source: Path,
    out: Path,
    description: MatDescription,
    progress: Callable[[int, int], None] | None = None,
    remark: Callable[[str], None] | None = None,
) -> None:
    """Turn a published `.mat` file, or an HDF5 file with arrays of the same names, into a dataset.

    Args:
        source: the file.
        out: the dataset to write.
        description: what the file does not say.
        progress: called with (samples done, samples).
        remark: called with what was assumed, and what is notable about the data.

    Raises:
        InputError: no such file, not a `.mat` file, arrays missing or of shapes that do not fit, an equation that
            nothing tells, a grid that has the end point of its period, values not finite.
    """
    say = remark or (lambda text: None)
    with contents_of(source, ("equation", "t", *(name for pair in _PAIRS for name in pair))) as contents:
        content = _content(source, contents, description, say)
        if contents.others:
            say(f"left out: {', '.join(contents.others)}")
        for axis in description.drop_endpoint:
            content = _without_end_point(content, axis)
        layout = _layout(source, content, description, say)

        def read(samples: slice) -> dict[str, np.ndarray]:
            solution = np.asarray(content.solution[samples])
            values = {content.names[1]: np.moveaxis(solution, -1, 1) if content.has_time else solution}
            if content.given is not None:
                values[content.names[0]] = np.asarray(content.given[samples])
            return values

        samples = content.solution.shape[0]
        ingest(out, surveyed(layout, samples, read, say), samples, read, progress)


def export_mat(data: Dataset, out: Path) -> None:
    """Write `a`, `u`, `t` and the name of the equation as MATLAB's version-5 format, time last.

    Args:
        data: an open dataset on a regular grid.
        out: the file to write.

    Raises:
        InputError: data on other than a line or square, or of several fields; an array above 2 GiB, which the format
            cannot hold; or the folder cannot be written to.
    """
    from scipy.io import savemat

    start, name = _pair(data)
    size = data.variable(name).dtype.itemsize * math.prod(data.variable(name).shape)
    if size > _LARGEST:
        raise InputError(f"u would have {size / 1e9:.1f} GB; a .mat file holds 2.1 GB (use `kitipde export well`)")
    values = data.read(name)
    if "time" in data.fields[name]:
        values = np.moveaxis(values, 1, -1)
    times = data.times if data.times is not None else np.zeros(0)
    arrays: dict[str, Any] = {"u": values, "t": times, "equation": data.equation}
    if start is not None:
        arrays["a"] = start
    with atomic_path(out) as temporary, open(temporary, "wb") as file:
        savemat(file, arrays, do_compression=False)


def _pair(data: Dataset) -> tuple[Float[np.ndarray, "samples *grid"] | None, str]:
    """`a`, if there is one, and the name of `u`: by the equation, or else the only target and the only input.

    Raises:
        InputError: the arrays of a `.mat` file cannot hold what there is.
    """
    grid = data.geometry
    if not (isinstance(grid, Grid) and grid.dimension < 3 and len(set(grid.shape)) == len(set(grid.lengths)) == 1):
        raise InputError(
            f"{data.path} is on {_where(grid)}; a .mat file holds a line or a square (use `kitipde export well`)"
        )
    if recipe_with_main_field(data.equation):
        return initial_field(data), main_field(data)
    fields = tuple(name for name in data.fields if data.role(name) == "field")
    given, wanted = (data.problem.inputs, data.problem.targets) if data.problem else (fields, fields)
    if len(given) == len(wanted) == 1 and {*fields} <= {*given, *wanted}:
        if given == wanted:
            return None, wanted[0]
        if "time" not in data.fields[given[0]]:
            return data.read(given[0]), wanted[0]
    raise InputError(
        f"{data.path} has {len(fields)} fields ({', '.join(fields)}); a .mat file holds one, and what it is learnt "
        "from by default (use `kitipde export well`)"
    )


def _where(geometry: Geometry) -> str:
    if not isinstance(geometry, Grid):
        return "a mesh"
    sides = " × ".join(f"{length:g}" for length in geometry.lengths)
    return f"{' × '.join(map(str, geometry.shape))} points of a box {sides}"


def _content(source: Path, contents: Contents, description: MatDescription, say: Callable[[str], None]) -> _Content:
    arrays = contents.arrays
    keys = next((pair for pair in _PAIRS if pair[1] in arrays), None)
    if keys is None:
        raise InputError(f"{source} has no array 'u' (expected: u, and a and t where there are any, or coeff and sol)")
    given, solution, instants = arrays.get(keys[0]), arrays[keys[1]], arrays.get("t")
    equation = description.equation or _told(source, contents, keys, say)
    if not equation:
        shapes = " and ".join(f"{key} {arrays[key].shape}" for key in keys if key in arrays)
        raise InputError(
            f"{source}: {shapes} can be of any equation; say which with --equation NAME "
            f"({', '.join(EQUATIONS)}, darcy, or a name of your own)"
        )
    recipe = recipe_with_main_field(equation)
    known = recipe is not None
    if known and keys != _PAIRS[0]:
        raise InputError(
            f"{source}: {' and '.join(keys)} are of Darcy's flow, not of {equation} (whose arrays are a and u)"
        )
    if not known and (near := get_close_matches(equation, EQUATIONS, 1)):
        say(f"'{equation}' is not an equation of this program (did you mean '{near[0]}'?): fields keep their names")
    if recipe is not None and recipe.dimension == 2 and _lost_its_time(solution, given, instants):
        solution = WithTime(solution)
    shape = solution.shape
    has_time = _has_time(source, shape, given, instants, recipe)
    dimension = len(shape) - 1 - has_time
    if 0 in shape or dimension not in (1, 2):
        raise InputError(f"{source}: {keys[1]} has the shape {shape} (expected: sample × x (× y) (× time))")
    if given is not None and given.shape != shape[: 1 + dimension]:
        raise InputError(f"{source}: {keys[0]} has the shape {given.shape}, which does not fit {keys[1]}'s {shape}")
    if dimension == 2 and shape[1] != shape[2]:
        raise InputError(f"{source}: {keys[1]} is {shape[1]} × {shape[2]} points (expected: a square)")
    names = keys if recipe is None else (start_field(recipe), recipe.main_field)
    return _Content(equation, recipe, names, given, solution, dimension, has_time, instants)


def _told(source: Path, contents: Contents, keys: tuple[str, str], say: Callable[[str], None]) -> str:
    """The equation, by what the file says, by the names in it, or by its own."""
    if word := contents.words.get("equation"):
        an_equation(word)
        return word
    if keys == ("coeff", "sol"):
        return "darcy"
    for start, equation in _PUBLISHED.items():
        if re.match(start, source.name, re.IGNORECASE):
            say(f"taken as {equation}, by the name of the file (--equation NAME says otherwise)")
            return equation
    return ""


def _has_time(
    source: Path, shape: tuple[int, ...], given: Array | None, instants: Array | None, recipe: type[Recipe] | None
) -> bool:
    """Whether the last axis is time.

    Raises:
        InputError: it cannot be told, or the shape is not one of the equation's.
    """
    if recipe is not None:
        flat = recipe.dimension == 1
        if len(shape) not in ((2, 3) if flat else (4,)):
            expected = "sample × x (× time)" if flat else "sample × x × y × time"
            raise InputError(
                f"{source}: u has the shape {shape}, which is not one of {recipe.equation} (expected: {expected})"
            )
        return len(shape) > 2
    if len(shape) != 3:
        return len(shape) == 4
    if given is not None:
        return len(given.shape) == 2
    frames = math.prod(instants.shape) if instants is not None else 0
    if frames == shape[2] and frames > 1:
        return True
    if shape[1] == shape[2]:
        return False
    raise InputError(
        f"{source}: u has the shape {shape}, whose last axis could be y or time: t, or an array a of (sample, x), tells"
    )


def _lost_its_time(u: Array, start: Array | None, instants: Array | None) -> bool:
    """Whether u is sample × x × y of one frame: MATLAB drops an axis of length one from the end."""
    if len(u.shape) != 3 or u.shape[1] != u.shape[2]:
        return False
    told = (start is not None and start.shape == u.shape, instants is not None and math.prod(instants.shape) == 1)
    # One of them is needed, and the other may not contradict it.
    return told[0] if instants is None else told[1] and (start is None or told[0])


def _without_end_point(content: _Content, axis: str) -> _Content:
    if axis not in _AXES[: content.dimension]:
        raise InputError(
            f"--drop-endpoint {axis}: no such axis (allowed here: {', '.join(_AXES[: content.dimension])})"
        )
    place = 1 + _AXES.index(axis)
    few = few_of(content.solution.shape[0])
    arrays = {content.names[0]: content.given, content.names[1]: content.solution}
    there = {name: array for name, array in arrays.items() if array is not None}
    looked = {
        name: (np.concatenate([np.asarray(array[slice(one, one + 1)]) for one in few]), place)
        for name, array in there.items()
    }
    refuse_other_end_point(axis, looked)
    given = None if content.given is None else WithoutEndPoint(content.given, place)
    return replace(content, given=given, solution=WithoutEndPoint(content.solution, place))


def _layout(source: Path, content: _Content, description: MatDescription, say: Callable[[str], None]) -> Layout:
    equation, points = content.equation, content.solution.shape[1]
    if content.dimension == 2 and points != content.solution.shape[2]:
        raise InputError(f"{source}: without the end point the grid is no square (--drop-endpoint x and y)")
    constant = (content.recipe and coefficient(content.recipe)) or "nu"
    config: dict[str, Any] = {"equation": equation, "imported": source.name, "length": description.length}
    attributes: dict[str, AttributeValue] = {
        "title": f"imported from {source.name}",
    }
    if description.constant is not None:
        config[constant] = attributes[constant] = description.constant
    if description.boundary != "periodic":
        config["boundary"] = description.boundary
    axes = _AXES[: content.dimension]
    grid = _grid(axes, points, description)
    times = _times(source, content, description, say)
    dims = ("sample", *(("time",) if content.has_time else ()), *axes)
    title = "velocity" if equation == "burgers" else content.names[1]
    variables = [Variable(content.names[1], dims, "1", title)]
    if content.given is not None:
        # A single instant is that of the solution.
        extra: dict[str, AttributeValue] = {} if content.has_time else {"coordinates": ""}
        at_start = f"{title} at the start" if content.recipe else content.names[0]
        variables.append(Variable(content.names[0], ("sample", *axes), "1", at_start, extra=extra))
    return Layout(equation, json.dumps(config, sort_keys=True), grid, tuple(variables), attributes, tuple(times))


def _grid(names: tuple[str, ...], points: int, description: MatDescription) -> Grid:
    length, boundary = description.length, description.boundary
    if boundary == "periodic":
        return periodic_grid((points,) * len(names), (length,) * len(names))
    if points < 2:
        raise InputError(
            f"an axis of {points} points does not have both of its ends, which --boundary {boundary} needs"
        )
    places = np.linspace(0.0, length, points)
    return Grid(tuple(Axis(name, places, (0.0, length), (boundary, boundary)) for name in names))


def _times(
    source: Path, content: _Content, description: MatDescription, say: Callable[[str], None]
) -> list[Coordinate]:
    instants = content.instants
    if instants is not None and not content.has_time and 0 in instants.shape:
        instants = None
    frames = content.solution.shape[-1] if content.has_time else 1
    final = description.final_time
    if final is None and content.recipe:
        final = 1.0
    if instants is None and frames == 1 and final is None:
        return []
    values = _instants(source, instants, frames, final)
    if instants is None and frames > 1:
        say(f"{source.name} has no t: the {frames} frames are numbered from 1")
    return [Coordinate("time", values if content.has_time else values[0], "1", "time since the initial condition", "T")]


def _instants(source: Path, instants: Any, frames: int, final_time: float | None) -> Float[np.ndarray, " frames"]:
    if instants is None:
        return np.array([1.0 if final_time is None else final_time]) if frames == 1 else np.arange(1.0, frames + 1)
    values = np.asarray(instants[...], np.float64).ravel()
    if len(values) != frames or not np.isfinite(values).all() or not (np.diff(values) > 0).all():
        raise InputError(f"{source}: t has {len(values)} values that do not fit the {frames} frames of the solution")
    return values
