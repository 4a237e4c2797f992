"""`meta.json` of the MeshGraphNets data: which fields a record has and how their bytes are laid out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datagen.errors import InputError, unknown

__all__ = ["Field", "Meta", "read_meta"]

_TYPES = ("static", "dynamic", "dynamic_varlen")


@dataclass(frozen=True)
class Field:
    """How the values of a name are laid out.

    Attributes:
        name: as in the record.
        kind: "static", "dynamic" or "dynamic_varlen".
        shape: (frames, rows, components); −1 where the bytes tell.
        dtype: of the numbers.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Meta:
    """`meta.json`.

    Attributes:
        fields: in its order.
        step: seconds between frames; 0 if it does not tell.
        simulator: its name for what made the data.
    """

    fields: tuple[Field, ...]
    step: float
    simulator: str


def read_meta(folder: Path) -> Meta:
    """Read `meta.json`.

    Raises:
        InputError: no such file, not JSON, or not a description of fields.
    """
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    try:
        features: Mapping[str, Mapping[str, Any]] = meta["features"]
        names: Sequence[str] = meta.get("field_names") or list(features)
        fields = tuple(_field(str(name), features[name]) for name in names)
        step, simulator = float(meta.get("dt") or 0.0), str(meta.get("simulator") or "")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from error
        raise InputError(f"{path} does not describe its fields: {type(error).__name__} {error}") from error
    if not (np.isfinite(step) and step >= 0):
        raise InputError(f"{path}: dt {step:g} is not a positive number")
    return Meta(tuple(field for field in fields if not field.name.startswith("length_")), step, simulator)


def _field(name: str, said: Mapping[str, Any]) -> Field:
    kind, shape = str(said["type"]), tuple(int(size) for size in said["shape"])
    if kind not in _TYPES:
        raise unknown(f"type of field {name}", kind, _TYPES)
    if np.dtype(str(said["dtype"])).kind not in "iuf":
        raise InputError(f"field {name} is of the dtype {said['dtype']} (allowed: integers and floats)")
    if len(shape) != 3 or shape[-1] < 1 or any(size < -1 or size == 0 for size in shape):
        raise InputError(f"field {name} has the shape {list(shape)} (expected: frames, rows, components; -1 if open)")
    return Field(name, kind, shape, str(said["dtype"]))
