"""What the equation of a stored dataset says about it: main field, initial field, constants."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from datagen.equations.recipe import Recipe
from datagen.equations.registry import EQUATIONS, stored_recipe
from datagen.equations.settings import settings_of
from datagen.errors import InputError, unknown
from datagen.store.reader import Dataset

__all__ = [
    "Constant",
    "coefficient",
    "constants",
    "initial_field",
    "main_field",
    "recipe_with_main_field",
    "start_field",
]


@dataclass(frozen=True)
class Constant:
    """A number of the equation that holds for all samples."""

    name: str
    value: float
    symbol: str
    units: str


def recipe_with_main_field(equation: str) -> type[Recipe] | None:
    """The recipe of an equation that is registered and has one main field; None for any other name."""
    recipe = EQUATIONS.load(equation) if equation in EQUATIONS else None
    return recipe if recipe is not None and recipe.main_field else None


def start_field(recipe: type[Recipe]) -> str:
    """The name under which files hold the main field at time 0."""
    return recipe.start_field or f"initial_{recipe.main_field}"


def coefficient(recipe: type[Recipe]) -> str | None:
    """The name of the first setting that has a symbol: ν, α, …; None if none has."""
    return next((each.label for each in settings_of(recipe) if each.symbol), None)


def main_field(data: Dataset) -> str:
    """The name of the field that the equation is for.

    Raises:
        InputError: the equation has no single one, or the file has it under another name.
    """
    recipe = recipe_with_main_field(data.equation)
    if recipe is None:
        raise InputError(f"{data.path} holds {data.equation} (expected: an equation with one main field)")
    if recipe.main_field not in data.fields:
        raise unknown(f"field of {data.path} for {data.equation}", recipe.main_field, data.fields)
    return recipe.main_field


def initial_field(data: Dataset) -> Float[np.ndarray, "samples *grid"] | None:
    """The main field at time 0: as stored, or drawn again from the seed; None if the file tells neither.

    Raises:
        InputError: the equation has no single main field.
    """
    name = start_field(EQUATIONS.load(data.equation))
    if name in data.fields:
        return data.read(name)
    recipe = stored_recipe(data.config)
    # One at a time: the grid solved on can be much finer.
    drawn = [] if recipe is None else [recipe.start([index]) for index in range(data.samples)]
    fields = [field.astype(np.float32) for field in drawn if field is not None]
    return np.concatenate(fields) if fields else None


def constants(data: Dataset) -> tuple[Constant, ...]:
    """The numbers among a file's attributes that its equation or its importer calls settings."""
    settings = settings_of(EQUATIONS.load(data.equation)) if data.equation in EQUATIONS else ()
    known = {each.label: (each.symbol or each.label, each.units) for each in settings if not each.numerical}
    known = {**{name: (name, "1") for name in data.config}, **known}
    numbers = {name: value for name, value in data.attributes.items() if isinstance(value, float) and name in known}
    return tuple(Constant(name, value, *known[name]) for name, value in numbers.items())
