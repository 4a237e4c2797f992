"""Names of a file's dimensions and variables, and coordinates that it does not know as such."""

from collections.abc import Callable, Mapping
from pathlib import Path

import xarray

from datagen.errors import InputError, unknown

__all__ = ["renamed"]

_COORDINATES = ("time", "x", "y", "z")


def renamed(
    source: xarray.Dataset, names: Mapping[str, str], path: Path, remark: Callable[[str], None]
) -> xarray.Dataset:
    """The file's content under other names.

    HDF5 without dimension scales has no coordinates: they are arrays like others, whose length alone tells what they
    belong to. One that is given the name of a dimension becomes its coordinate. Of instants there may be one too many:
    with T frames, T + 1 instants are published, of which the last has no frame.

    Args:
        source: as opened.
        names: new names by old ones.
        path: of the file, for messages.
        remark: called with what was assumed.

    Raises:
        InputError: a name that is not in the file, two things of one name, or a coordinate of another length than its
            dimension.
    """
    known = {str(name) for name in (*source.variables, *source.dims)}
    for old in names:
        if old not in known:
            raise unknown(f"name in {path}", old, known)
    places = {new: old for old, new in names.items() if new in (*_COORDINATES, "sample") and old not in source.dims}
    if "sample" in places:
        raise InputError(
            f"--rename {places['sample']}=sample: only a dimension can be the samples, and this is a variable"
        )
    arrays = {new: source[old] for new, old in places.items()}
    try:
        source = source.drop_vars(list(places.values())).rename(
            {old: new for old, new in names.items() if old not in places.values()}
        )
    except ValueError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    for name, array in arrays.items():
        source = source.assign_coords({name: _fitting(name, array, source, path, remark)})
    # So does a variable that has its name already.
    return source.set_coords(
        [name for name in _COORDINATES if name in source.data_vars and source[name].dims == (name,)]
    )


def _fitting(
    name: str, array: xarray.DataArray, source: xarray.Dataset, path: Path, remark: Callable[[str], None]
) -> xarray.Variable:
    if name == "time" and not array.ndim:
        return array.variable
    if array.ndim != 1:
        raise InputError(f"{path}: {array.name} has {array.ndim} axes, and the coordinate {name} has one")
    if name not in source.dims:
        raise InputError(
            f"{path}: {array.name} cannot be the coordinate {name}, since no dimension has this name (found: "
            f"{', '.join(f'{dim} of {size}' for dim, size in source.sizes.items())}; --rename OLD={name} names one)"
        )
    size = source.sizes[name]
    if name == "time" and len(array) == size + 1:
        remark(f"{array.name} has {size + 1} instants for {size} frames: the first {size} are taken")
        array = array[:size]
    if len(array) != size:
        raise InputError(f"{path}: {array.name} has {len(array)} values, and {name} has {size} points")
    return xarray.Variable((name,), array.to_numpy(), array.attrs)
