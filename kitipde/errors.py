"""Errors a user can cause; `datagen` raises the same ones, so a command line needs to catch one class only."""

from datagen.errors import InputError, out_of_memory, unknown

__all__ = ["InputError", "out_of_memory", "unknown"]
