"""What a command may write to."""

from collections.abc import Iterable
from pathlib import Path

from datagen.errors import InputError

__all__ = ["refuse_folder", "refuse_source", "refuse_taken"]


def refuse_folder(out: Path) -> None:
    """Raise `InputError` if a folder has the name of the file to be made."""
    if out.is_dir():
        raise InputError(f"cannot write {out}: it is a folder; give the name of a file")


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
