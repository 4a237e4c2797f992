"""The settings of an equation: fields of its recipe's dataclass that say what they are.

    @dataclass(frozen=True)
    class Waves(Recipe):
        speed: float = setting(1.0, "Speed of the waves.", symbol="c")
        tolerance: float = setting(1e-6, "Relative error per frame.", numerical=True)

`kitipde generate waves --speed 2 --tolerance 1e-8` is made from them.

A *numerical* setting changes neither the equation nor the initial field of any seed: resolution, tolerance, stored
frames, mesh. Files of recipes that differ in such settings alone hold the same samples under the same seeds, so none of
them is new to a network that was trained on another. What is not declared as numerical may change the data.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar, get_type_hints

from datagen.errors import InputError

__all__ = [
    "ALWAYS_NUMERICAL",
    "NUMERICAL_SETTINGS",
    "Preset",
    "Setting",
    "declared_in",
    "numerical_settings",
    "setting",
    "settings_of",
    "without",
]

NUMERICAL_SETTINGS = "numerical_settings"
"""The attribute of a file that names them, apart by spaces."""

ALWAYS_NUMERICAL = frozenset({"samples", "seed", "device"})
"""These say which seeds there are and where they were computed, in every recipe."""

_METAVARS = {int: "N", float: "NUMBER", str: "NAME", bool: ""}

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting:
    """A field of a recipe.

    Attributes:
        name: of the attribute.
        kind: int, float, str or bool.
        default: what it is where it is not given.
        help: one line.
        option: on the command line; empty: it is not offered there. Two settings with the same option are the least
            and the most of a range, given as LEAST:MOST.
        metavar: what stands for its value in the help.
        symbol: in the equation; empty: it does not stand there.
        units: of its value.
        numerical: whether it leaves the equation and the initial field of each seed as they are.
    """

    name: str
    kind: type[int] | type[float] | type[str] | type[bool]
    default: Any
    help: str
    option: str
    metavar: str
    symbol: str
    units: str
    numerical: bool

    @property
    def label(self) -> str:
        """Its name for users: in messages, and as an attribute of a file."""
        return self.option.removeprefix("--").replace("-", "_") or self.name


@dataclass(frozen=True)
class Preset:
    """Values of several settings under one name, and one line about them."""

    help: str
    settings: Mapping[str, Any]


def setting(
    default: Value,
    help: str,
    *,
    option: str | None = None,
    metavar: str = "",
    symbol: str = "",
    units: str = "1",
    numerical: bool = False,
) -> Value:
    """A field of a recipe's dataclass; see `Setting`. By default its option is `--` and its name."""
    described = {"help": help, "option": option, "metavar": metavar, "symbol": symbol, "units": units}
    return dataclasses.field(default=default, metadata={**described, "numerical": numerical})


def settings_of(recipe: Any) -> tuple[Setting, ...]:
    """The settings of a recipe, or of its class.

    Raises:
        InputError: one of them has no default, or is of a kind that cannot be typed.
    """
    kinds = get_type_hints(recipe if isinstance(recipe, type) else type(recipe))
    return tuple(_setting(field, kinds[field.name]) for field in dataclasses.fields(recipe))


def _setting(field: "dataclasses.Field[Any]", kind: Any) -> Setting:
    if kind not in _METAVARS or field.default is MISSING:
        raise InputError(f"setting '{field.name}' is a {kind} (expected: int, float, str or bool, with a default)")
    # A plain field says all that it must.
    described = {"help": f"{field.name.replace('_', ' ').capitalize()}.", "option": None, "symbol": "", "units": "1"}
    described |= {"metavar": "", "numerical": False, **field.metadata}
    if described["option"] is None:
        described["option"] = f"--{field.name.replace('_', '-')}"
    described["metavar"] = described["metavar"] or _METAVARS[kind]
    return Setting(field.name, kind, field.default, **described)


def numerical_settings(recipe: Any) -> tuple[str, ...]:
    """The settings that a recipe, or its class, declares as numerical."""
    return tuple(field.name for field in dataclasses.fields(recipe) if field.metadata.get("numerical", False))


def declared_in(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The numerical settings that a file names; none in one of an earlier version, or of no recipe."""
    return tuple(str(attributes.get(NUMERICAL_SETTINGS, "")).split())


def without(settings: Mapping[str, Any], numerical: Iterable[str]) -> dict[str, Any]:
    """The settings that decide what a seed means."""
    left_out = ALWAYS_NUMERICAL.union(numerical)
    return {name: value for name, value in settings.items() if name not in left_out}
