"""The one error that means "what was given is wrong"."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["DamagedError", "InputError", "UnreadableError", "out_of_memory", "unknown"]

# What torch and the libraries below it say; only some of it has a class of its own.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "Unable to allocate")


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line for a person: what is wrong, its value, and what is allowed. Command lines print it as it
    is and exit with code 2; nothing has been written when it is raised.
    """


class UnreadableError(InputError):
    """A file cannot be read now: no settings are to blame."""


class DamagedError(UnreadableError):
    """A file is not what was once written."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that does not exist: it names the nearest valid one, then all of them.

    Args:
        kind: what the name should have been, in words ("config key", "residual kind").
        name: what was given.
        allowed: every valid name.
    """
    names = sorted(allowed)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    return InputError(f"unknown {kind} '{name}'{hint} (allowed: {', '.join(names)})")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough, on a CPU or a GPU."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)
