"""States that training continues from: whole or absent, checked when read, and read without running any code.

A state is a folder `EPOCH-STEP` with the current and the best weights (safetensors), everything else (a torch file of
plain tensors and numbers) and a manifest of SHA-256 sums. It is written under another name and renamed when it is
complete. The last few are kept, so that a damaged one costs little.
"""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datagen.files import flush_folder
from kitipde.errors import InputError
from kitipde.files import write_atomically
from kitipde.models.weights import pack_weights, unpack_weights

__all__ = [
    "Checkpoint",
    "copy_best",
    "forget_after",
    "forget_unfinished",
    "has_states",
    "intact_checkpoints",
    "read_checkpoint",
    "save_checkpoint",
]

Weights = dict[str, Tensor]

_FILES = ("model.safetensors", "best.safetensors", "state.pt")
_MANIFEST = "manifest.json"


class Checkpoint(NamedTuple):
    """A state that training continues from.

    Attributes:
        weights: the current weights.
        best: the weights of the best epoch so far.
        rest: tensors, numbers and containers of them.
    """

    weights: Weights
    best: Weights
    rest: dict[str, Any]


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint, kept: int) -> None:
    """Add a state to a folder of states and remove those that are no longer needed.

    Args:
        folder: the folder of states, in a folder that exists.
        name: name of this one; names sort in the order of training.
        checkpoint: the state.
        kept: how many states to keep.

    Raises:
        OSError: if it cannot be written; the states before are then still there.
    """
    folder.mkdir(exist_ok=True)
    forget_unfinished(folder)
    buffer = io.BytesIO()
    torch.save(checkpoint.rest, buffer)
    weights, best = (pack_weights(each) for each in (checkpoint.weights, checkpoint.best))
    contents = dict(zip(_FILES, (weights, best, buffer.getvalue()), strict=True))
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    temporary = folder / f".{name}"
    temporary.mkdir()
    try:
        for file, content in {**contents, _MANIFEST: json.dumps(sums).encode()}.items():
            with (temporary / file).open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
    except OSError:
        # On a full disk the half-written state would be in the way of whoever makes room.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    final = folder / name
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    flush_folder(folder)
    for old in _states(folder)[kept:]:
        shutil.rmtree(old, ignore_errors=True)


def intact_checkpoints(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the states that are intact, newest first, and remarks on those that are not.

    Raises:
        InputError: if there are states but none is intact.
    """
    intact, remarks = [], []
    for path in _states(folder):
        try:
            _verified(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            remarks.append(f"the state {path} is damaged ({error})")
        else:
            intact.append(path.name)
    if remarks and not intact:
        raise InputError(f"no state in {folder} is intact: {remarks[0]}")
    return intact, [f"{text}; the one before is used" for text in remarks]


def read_checkpoint(folder: Path, name: str) -> Checkpoint:
    """A state by its name.

    Raises:
        InputError: if it is not what `save_checkpoint` writes.
    """
    try:
        contents = _verified(folder / name)
        # weights_only: the file may come from a stranger, and loading it must not run its code.
        rest = torch.load(io.BytesIO(contents["state.pt"]), map_location="cpu", weights_only=True)
        weights, best = (unpack_weights(contents[name]) for name in _FILES[:2])
        return Checkpoint(weights, best, rest)
    except Exception as error:
        raise InputError(f"the state {folder / name} cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def copy_best(folder: Path, name: str, path: Path) -> None:
    """Put the best weights of a saved state where readers of the run look for them."""
    write_atomically(path, (folder / name / "best.safetensors").read_bytes())


def forget_after(folder: Path, name: str) -> None:
    """Remove the states that are newer than one of them: training goes on from there."""
    for path in _states(folder):
        if path.name > name:
            shutil.rmtree(path, ignore_errors=True)


def forget_unfinished(folder: Path) -> None:
    """Remove states that a kill came over; for whoever holds the run."""
    for leftover in folder.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)


def has_states(folder: Path) -> bool:
    """Whether any state was ever finished there, damaged or not."""
    return bool(_states(folder))


def _states(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if not path.name.startswith(".")), reverse=True)


def _verified(path: Path) -> dict[str, bytes]:
    sums = json.loads((path / _MANIFEST).read_text())
    contents = {file: (path / file).read_bytes() for file in _FILES}
    for file, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sums[file]:
            raise ValueError(f"{file} does not have its checksum")
    return contents
