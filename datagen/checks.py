"""Ranges of what a user gives, refused with the name, the value and what is allowed."""

import math

from datagen.errors import InputError

__all__ = ["at_least", "positive"]


def at_least(name: str, value: int, least: int) -> None:
    """Raise `InputError` unless value ≥ least."""
    if value < least:
        raise InputError(f"{name} {value} is too small (allowed: {least} or more)")


def positive(name: str, value: float) -> None:
    """Raise `InputError` unless value is finite and > 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} {value:g} is not a positive number")
