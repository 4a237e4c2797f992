"""Files that are either whole or not there, and why one cannot be opened."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["LOCKED", "another_lives", "flush_folder", "is_locked", "real", "reason", "replacing", "temporary_name"]

LOCKED = "is open in another program, or its file system has no locks (then set HDF5_USE_FILE_LOCKING=FALSE)"
"""Why HDF5 gets no lock."""

# Where locks are switched off, HDF5 goes by a mark that whoever writes leaves in the file until it is closed.
_WHAT_HDF5_SAYS = ("unable to lock file", "file is already open for write")


def real(path: Path) -> Path:
    """The path itself, or what a symbolic link of that name leads to, whether it exists or not."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def temporary_name(path: Path) -> Path:
    """The name under which this process writes a file, in the folder where the file will be."""
    place = real(path)
    return place.with_name(f".{place.name}.{os.getpid()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` when the block ends well, and is removed when it does not.

    A crash at any moment leaves the old content or the new one. Where `path` is a symbolic link, the file that it leads
    to is replaced and the link stays.

    Raises:
        OSError: the file cannot be written, or something that is not a file has its name.
    """
    place, temporary = real(path), temporary_name(path)
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if place.exists() and not place.is_file():
        raise OSError(errno.EEXIST, "it is not a regular file", str(path))
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except OSError as error:
        if error.filename is not None and Path(error.filename) == temporary:
            # What a person knows is the file's own name.
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    flush_folder(place.parent)


def flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def another_lives(process: int) -> bool:
    """Whether a process other than this one has this number."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        # Elsewhere asking would end it.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def is_locked(error: BaseException) -> bool:
    """Whether an error of HDF5, or of what stands above it, says that a file could not be locked."""
    return any(words in str(error) for words in _WHAT_HDF5_SAYS)


def reason(error: OSError) -> str:
    """Why a file could not be written, in a few words."""
    if is_locked(error):
        return f"it {LOCKED}"
    if error.errno is None:
        return str(error)
    # What HDF5 says besides the number is long, and it names no file.
    return error.strerror if error.filename and error.strerror else os.strerror(error.errno)
