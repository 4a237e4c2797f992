"""What is looked at in all data that others made, before anything is written: `surveyed`.

Which fields float32 would lose (`precision`), and what happens at the border of each axis (`seams`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from datagen.errors import InputError
from datagen.formats.precision import Precision, is_wide
from datagen.formats.seams import Seam
from datagen.geometry import Grid
from datagen.store.ingest import PIECE_BYTES, refuse_not_finite
from datagen.store.layout import Layout, Variable

__all__ = ["few_of", "refuse_other_end_point", "surveyed"]

_SAMPLES = 64

_BLOCK_VALUES = 2**20

Read = Callable[[slice], Mapping[str, np.ndarray]]
Remark = Callable[[str], None]


def surveyed(layout: Layout, samples: int, read: Read, remark: Remark | None = None) -> Layout:
    """The layout with the number types that the data need, and with what is notable about its periodic axes.

    Everything is read once where the source has more digits than float32; otherwise a few samples, and the others only
    as long as the last point of an axis may be its first one again.

    Args:
        layout: what is to be written, with all fields in float32.
        samples: how many.
        read: gives the per-sample variables of a slice of samples, in the numbers of the source.
        remark: told what was found.

    Raises:
        InputError: values that are not finite, or an axis whose last point repeats the first.
    """
    say = remark or (lambda text: None)
    look = _looked(layout, samples, read)
    look.refuse_repeated_points()
    dtypes = {name: each.verdict() for name, each in look.precisions.items()}
    for variable in layout.variables:
        if not variable.per_sample and variable.name in layout.shared and variable.dtype == "float32":
            dtypes[variable.name] = _of_shared(variable, layout.shared[variable.name])
    for name, why in dtypes.items():
        if why:
            say(f"{name} is stored in float64: {why}")
    seams = look.seam_texts()
    for axis, text in seams.items():
        say(
            f"warning: across the border of {axis} {text}; {axis} is taken as periodic, so Fourier layers and errors "
            f"by wave number take this for a part of the field (--boundary says that {axis} ends there)"
        )
    variables = tuple(replace(one, dtype="float64") if dtypes.get(one.name) else one for one in layout.variables)
    attributes = {**layout.attributes, **{f"seam_{axis}": text for axis, text in seams.items()}}
    return replace(layout, variables=variables, attributes=attributes)


def few_of(samples: int) -> list[int]:
    """Numbers of samples, evenly spread, that are enough to see what is typical of a border."""
    return np.unique(np.linspace(0, samples - 1, min(_SAMPLES, samples)).round().astype(int)).tolist()


def refuse_other_end_point(axis: str, fields: Mapping[str, tuple[np.ndarray, int]]) -> None:
    """Refuse to drop the last point along an axis where it is not the first one again.

    Args:
        axis: its name.
        fields: values of some samples, sample after sample, and which of their axes it is, by name.

    Raises:
        InputError: a field has other values there.
    """
    for name, (values, place) in fields.items():
        seam = Seam(place, _epsilon(values.dtype))
        for block in _blocks(values):
            seam.add(block)
        if not seam.undecided:
            raise InputError(
                f"--drop-endpoint {axis}: the last point does not repeat the first one ({name} differs there), so it "
                "is not dropped"
            )


def _looked(layout: Layout, samples: int, read: Read) -> "_Look":
    look = _Look(layout, read(slice(0, 1)))
    step = max(1, PIECE_BYTES // layout.sample_bytes())
    pieces = [slice(first, min(first + step, samples)) for first in range(0, samples, step)]
    if look.precisions:
        look.add(read, pieces)
    elif look.seams:
        few = few_of(samples)
        look.add(read, [slice(one, one + 1) for one in few])
        if look.undecided and len(few) < samples:
            look = _Look(layout, read(slice(0, 1)))
            look.add(read, pieces, while_undecided=True)
    return look


class _Look:
    """What has been seen of all fields."""

    def __init__(self, layout: Layout, values: Mapping[str, np.ndarray]) -> None:
        self._fields = [one for one in layout.variables if one.per_sample and one.is_field]
        axes = layout.geometry.axes if isinstance(layout.geometry, Grid) else ()
        periodic = [axis.name for axis in axes if axis.periodic]
        self.precisions = {
            one.name: Precision(one.dims[1] == "time")
            for one in self._fields
            if one.dtype == "float32" and is_wide(values[one.name].dtype)
        }
        self.seams = {
            (one.name, axis): Seam(one.dims.index(axis), _epsilon(values[one.name].dtype))
            for one in self._fields
            for axis in periodic
            if axis in one.dims
        }

    @property
    def undecided(self) -> bool:
        return any(seam.undecided for seam in self.seams.values())

    def add(self, read: Read, pieces: list[slice], while_undecided: bool = False) -> None:
        for piece in pieces:
            if while_undecided and not self.undecided:
                return
            values = read(piece)
            for name, array in values.items():
                refuse_not_finite(name, array, piece.start)
            for one in self._fields:
                for block in _blocks(values[one.name]):
                    if one.name in self.precisions:
                        self.precisions[one.name].add(block)
                    for (name, _), seam in self.seams.items():
                        if name == one.name and (seam.undecided or seam.samples < _SAMPLES):
                            seam.add(block)

    def refuse_repeated_points(self) -> None:
        for axis in dict.fromkeys(axis for _, axis in self.seams):
            along = {name: seam for (name, each), seam in self.seams.items() if each == axis}
            # A place that is there twice is so for every field.
            if all(seam.undecided for seam in along.values()) and any(seam.repeats for seam in along.values()):
                names = ", ".join(name for name, seam in along.items() if seam.repeats)
                raise InputError(
                    f"the last point along {axis} repeats the first one in every sample (of {names}): on a periodic "
                    f"axis they are one place; drop it (--drop-endpoint {axis}; in Python "
                    f"source.isel({axis}=slice(-1)))"
                )

    def seam_texts(self) -> dict[str, str]:
        """For each axis the field whose border is the most notable, if one is."""
        texts: dict[str, tuple[float, str]] = {}
        for (name, axis), seam in self.seams.items():
            size = max(seam.jump, seam.kink)
            if seam.text() and size > texts.get(axis, (0.0, ""))[0]:
                texts[axis] = (size, f"{name} {seam.text()}")
        return {axis: text for axis, (_, text) in texts.items()}


def _of_shared(variable: Variable, values: np.ndarray) -> str:
    if not is_wide(values.dtype):
        return ""
    refuse_not_finite(variable.name, values)
    precision = Precision("time" in variable.dims)
    precision.add(np.asarray(values)[None])
    return precision.verdict()


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Some samples at a time: what is computed from them is several times as large as they are."""
    step = max(1, _BLOCK_VALUES // max(1, values[0].size))
    for first in range(0, len(values), step):
        yield values[first : first + step]


def _epsilon(dtype: np.dtype) -> float:
    """Relative rounding of a type's numbers; whole numbers are right."""
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
