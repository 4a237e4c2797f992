"""Files of the first format are read, and recipes still give the files that they gave."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.errors import InputError
from datagen.geometry import Grid
from datagen.store import open_dataset
from datagen.store.verify import verify
from tests.conftest import make_dataset
from tests.oracle import cases

FILTERS: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture
def first(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A square of side 3 with time and a shared source, written by hand as version 1 wrote it."""
    values = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    places, times, source = 3 * np.arange(8) / 8, np.arange(1.0, 4.0), np.eye(8, dtype="float32")
    config = json.dumps({"equation": "heat", "imported": True})
    path = tmp_path / "first.h5"
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs.update(format="kitipde dataset 1", Conventions="CF-1.11", equation="heat", config=config)
        file.attrs.update(title="heat", domain_length=3.0, alpha=1e-4)
        index = file.create_dataset("sample", data=np.arange(2), maxshape=(None,), chunks=(4096,))
        index.attrs.update(units="1", long_name="index of the sample")
        for name, array in (("time", times), ("x", places), ("y", places)):
            own = file.create_dataset(name, data=array, fletcher32=True, chunks=array.shape)
            own.attrs.update(units="1", long_name="position", axis=name[:1].upper())
        sums = [
            int.from_bytes(hashlib.sha256(b"temperature" + one.tobytes()).digest()[:8], "big") >> 1 for one in values
        ]
        for name, dims, array in (
            ("seed", ("sample",), np.array([-1, -1])),
            ("sample_status", ("sample",), np.ones(2, np.int8)),
            ("checksum", ("sample",), np.array(sums)),
            ("temperature", ("sample", "time", "x", "y"), values),
            ("source", ("x", "y"), source),
        ):
            largest = tuple(None if dim == "sample" else size for dim, size in zip(dims, array.shape, strict=True))
            stored = file.create_dataset(name, data=array, maxshape=largest, chunks=array.shape, **FILTERS)
            stored.attrs.update(units="1", long_name=name)
            for axis, dim in enumerate(dims):
                scale = file[dim]
                assert isinstance(scale, h5py.Dataset)
                if not scale.is_scale:
                    scale.make_scale(dim)
                stored.dims[axis].attach_scale(scale)
        whole = {"sample": np.arange(2), "time": times, "x": places, "y": places, "source": source}
        whole |= {name: np.asarray(file[name]) for name in ("seed", "sample_status", "checksum")}
        parts = [part for name in sorted(whole) for part in (name.encode(), whole[name].tobytes())]
        file.attrs["identity"] = sha256(config.encode(), *parts)
    return path, values


def test_a_file_of_the_first_format_is_a_periodic_square(first: tuple[Path, np.ndarray]) -> None:
    path, values = first
    assert verify(path).samples == 2
    with open_dataset(path) as data:
        assert isinstance(data.geometry, Grid)
        assert (data.geometry.names, data.geometry.lengths, data.geometry.periodic) == (("x", "y"), (3.0, 3.0), True)
        assert [data.role(name) for name in ("temperature", "source", "seed")] == ["field", "static", "parameter"]
        assert data.problem is None
        assert data.vector("temperature") == ""
        np.testing.assert_array_equal(data.read("temperature"), values)
        np.testing.assert_array_equal(data.read("temperature", resolution=(4,)), values[..., ::2, ::2])


def test_without_its_length_a_file_of_the_first_format_is_damaged(first: tuple[Path, np.ndarray]) -> None:
    path, _ = first
    with h5py.File(path, "r+") as file:
        del file.attrs["domain_length"]
    with pytest.raises(InputError, match="is damaged"):
        open_dataset(path)


FROZEN: dict[str, tuple[Any, str, str]] = {
    "burgers": (
        Burgers(samples=2, resolution=32, solve_resolution=64),
        "5a4b4dce2de9369e",
        "89b4ae1b6ee7603c665ad65505278103507b7b6db6506b33974dd42be3bafd54",
    ),
    "navier-stokes": (
        NavierStokes(samples=2, resolution=16, frames=2),
        "680c20f78b2fac8e",
        "8d68b0cf88a52def10a1ac794b10e1e027455054f694bf3ac9dbf841863eb16c",
    ),
    "heat": (
        Heat(samples=2, resolution=16, frames=2),
        "8b7d9e7ba9ecae6a",
        "6a3a9e8804157652dda4c4db1b7a88b816679d0183281fd4180f50778146c5a9",
    ),
    "airfoil": (
        Airfoil(
            samples=2,
            around=16,
            layers=8,
            far=10.0,
            evenness=1.0,
            first=2.0,
            interval=2e-4,
            frames=2,
            least_angle=-8.0,
            most_angle=8.0,
        ),
        "de22346e8e25de24",
        "f23d21ef1249522b60285b4b4b6d435365c9c970af68ab0f4dead7ac18757af9",
    ),
}
"""Of commit 18223ba, which wrote format 1: SHA-256 of the settings (its beginning), and the file's identity, which is
that of settings, coordinates, seeds, checksums of the samples and shared fields."""


@pytest.mark.parametrize("name", FROZEN)
def test_a_recipe_gives_the_file_that_it_gave(name: str, tmp_path: Path) -> None:
    recipe, settings, identity = FROZEN[name]
    path = make_dataset(recipe, tmp_path / "d.h5")
    with h5py.File(path) as file:
        assert sha256(str(file.attrs["config"]).encode())[:16] == settings
    # Another processor or library may round a last bit otherwise; `tests/oracle` compares the values themselves there.
    if cases.machine()["machine"] == np.load(cases.REFERENCE)["machine"]:
        with open_dataset(path) as data:
            assert data.identity == identity
