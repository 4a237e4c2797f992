"""Ranges of what a user gives, refused with the name, the value and what is allowed."""

import math
import re
from pathlib import Path

from datagen.errors import InputError

__all__ = ["a_file", "an_equation", "at_least", "finite", "number_of", "positive"]


def a_file(path: Path) -> None:
    """Raise `InputError` unless a file is there."""
    if path.is_dir():
        raise InputError(f"{path} is a folder (allowed: a file)")
    if not path.is_file():
        raise InputError(f"no such file: {path}")


def an_equation(name: str) -> None:
    """Raise `InputError` unless a name is one that an equation can have."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InputError(f"invalid equation '{name}' (expected small letters, digits and single hyphens)")


def at_least(name: str, value: int, least: int) -> None:
    """Raise `InputError` unless value ≥ least."""
    if value < least:
        raise InputError(f"{name} {value} is too small (allowed: {least} or more)")


def number_of(name: str, value: int, least: int) -> None:
    """Raise `InputError` unless least ≤ value ≤ 10^12, above which no machine has the memory or the disk."""
    at_least(name, value, least)
    if value > 10**12:
        raise InputError(f"{name} {value} is too large (allowed: up to 10^12)")


def finite(name: str, value: float) -> None:
    """Raise `InputError` unless value is a finite number."""
    if not math.isfinite(value):
        raise InputError(f"{name} {value:g} is not a finite number")


def positive(name: str, value: float) -> None:
    """Raise `InputError` unless value is finite and > 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} {value:g} is not a positive number")
