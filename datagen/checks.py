"""Numbers and names that a user gives, refused with the name, the value and what is allowed."""

import math
import re
from pathlib import Path

from datagen.errors import InputError

__all__ = ["a_file", "an_equation", "at_least", "finite", "number_of", "number_text", "parse_number", "positive"]


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


def number_text(value: float) -> str:
    """The shortest text from which `parse_number` makes the same number."""
    texts = (f"{value:g}", f"{value / math.pi:g}pi")
    return next((text for text in texts if parse_number("", text) == value), repr(value))
