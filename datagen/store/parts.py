"""Where the parts of an unfinished file wait."""

import shutil
from pathlib import Path

from datagen.errors import InputError

__all__ = ["parts_folder", "remove_all"]


def parts_folder(path: Path) -> Path:
    """Where the parts of an unfinished file wait."""
    return path.with_name(path.name + ".parts")


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
