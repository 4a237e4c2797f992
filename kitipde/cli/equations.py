"""The commands `kitipde generate EQUATION`, made from the settings of each equation's recipe when one is asked for."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from datagen.checks import number_text, parse_number
from datagen.equations.recipe import Recipe
from datagen.equations.settings import Setting, settings_of
from datagen.errors import InputError, unknown
from datagen.registry import Entry

__all__ = ["command_of"]


def command_of(entry: Entry, recipe: type[Recipe], make: Callable[..., None]) -> Any:
    """The command that makes a dataset of an equation.

    Args:
        entry: how the equation is listed.
        recipe: the class of its recipes.
        make: makes the dataset of a recipe; its keyword arguments are options of the command, too.

    Raises:
        InputError: a setting of the recipe cannot be an option.
    """
    options = _options(recipe)
    shared = [each for each in inspect.signature(make).parameters.values() if each.kind is each.KEYWORD_ONLY]
    own = [*_preset_parameter(recipe), *(option.parameter() for option in options)]
    if taken := {each.name for each in shared} & {each.name for each in own}:
        raise InputError(f"setting '{min(taken)}' of {entry.name} has the name of an option that every equation has")

    def command(**given: Any) -> None:
        ways = {each.name: given.pop(each.name) for each in shared}
        values = _preset_values(recipe, given)
        for option in options:
            values |= option.values(given)
        make(recipe(**values), **ways)

    # What must be given stands first, and how it is made behind the settings.
    ordered = sorted([*own, *shared], key=lambda each: (each.default is not each.empty, each in shared))
    command.__signature__ = inspect.Signature(ordered)  # pyright: ignore[reportFunctionMemberAccess]
    summary = next(iter((inspect.getdoc(recipe) or "").splitlines()), "")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(entry.name, help=f"{summary} ({entry.help})" if entry.package else entry.help)(command)
    return typer.main.get_command(single)


@dataclass(frozen=True)
class _Option:
    """A setting on the command line; or two, which are the least and the most of a range.

    Attributes:
        settings: one or two.
        in_presets: whether its default is that of a preset.
    """

    settings: tuple[Setting, ...]
    in_presets: bool

    @property
    def name(self) -> str:
        return self.settings[0].option.removeprefix("--").replace("-", "_")

    def parameter(self) -> inspect.Parameter:
        """The option as typer reads it. Numbers are read as texts: "2pi" is one."""
        first, ranged = self.settings[0], len(self.settings) == 2
        if first.kind is float:
            kind, default = str, ":".join(number_text(each.default) for each in self.settings)
        else:
            kind, default = first.kind, first.default
        flags = f"{first.option}/--no-{first.option.removeprefix('--')}" if kind is bool else first.option
        info = typer.Option(
            flags,
            metavar="LEAST:MOST" if ranged else first.metavar or None,
            help=first.help,
            show_default="as in the preset" if self.in_presets else True,
        )
        if self.in_presets:
            kind, default = kind | None, None
        return _parameter(self.name, Annotated[kind, info], default)

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a command line says, by the names of the recipe's fields; nothing if it leaves that to a preset.

        Raises:
            InputError: a number or a range is none.
        """
        value, first = given[self.name], self.settings[0]
        if value is None:
            return {}
        if len(self.settings) == 2:
            return dict(zip((each.name for each in self.settings), _range(first.option, value), strict=True))
        return {first.name: parse_number(first.label, value) if first.kind is float else value}


def _options(recipe: type[Recipe]) -> list[_Option]:
    """One for each setting, or for the two of a range.

    Raises:
        InputError: settings that are no range have the same option.
    """
    in_presets = {name for preset in recipe.presets.values() for name in preset.settings}
    found: dict[str, tuple[Setting, ...]] = {}
    for each in settings_of(recipe):
        if each.option:
            found[each.option] = (*found.get(each.option, ()), each)
    for option, settings in found.items():
        if len(settings) > 2 or (len(settings) == 2 and {each.kind for each in settings} != {float}):
            names = " and ".join(each.name for each in settings)
            raise InputError(f"settings {names} have the same option {option} (expected: two floats, a range)")
    return [_Option(settings, settings[0].name in in_presets) for settings in found.values()]


def _preset_parameter(recipe: type[Recipe]) -> list[inspect.Parameter]:
    """The choice of a preset, if there are any."""
    if not recipe.presets:
        return []
    texts = ", or ".join(f"{name} ({preset.help})" for name, preset in recipe.presets.items())
    return [
        _parameter("preset", Annotated[str, typer.Option(metavar="NAME", help=f"{texts}.")], next(iter(recipe.presets)))
    ]


def _preset_values(recipe: type[Recipe], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the preset that was chosen.

    Raises:
        InputError: there is none of that name.
    """
    if not recipe.presets:
        return {}
    if given["preset"] not in recipe.presets:
        raise unknown("preset", given["preset"], recipe.presets)
    return dict(recipe.presets[given["preset"]].settings)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _range(option: str, text: str) -> list[float]:
    """Both ends of "a:b", or of a single number."""
    least, _, most = text.partition(":")
    try:
        return [parse_number(option, end) for end in (least, most or least)]
    except InputError:
        raise InputError(f"invalid {option} '{text}' (expected LEAST:MOST, or one number)") from None
