"""All equations by name, and recipes from settings in a file."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from datagen.checks import parse_number
from datagen.equations.settings import numerical_settings, settings_of, without
from datagen.errors import InputError, unknown
from datagen.registry import Entry, Registry

if TYPE_CHECKING:
    from datagen.equations.recipe import Recipe

__all__ = ["EQUATIONS", "physical_settings", "recipe_from", "stored_recipe"]


def _flaw(name: str, recipe: Any) -> str:
    # Brings numpy in, which a list of all equations does without.
    from datagen.equations.recipe import Recipe

    if not (isinstance(recipe, type) and issubclass(recipe, Recipe) and "__dataclass_fields__" in recipe.__dict__):
        return f"is not a recipe (expected: a frozen dataclass derived from {Recipe.__module__}.Recipe)"
    equation = getattr(recipe, "equation", "")
    return "" if equation == name else f"calls itself '{equation}' (expected: equation = \"{name}\")"


EQUATIONS: "Registry[type[Recipe]]" = Registry(
    "kitipde.equations",
    "equation",
    (
        Entry("burgers", "datagen.equations.burgers:Burgers", "Burgers' equation: pairs u0 -> u(T), exact."),
        Entry(
            "navier-stokes",
            "datagen.equations.navier_stokes:NavierStokes",
            "Navier-Stokes in two dimensions: vorticity in time.",
        ),
        Entry("heat", "datagen.equations.heat:Heat", "Heat equation in two dimensions with a source, in closed form."),
        Entry(
            "airfoil",
            "datagen.equations.airfoil.cases:Airfoil",
            "Compressible flow (Euler) around NACA airfoils, on a mesh.",
        ),
    ),
    _flaw,
)


def recipe_from(settings: Mapping[str, Any]) -> "Recipe":
    """The recipe that a mapping of its attributes and `equation` describes; what is left out takes its default.

    Raises:
        InputError: no such equation or key, a value of the wrong kind, or one that the recipe refuses.
    """
    equation = str(settings.get("equation", ""))
    recipe = EQUATIONS.load(equation)
    kinds = {each.name: each.kind for each in settings_of(recipe)}
    values = {}
    for key, value in settings.items():
        if key == "equation":
            continue
        if key not in kinds:
            raise unknown(f"key of {equation}", str(key), kinds)
        values[key] = _converted(key, value, kinds[key])
    return recipe(**values)


def stored_recipe(config: Mapping[str, Any]) -> "Recipe | None":
    """The recipe that made a file with these settings; None if it is not one of those registered.

    Raises:
        InputError: a package that brings the equation cannot be imported.
    """
    recipe = _recipe_of(config)
    complete = recipe is not None and {field.name for field in dataclasses.fields(recipe)} <= config.keys()
    return recipe_from({key: value for key, value in config.items() if key != "device"}) if complete else None


def physical_settings(config: Mapping[str, Any], declared: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that decide the equation and the initial field of each seed.

    Args:
        config: the settings that made a file.
        declared: those of them that the file, or a run on it, names as numerical. Without any, the recipe of the
            equation is asked: earlier versions did not name them.
    """
    declared = tuple(declared)
    if not declared and (recipe := _recipe_of(config)) is not None:
        declared = numerical_settings(recipe)
    return without(config, declared)


def _recipe_of(config: Mapping[str, Any]) -> "type[Recipe] | None":
    """The class of recipes that knows all settings of a file; another one may have taken the name of its equation."""
    equation = str(config.get("equation", ""))
    if equation not in EQUATIONS:
        return None
    recipe = EQUATIONS.load(equation)
    names = {field.name for field in dataclasses.fields(recipe)}
    return recipe if config.keys() - {"equation", "device"} <= names else None


def _converted(key: str, value: Any, kind: Any) -> Any:
    # YAML takes 1e-3 for a word, since it wants a point in a number.
    if kind is float and isinstance(value, str):
        return parse_number(key, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{key} '{value}' is not of the kind {kind.__name__}")
    return value
