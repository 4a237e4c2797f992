"""Errors a user can cause; `datagen` raises the same ones, so a command line needs to catch one class only."""

from collections.abc import Iterator
from contextlib import contextmanager

from datagen.errors import DamagedError, InputError, UnreadableError, out_of_memory, unknown

__all__ = [
    "DamagedError",
    "InputError",
    "NoMemoryError",
    "SettingsError",
    "Terminated",
    "UnreadableError",
    "blaming_settings",
    "out_of_memory",
    "unknown",
]


class SettingsError(InputError):
    """The settings are to blame: they exclude each other, do not fit the data, or training with them diverges."""


class NoMemoryError(InputError):
    """Memory was not enough: the settings ask for much, or others have taken it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM asked to stop, not Ctrl-C: what can be continued has been saved, and the exit code is 143."""


@contextmanager
def blaming_settings() -> Iterator[None]:
    """In this block wrong input means wrong settings, unless a file cannot be read.

    Raises:
        SettingsError: with the message of what was raised.
    """
    try:
        yield
    except UnreadableError:
        raise
    except InputError as error:
        raise SettingsError(str(error)) from error
