"""The field that a data set is about, and its initial condition."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.burgers import Burgers
from datagen.equations.registry import RECIPES, recipe_from
from datagen.errors import InputError, unknown
from datagen.store.reader import Dataset

__all__ = ["initial_field", "main_field"]

_MAIN = {"burgers": "u", "navier-stokes": "vorticity", "heat": "temperature"}


def main_field(data: Dataset) -> str:
    """The name of the field that the equation is for.

    Raises:
        InputError: the equation has no single one, or the file has it under another name.
    """
    if data.equation not in _MAIN:
        raise InputError(f"{data.path} holds {data.equation} (allowed here: {', '.join(_MAIN)})")
    name = _MAIN[data.equation]
    if name not in data.fields:
        raise unknown(f"field of {data.path} for {data.equation}", name, data.fields)
    return name


def initial_field(data: Dataset) -> Float[np.ndarray, "samples *grid"] | None:
    """The state at time 0: as stored, or drawn again from the seed; None if the file tells neither."""
    for name in ("u0", f"initial_{main_field(data)}"):
        if name in data.fields:
            return data.read(name)
    settings = dict(data.config)
    if not {field.name for field in dataclasses.fields(RECIPES[data.equation])} <= set(settings):
        return None
    settings.pop("device", None)
    recipe = recipe_from(settings)
    if isinstance(recipe, Burgers | Airfoil):
        return None
    stride = recipe.solve_resolution // recipe.resolution
    planes = [recipe.initial([index])[0, ::stride, ::stride].astype(np.float32) for index in range(data.samples)]
    return np.stack(planes)
