"""What stands beside a file while it is made: its parts, and itself under a temporary name.

A file that is made anew (`--overwrite`) stays until the new one takes its place. Beside the new one's parts lies then a
note of its settings, by which the work is continued after an interruption although there is a file of that name.
"""

import shutil
from contextlib import suppress
from glob import escape
from pathlib import Path

from datagen.errors import InputError
from datagen.files import another_lives, real, reason, temporary_name

__all__ = ["REPLACES", "being_replaced", "clean_up", "forget_parts", "own_folder", "parts_folder", "remove_leftovers"]

REPLACES = "replaces.json"
"""The note: the settings of the new file."""


def parts_folder(path: Path) -> Path:
    """Where the parts of an unfinished file wait for whoever continues it."""
    place = real(path)
    return place.with_name(place.name + ".parts")


def own_folder(path: Path) -> Path:
    """Where this process keeps pieces of a file that nobody else can continue."""
    return temporary_name(parts_folder(path))


def clean_up(path: Path) -> None:
    """Remove what interruptions have left beside a finished file; what cannot be removed stays."""
    shutil.rmtree(parts_folder(path), ignore_errors=True)
    remove_leftovers(path)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that live no more have left half-written of a file; parts that can be continued stay."""
    place = real(path)
    for item in place.parent.glob(f".{escape(place.name)}.*.tmp"):
        number = item.name.split(".")[-2]
        if number.isdecimal() and another_lives(int(number)):
            continue
        if item.is_dir():
            shutil.rmtree(item, ignore_errors=True)
        else:
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
        raise InputError(f"cannot remove {folder}: {reason(error)}") from error


def being_replaced(path: Path, settings: str) -> bool:
    """Whether an interruption has left parts of a file with these settings that is to replace the one that is there."""
    note = parts_folder(path) / REPLACES
    return note.exists() and note.read_text() == settings
