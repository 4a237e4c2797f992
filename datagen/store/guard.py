"""Arrays of HDF5 files from strangers: what is read is what lies in the file, and no more than can lie there."""

import mmap
from pathlib import Path

import h5py

__all__ = ["check_heaps", "guarded"]

# Deflate packs at most 1032 bytes into one; small arrays may be left to their fill value.
_LARGEST_EXPANSION, _SMALL = 1100, 1024 * 1024

# Texts of variable length lie in collections of this signature, near the start and the end of our files.
_HEAP, _HEADER = b"GCOL\x01\0\0\0", 16
_SEARCHED = 64 * 1024 * 1024


def check_heaps(path: Path) -> None:
    """Look for the damage that HDF5 never returns from: a piece of a global heap that has no length.

    The library walks from piece to piece by their lengths, which no checksum protects. The first and the last 64 MB of
    a file are searched; ours have their texts there, whatever their size.

    Raises:
        OSError: there is such a piece.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for first, last in ((0, _SEARCHED), (max(_SEARCHED, len(content) - _SEARCHED), len(content))):
            place = content.find(_HEAP, first, last)
            while place >= 0:
                _walk(content, place)
                place = content.find(_HEAP, place + 1, last)


def _walk(content: mmap.mmap, start: int) -> None:
    def number(place: int, size: int) -> int:
        return int.from_bytes(content[place : place + size], "little")

    place, end = start + _HEADER, min(start + number(start + 8, 8), len(content))
    while place + _HEADER <= end:
        length = number(place + 8, 8)
        # A piece with the index 0 is what is left free; its length counts its own header.
        step = (length if number(place, 2) == 0 else _HEADER + (length + 7) // 8 * 8) % 2**64
        if step == 0:
            raise OSError("the heap of its texts is damaged")
        place += step


def guarded(file: h5py.File, name: str, of_numbers: bool = True) -> h5py.Dataset:
    """An array whose values are all in this file.

    A link, a virtual array or external storage would read another file of this machine; an array of a terabyte of which
    nothing is stored would fill its memory.

    Args:
        file: open for reading.
        name: of the array.
        of_numbers: whether arrays of anything else are refused too.

    Raises:
        OSError: something else stands in its place, its values lie elsewhere, or it is larger than what is stored of it
            can be.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise OSError(f"'{name}' is a link")
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise OSError(f"'{name}' is not an array")
    if item.is_virtual or item.external:
        raise OSError(f"the values of '{name}' are in another file")
    if of_numbers and item.dtype.kind not in "iufb":
        raise OSError(f"'{name}' is not an array of numbers")
    stored = item.id.get_storage_size()
    if item.nbytes > _LARGEST_EXPANSION * stored + _SMALL:
        raise OSError(f"'{name}' is said to hold {item.nbytes} bytes, but only {stored} are stored")
    return item
