"""All recipes by the name of their equation, and one from settings in a file."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.equations.settings import numerical_settings, without
from datagen.errors import InputError, unknown

__all__ = ["RECIPES", "AnyRecipe", "parse_number", "physical_settings", "recipe_from"]

AnyRecipe = Burgers | NavierStokes | Heat | Airfoil

RECIPES: dict[str, type[Burgers] | type[NavierStokes] | type[Heat] | type[Airfoil]] = {
    recipe.equation: recipe for recipe in (Burgers, NavierStokes, Heat, Airfoil)
}


def recipe_from(settings: Mapping[str, Any]) -> AnyRecipe:
    """The recipe that a mapping of its attributes and `equation` describes; what is left out takes its default.

    Raises:
        InputError: no such equation or key, a value of the wrong kind, or one that the recipe refuses.
    """
    equation = str(settings.get("equation", ""))
    if equation not in RECIPES:
        raise unknown("equation", equation, RECIPES)
    fields = {field.name: field.type for field in dataclasses.fields(RECIPES[equation])}
    values = {}
    for key, value in settings.items():
        if key == "equation":
            continue
        if key not in fields:
            raise unknown(f"key of {equation}", str(key), fields)
        values[key] = _converted(key, value, fields[key])
    return RECIPES[equation](**values)


def physical_settings(config: Mapping[str, Any], declared: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that decide the equation and the initial field of each seed.

    Args:
        config: the settings that made a file.
        declared: those of them that the file, or a run on it, names as numerical. Without any, a recipe of this program
            is asked: earlier versions did not name them.
    """
    declared = tuple(declared)
    recipe = RECIPES.get(str(config.get("equation", "")))
    if not declared and recipe is not None:
        names = {field.name for field in dataclasses.fields(recipe)}
        # Another recipe may have taken the name of the equation.
        if config.keys() - {"equation", "device"} <= names:
            declared = numerical_settings(recipe)
    return without(config, declared)


def parse_number(name: str, text: str) -> float:
    """A number, or a multiple of pi such as "2pi".

    Raises:
        InputError: it is neither.
    """
    cleaned = text.strip().lower().replace("*", "").replace(" ", "")
    factor = math.pi if cleaned.endswith("pi") else 1.0
    number = cleaned.removesuffix("pi")
    try:
        return factor * float(number or ("1" if factor != 1 else ""))
    except ValueError:
        raise InputError(f"{name} '{text}' is not a number (allowed: a number, or a multiple like 2pi)") from None


def _converted(key: str, value: Any, kind: Any) -> Any:
    # YAML takes 1e-3 for a word, since it wants a point in a number.
    if kind is float and isinstance(value, str):
        return parse_number(key, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{key} '{value}' is not of the kind {kind.__name__}")
    return value
