"""What stands beside a file while it is made: its parts, and itself under a temporary name.

A file that is made anew (`--overwrite`) stays until the new one takes its place. Beside the new one's parts lies then a
note of its settings, by which the work is continued after an interruption although there is a file of that name.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from datagen.errors import InputError

__all__ = ["REPLACES", "being_replaced", "clean_up", "forget_parts", "parts_folder", "temporary_name"]

REPLACES = "replaces.json"
"""The note: the settings of the new file."""


def parts_folder(path: Path) -> Path:
    """Where the parts of an unfinished file wait."""
    return path.with_name(path.name + ".parts")


def temporary_name(path: Path) -> Path:
    """The name under which this process writes a file."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def clean_up(path: Path) -> None:
    """Remove what interruptions have left beside a finished file; what cannot be removed stays."""
    shutil.rmtree(parts_folder(path), ignore_errors=True)
    for item in path.parent.iterdir():
        if item.name.startswith(f".{path.name}.") and item.suffix == ".tmp":
            with suppress(OSError):
                item.unlink()


def forget_parts(path: Path, settings: str) -> None:
    """Forget what was begun of a file, for a fresh start with other settings; the file itself stays.

    Raises:
        InputError: it cannot be removed.
    """
    folder = parts_folder(path)
    try:
        if folder.exists():
            shutil.rmtree(folder)
        if path.exists():
            folder.mkdir()
            (folder / REPLACES).write_text(settings)
    except OSError as error:
        raise InputError(f"cannot remove {folder}: {error.strerror}") from error


def being_replaced(path: Path, settings: str) -> bool:
    """Whether an interruption has left parts of a file with these settings that is to replace the one that is there."""
    note = parts_folder(path) / REPLACES
    return note.exists() and note.read_text() == settings
