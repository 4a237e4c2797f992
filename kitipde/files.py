"""Files that are either whole or not there."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datagen.files import another_lives, replacing
from kitipde.errors import InputError

__all__ = ["held", "in_turn", "remove_leftovers", "write_atomically", "write_json"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new one.

    A symbolic link stays, and what it leads to is written.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Remove files of a folder that `write_atomically` was killed over; not those of another process that lives."""
    for path in folder.glob(".*.tmp"):
        number = path.name.split(".")[-2]
        if number.isdecimal() and not another_lives(int(number)):
            path.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically."""
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While in this block no other process is in one for the same folder. The system lets go when a process dies.

    Raises:
        InputError: if another process is; it says which.
    """
    try:
        import fcntl
    except ImportError:
        # Not a POSIX system: nothing else offers a lock that a killed process leaves behind open.
        yield
        return
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{folder} is in use by {holder}; wait for it or stop it") from error
        except OSError as error:
            raise InputError(f"cannot lock {folder}: {error.strerror}; use a folder whose disk has locks") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Processes are in this block for a folder one after another: each waits for those before it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise InputError(f"cannot lock {folder}: {error.strerror}; use a folder whose disk has locks") from error
        yield
