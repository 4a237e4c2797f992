"""Records as MeshGraphNets has them, made from the specification, with nothing of ours."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

FIELDS = {
    "cells": ("static", "int32"),
    "mesh_pos": ("static", "float32"),
    "node_type": ("static", "int32"),
    "velocity": ("dynamic", "float32"),
    "density": ("dynamic", "float32"),
    "pressure": ("dynamic", "float32"),
}


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _table()


def reference_crc(data: bytes) -> int:
    """CRC-32C a byte at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> bytes:
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    return bytes([*octets, number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def example(values: Mapping[str, bytes]) -> bytes:
    """A tf.train.Example on the wire."""
    entries = [_field(1, _field(1, key.encode()) + _field(2, _field(1, _field(1, one)))) for key, one in values.items()]
    return _field(1, b"".join(entries))


def record(payload: bytes, crc=reference_crc) -> bytes:
    head = struct.pack("<Q", len(payload))
    return head + masked(crc(head)) + payload + masked(crc(payload))


def ring(around: int = 8, layers: int = 4) -> dict[str, np.ndarray]:
    """A small triangulated ring with an airfoil inside and an inflow outside."""
    angle = 2 * np.pi * np.arange(around) / around
    places = [r * np.stack([np.cos(angle), np.sin(angle)], -1) for r in 1.0 + np.arange(layers)]
    cells = []
    for layer in range(layers - 1):
        for i in range(around):
            a, b = layer * around + i, layer * around + (i + 1) % around
            cells += [(a, b, b + around), (a, b + around, a + around)]
    kinds = np.zeros((layers, around), np.int32)
    kinds[0], kinds[-1] = 2, 4
    return {
        "mesh_pos": np.concatenate(places).astype(np.float32)[None],
        "cells": np.array(cells, np.int32)[None],
        "node_type": kinds.reshape(1, -1, 1),
    }


def flow(seed: int, frames: int, momentum: bool, mesh: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Isentropic states of one total enthalpy: those of a gas from a reservoir at 288 K."""
    mesh = ring() if mesh is None else mesh
    chance = np.random.default_rng(seed)
    nodes = mesh["mesh_pos"].shape[1]
    mach = np.clip(chance.uniform(0.2, 0.5) + 0.15 * chance.standard_normal((frames, nodes)), 0.05, 0.9)
    angle = 0.2 * chance.standard_normal((frames, nodes))
    warmth = 1 + 0.2 * mach**2
    density, pressure = 1.225 * warmth**-2.5, 101325 * warmth**-3.5
    speed = mach * np.sqrt(1.4 * pressure / density)
    velocity = np.stack([speed * np.cos(angle), speed * np.sin(angle)], -1)
    return {
        **mesh,
        "velocity": (velocity * density[..., None] if momentum else velocity).astype(np.float32),
        "density": density[..., None].astype(np.float32),
        "pressure": pressure[..., None].astype(np.float32),
    }


def meta(arrays: Mapping[str, np.ndarray], kinds: Mapping[str, str] | None = None, step: float = 0.0002) -> str:
    features = {
        name: {
            "type": (kinds or {}).get(name, FIELDS[name][0]),
            "shape": list(array.shape),
            "dtype": FIELDS[name][1],
        }
        for name, array in arrays.items()
    }
    return json.dumps(
        {
            "simulator": "su2",
            "dt": step,
            "features": features,
            "field_names": list(features),
            "trajectory_length": len(arrays["density"]),
        }
    )


def write_folder(
    folder: Path, splits: Mapping[str, int], frames: int = 7, momentum: bool = True
) -> dict[str, list[dict[str, np.ndarray]]]:
    """A published folder; returns what is in it."""
    folder.mkdir()
    written: dict[str, list[dict[str, np.ndarray]]] = {}
    for number, (split, count) in enumerate(splits.items()):
        written[split] = [flow(100 * number + one, frames, momentum) for one in range(count)]
        content = [record(example({name: a.tobytes() for name, a in sample.items()})) for sample in written[split]]
        (folder / f"{split}.tfrecord").write_bytes(b"".join(content))
    first = next(iter(written.values()))[0]
    (folder / "meta.json").write_text(meta(first))
    return written
