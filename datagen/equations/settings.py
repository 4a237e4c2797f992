"""What a setting of a recipe changes: the data themselves, or only how finely they are computed and stored.

A *numerical* setting changes neither the equation nor the initial field of any seed: resolution, tolerance, stored
frames, mesh. Files of recipes that differ in such settings alone hold the same samples under the same seeds, so none of
them is new to a network that was trained on another. Whether a setting is numerical is declared where it is defined:

    @dataclass(frozen=True)
    class Waves:
        speed: float = 1.0
        tolerance: float = numerical(1e-6)

What is not declared may change the data.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

__all__ = ["ALWAYS_NUMERICAL", "NUMERICAL_SETTINGS", "declared_in", "numerical", "numerical_settings", "without"]

NUMERICAL_SETTINGS = "numerical_settings"
"""The attribute of a file that names them, apart by spaces."""

ALWAYS_NUMERICAL = frozenset({"samples", "seed", "device"})
"""These say which seeds there are and where they were computed, in every recipe."""

_MARK = "numerical"

Value = TypeVar("Value")


def numerical(default: Value) -> Value:
    """A field of a recipe's dataclass that changes neither the equation nor the initial fields of its seeds."""
    return dataclasses.field(default=default, metadata={_MARK: True})


def numerical_settings(recipe: Any) -> tuple[str, ...]:
    """The settings that a recipe, or its class, declares as numerical."""
    return tuple(field.name for field in dataclasses.fields(recipe) if field.metadata.get(_MARK, False))


def declared_in(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The numerical settings that a file names; none in one of an earlier version, or of no recipe."""
    return tuple(str(attributes.get(NUMERICAL_SETTINGS, "")).split())


def without(settings: Mapping[str, Any], numerical: Iterable[str]) -> dict[str, Any]:
    """The settings that decide what a seed means."""
    left_out = ALWAYS_NUMERICAL.union(numerical)
    return {name: value for name, value in settings.items() if name not in left_out}
