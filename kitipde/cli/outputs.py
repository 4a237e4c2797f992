"""What a command may write to."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from datagen.errors import InputError
from datagen.files import real

__all__ = ["refuse_folder", "refuse_source", "refuse_taken"]


def refuse_folder(out: Path) -> None:
    """Raise `InputError` if a folder has the name of the file to be made, or its own cannot be written to."""
    if out.is_dir():
        raise InputError(f"cannot write {out}: it is a folder; give the name of a file")
    # Before any work: the nearest folder that there is has to take it.
    place = next(parent for parent in real(out).absolute().parents if parent.exists())
    if not place.is_dir():
        raise InputError(f"cannot write {out}: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {out}: {os.strerror(errno.EACCES)}")


def refuse_source(out: Path, sources: Iterable[Path]) -> None:
    """Raise `InputError` if the file to be made is one that is read, under whatever name."""
    if out.exists() and any(source.exists() and out.samefile(source) for source in sources):
        raise InputError(f"--out is the file that is read: {out} (allowed: any other name)")


def refuse_taken(out: Path, overwrite: bool, source: Path) -> None:
    """Raise `InputError` if there is something of that name which may not be replaced."""
    refuse_folder(out)
    refuse_source(out, [source])
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; --overwrite replaces it")
