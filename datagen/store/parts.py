"""What stands beside a file while it is made: its parts, and itself under a temporary name."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from datagen.errors import InputError

__all__ = ["clean_up", "parts_folder", "remove_all", "temporary_name"]


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


def remove_all(path: Path) -> None:
    """Forget the file and what was begun of it, for a fresh start.

    Raises:
        InputError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
        if parts_folder(path).exists():
            shutil.rmtree(parts_folder(path))
    except OSError as error:
        raise InputError(f"cannot remove {path}: {error.strerror}") from error
