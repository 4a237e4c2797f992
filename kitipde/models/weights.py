"""Weights as safetensors with a checksum: a bit that has flipped on a disk is found, not evaluated.

The SHA-256 sum, over the table of tensors and their bytes, stands in the file's own metadata, which other readers of
safetensors pass over. Files without one, from elsewhere, are read as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["pack_weights", "unpack_weights"]

_SUM = "sha256"


def pack_weights(weights: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return save(plain, {_SUM: _sum(*_split(save(plain)))})


def unpack_weights(content: bytes) -> dict[str, Tensor]:
    """The weights of a safetensors file.

    Raises:
        ValueError: if it is damaged or not of this format.
    """
    try:
        header, data = _split(content)
        expected = header.get("__metadata__", {}).get(_SUM)
        if expected is not None and expected != _sum(header, data):
            raise ValueError("the weights do not have their checksum")
        return load(content)
    except (SafetensorError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """The table of tensors and their bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), memoryview(content)[end:]


def _sum(header: dict[str, Any], data: memoryview) -> str:
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()
