"""The commands `kitipde generate EQUATION`, made from the settings of each equation's recipe when one is asked for."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
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
    own = list(_parameters(recipe, options))
    if taken := {each.name for each in shared} & {each.name for each in own}:
        raise InputError(f"setting '{min(taken)}' of {entry.name} has the name of an option that every equation has")

    def command(**given: Any) -> None:
        ways = {each.name: given.pop(each.name) for each in shared}
        make(recipe(**_values(recipe, options, given)), **ways)

    # What must be given stands first, and how it is made behind the settings.
    ordered = sorted([*own, *shared], key=lambda each: (each.default is not each.empty, each in shared))
    command.__signature__ = inspect.Signature(ordered)  # pyright: ignore[reportFunctionMemberAccess]
    help = entry.help if not entry.package else f"{(inspect.getdoc(recipe) or '').partition(chr(10))[0]} ({entry.help})"
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(entry.name, help=help, no_args_is_help=False)(command)
    return typer.main.get_command(one)


def _options(recipe: type[Recipe]) -> dict[str, list[Setting]]:
    """The settings by their options; two of one option are the ends of a range."""
    found: dict[str, list[Setting]] = {}
    for each in settings_of(recipe):
        if each.option:
            found.setdefault(each.option, []).append(each)
    return found


def _parameters(recipe: type[Recipe], options: Mapping[str, list[Setting]]) -> Iterator[inspect.Parameter]:
    """The options as typer reads them."""
    if recipe.presets:
        texts = ", or ".join(f"{name} ({preset.help})" for name, preset in recipe.presets.items())
        yield _parameter("--preset", str, next(iter(recipe.presets)), "NAME", f"{texts}.")
    in_presets = {name for preset in recipe.presets.values() for name in preset.settings}
    for option, (first, *others) in options.items():
        kind = str if first.kind is float else first.kind
        metavar = "LEAST:MOST" if others else first.metavar
        default = ":".join(_text(each) for each in (first, *others)) if kind is str else first.default
        if first.name in in_presets:
            yield _parameter(option, kind, None, metavar, first.help, "as in the preset")
        else:
            required = first.default is MISSING
            yield _parameter(option, kind, inspect.Parameter.empty if required else default, metavar, first.help)


def _parameter(
    option: str, kind: type, default: Any, metavar: str, help: str, show_default: bool | str = True
) -> inspect.Parameter:
    flags = f"{option}/--no-{option[2:]}" if kind is bool else option
    info = typer.Option(flags, metavar=metavar or None, help=help, show_default=show_default)
    annotation = Annotated[kind if default is not None else kind | None, info]
    return inspect.Parameter(_name(option), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _name(option: str) -> str:
    return option[2:].replace("-", "_")


def _text(setting: Setting) -> str:
    return number_text(setting.default) if setting.kind is float else str(setting.default)


def _values(recipe: type[Recipe], options: Mapping[str, list[Setting]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a command line says, by the names of the recipe's fields.

    Raises:
        InputError: a number or a range is none, or there is no such preset.
    """
    values: dict[str, Any] = {}
    if recipe.presets:
        if given["preset"] not in recipe.presets:
            raise unknown("preset", given["preset"], recipe.presets)
        values = dict(recipe.presets[given["preset"]].settings)
    for option, settings in options.items():
        value = given[_name(option)]
        if value is None:
            continue
        if len(settings) == 2:
            values |= zip((each.name for each in settings), _range(option, value), strict=True)
        else:
            values[settings[0].name] = parse_number(settings[0].label, value) if settings[0].kind is float else value
    return values


def _range(option: str, text: str) -> list[float]:
    """Both ends of "a:b", or of a single number."""
    least, _, most = text.partition(":")
    try:
        return [parse_number(option, end) for end in (least, most or least)]
    except InputError:
        raise InputError(f"invalid {option} '{text}' (expected LEAST:MOST, or one number)") from None
