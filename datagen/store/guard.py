"""Arrays of HDF5 files from strangers: what is read is what lies in the file, and no more than can lie there."""

import h5py

__all__ = ["guarded"]

# Deflate packs at most 1032 bytes into one; small arrays may be left to their fill value.
_LARGEST_EXPANSION, _SMALL = 1100, 1024 * 1024


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
