"""States that training continues from: whole or absent, checked when read, and read without running any code.

A state is a folder `EPOCH-STEP` with the current and the best weights (safetensors), everything else (a torch file of
plain tensors and numbers) and a manifest of SHA-256 sums. It is written under another name and renamed when it is
complete. The last two are kept, so that a damaged one costs little.
"""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from kitipde.errors import InputError
from kitipde.files import flush_folder

__all__ = ["Weights", "load_checkpoint", "save_checkpoint"]

Weights = dict[str, Tensor]

_KEPT = 2
_MANIFEST = "manifest.json"


def save_checkpoint(folder: Path, name: str, weights: Weights, best: Weights, state: dict[str, Any]) -> None:
    """Add a state to a folder of states and remove those that are no longer needed.

    Args:
        folder: the folder of states.
        name: name of this one; names sort in the order of training.
        weights: the current weights.
        best: the weights of the best epoch so far.
        state: tensors, numbers and containers of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = folder / f".{name}"
    temporary.mkdir()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    contents = {
        "model.safetensors": save(_contiguous(weights)),
        "best.safetensors": save(_contiguous(best)),
        "state.pt": buffer.getvalue(),
    }
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    for file, content in {**contents, _MANIFEST: json.dumps(sums).encode()}.items():
        with (temporary / file).open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
    final = folder / name
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    flush_folder(folder)
    for old in sorted(path for path in folder.iterdir() if not path.name.startswith("."))[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[Weights, Weights, dict[str, Any], list[str]] | None:
    """The newest state that is intact: weights, best weights, the rest, and remarks on those that are not.

    Raises:
        InputError: if there are states but none is intact.
    """
    remarks = []
    states = sorted((path for path in folder.glob("*") if not path.name.startswith(".")), reverse=True)
    for path in states:
        try:
            contents = _verified(path)
            # weights_only: the file may come from a stranger, and loading it must not run its code.
            rest = torch.load(io.BytesIO(contents["state.pt"]), map_location="cpu", weights_only=True)
            return load(contents["model.safetensors"]), load(contents["best.safetensors"]), rest, remarks
        except Exception as error:
            remarks.append(f"the state {path} is damaged ({error}); trying the one before")
    if states:
        raise InputError(f"no state in {folder} is intact: {remarks[0]}")
    return None


def _verified(path: Path) -> dict[str, bytes]:
    sums = json.loads((path / _MANIFEST).read_text())
    contents = {file: (path / file).read_bytes() for file in ("model.safetensors", "best.safetensors", "state.pt")}
    for file, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sums[file]:
            raise ValueError(f"{file} does not have its checksum")
    return contents


def _contiguous(weights: Weights) -> Weights:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
