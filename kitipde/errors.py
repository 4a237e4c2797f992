"""Errors a user can cause; `datagen` raises the same ones, so a command line needs to catch one class only."""

from datagen.errors import InputError, unknown

__all__ = ["InputError", "unknown"]
