"""The format: what is written is what is read, by ourselves and by xarray; damage is found."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.errors import InputError
from datagen.geometry import Grid, periodic_grid
from datagen.store import Coordinate, Layout, Variable, open_dataset
from datagen.store.verify import verify
from datagen.store.writer import merge_files, write_file


def _layout(grid: int = 12, frames: int = 3) -> Layout:
    places = np.arange(grid) / grid
    return Layout(
        equation="navier-stokes",
        config=json.dumps({"seed": 1}),
        geometry=periodic_grid((grid, grid), (1.0, 1.0)),
        coordinates=(Coordinate("time", np.arange(1.0, frames + 1), "1", "time", "T"),),
        variables=(
            Variable("vorticity", ("sample", "time", "x", "y"), "1", "vorticity"),
            Variable("nu", ("sample",), "1", "viscosity", "float64"),
            Variable("source", ("x", "y"), "1", "source"),
        ),
        attributes={"title": "made up"},
        shared={"source": np.outer(places, places)},
    )


def _values(samples: int, grid: int = 12, frames: int = 3) -> dict[str, np.ndarray]:
    random_numbers = np.random.default_rng(samples)
    return {
        "vorticity": random_numbers.standard_normal((samples, frames, grid, grid)),
        "nu": random_numbers.uniform(size=samples),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_file(tmp_path / "a.h5", _layout(), np.arange(5), _values(5))
    return tmp_path / "a.h5"


def test_what_is_written_is_read(path: Path) -> None:
    values = _values(5)
    with open_dataset(path) as data:
        np.testing.assert_array_equal(data.read("vorticity"), values["vorticity"].astype(np.float32))
        np.testing.assert_array_equal(data.parameter("nu"), values["nu"])
        np.testing.assert_array_equal(data.read("source"), _layout().shared["source"].astype(np.float32))
        assert data.fields == {"vorticity": ("sample", "time", "x", "y"), "source": ("x", "y")}
        assert (data.equation, data.samples, data.grid) == ("navier-stokes", 5, (12, 12))
        assert isinstance(data.geometry, Grid)
        assert data.geometry.lengths == (1.0, 1.0)
        assert data.times is not None
        assert data.times.tolist() == [1.0, 2.0, 3.0]


def test_xarray_reads_it_with_names_units_and_seeds(path: Path) -> None:
    with xarray.open_dataset(path) as data:
        assert data.vorticity.dims == ("sample", "time", "x", "y")
        assert data.seed.values.tolist() == [0, 1, 2, 3, 4]
        about = dict(data.x.attrs)
        assert about.pop("extent").tolist() == [0.0, 1.0]
        assert about == {"units": "1", "long_name": "position", "axis": "X", "boundary": "periodic periodic"}
        np.testing.assert_array_equal(data.vorticity.values, _values(5)["vorticity"].astype(np.float32))
        assert data.vorticity.sel(time=2.0, x=0.25, method="nearest").shape == (5, 12)


def test_dask_reads_it_in_the_chunks_of_the_file(path: Path) -> None:
    with xarray.open_dataset(path, chunks={}) as data:
        mean = float(data.vorticity.mean().compute())
    assert mean == pytest.approx(_values(5)["vorticity"].mean(), rel=1e-5)


@settings(deadline=None)
@given(
    samples=st.lists(st.integers(-5, 4), max_size=7),
    frames=st.sampled_from([slice(None), slice(1, 3), slice(0, 1), slice(None, None, 2), slice(-1, None)]),
    resolution=st.sampled_from([None, 1, 2, 3, 4, 6, 12]),
)
def test_any_selection_is_that_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, samples: list[int], frames: slice, resolution: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "selection.h5"
    if not path.exists():
        write_file(path, _layout(), np.arange(5), _values(5))
    stride = 12 // (resolution or 12)
    expected = _values(5)["vorticity"].astype(np.float32)[samples][:, frames, ::stride, ::stride]
    with open_dataset(path) as data:
        np.testing.assert_array_equal(data.read("vorticity", samples, frames, resolution and (resolution,)), expected)


def test_reading_one_frame_touches_one_chunk_only(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    write_file(path, _layout(256, 12), np.arange(2), _values(2, 256, 12))
    with h5py.File(path) as file:
        dataset = file["vorticity"]
        assert isinstance(dataset, h5py.Dataset)
        assert dataset.chunks == (1, 4, 256, 256)
        # Spoil every chunk but the one that is read: reading it must not notice.
        spoilt = [
            info
            for index in range(dataset.id.get_num_chunks())
            if (info := dataset.id.get_chunk_info(index)).chunk_offset != (1, 4, 0, 0)
        ]
    with open(path, "rb+") as file:
        for info in spoilt:
            file.seek(info.byte_offset + info.size // 2)
            file.write(b"spoilt")
    with open_dataset(path) as data:
        read = data.read("vorticity", [1], slice(5, 7), resolution=(64,))
        np.testing.assert_array_equal(read[0], _values(2, 256, 12)["vorticity"].astype(np.float32)[1, 5:7, ::4, ::4])
        with pytest.raises(InputError, match="is damaged"):
            data.read("vorticity", [0])


@pytest.mark.parametrize(
    ("resolution", "message"), [(5, "those that do: 1, 2, 3, 4, 6, 12"), (24, "1 to 12"), (0, "1 to 12")]
)
def test_a_resolution_that_does_not_fit_is_refused_with_those_that_do(
    path: Path, resolution: int, message: str
) -> None:
    with open_dataset(path) as data, pytest.raises(InputError, match=message):
        data.read("vorticity", resolution=(resolution,))


def _truncated(values: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """Values on a periodic square, the last two axes, by the reductions of its grid."""
    grid = periodic_grid(values.shape[-2:], (1.0, 1.0))
    for axis, each in enumerate(grid.reductions(resolution, "spectral"), start=values.ndim - 2):
        values = each.apply(values, axis)
    return values


def test_spectral_reduction_keeps_the_modes_it_can_and_drops_the_rest() -> None:
    x = 2 * np.pi * np.arange(24) / 24
    low = np.cos(2 * x)[:, None] * np.sin(3 * x) + 0.5
    high = np.cos(9 * x)[:, None] * np.sin(x)
    for points in (10, 11, 12):
        y = 2 * np.pi * np.arange(points) / points
        expected = np.cos(2 * y)[:, None] * np.sin(3 * y) + 0.5
        found = _truncated(low + high, (points, points))
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_spectral_reduction_at_reading_takes_any_smaller_grid(path: Path) -> None:
    with open_dataset(path) as data:
        read = data.read("vorticity", [3], resolution=(7,), downsample="spectral")
    whole = _values(5)["vorticity"].astype(np.float32)[[3]]
    np.testing.assert_array_equal(read, _truncated(whole, (7, 7)))


def test_merged_parts_are_the_whole(tmp_path: Path) -> None:
    values = _values(7)
    write_file(tmp_path / "whole.h5", _layout(), np.arange(7), values)
    pieces = [slice(0, 3), slice(3, 4), slice(4, 7)]
    for number, piece in enumerate(pieces):
        part = {name: array[piece] for name, array in values.items()}
        write_file(tmp_path / f"{number}.h5", _layout(), np.arange(7)[piece], part)
    merge_files([tmp_path / f"{number}.h5" for number in range(3)], tmp_path / "merged.h5", _layout())
    assert verify(tmp_path / "merged.h5") == verify(tmp_path / "whole.h5")
    with xarray.open_dataset(tmp_path / "merged.h5") as one, xarray.open_dataset(tmp_path / "whole.h5") as other:
        xarray.testing.assert_identical(one, other)


def test_identity_is_of_the_content_not_of_the_file(path: Path) -> None:
    copy = path.with_name("copy.h5")
    copy.write_bytes(path.read_bytes())
    changed = _values(5)
    changed["vorticity"][2, 1, 3, 4] += 1e-3
    write_file(path.with_name("changed.h5"), _layout(), np.arange(5), changed)
    identities = []
    for name in ("a.h5", "copy.h5", "changed.h5"):
        with open_dataset(path.with_name(name)) as data:
            identities.append(data.identity)
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize(("old", "new"), [(b"navier-stokes", b"navier-spokes"), (b"position", b"momentum")])
def test_texts_that_have_changed_are_found(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match="is damaged"):
        verify(path)


def _text(path: Path) -> None:
    path.write_text("time,x\n0,1\n")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["u"] = np.zeros(3)


def _later_version(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "kitipde dataset 9"


def _gone(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_text, "is not an HDF5 file"),
        (_empty, "is not an HDF5 file"),
        (_cut, "is truncated"),
        (_foreign, "HDF5, but not a dataset of ours"),
        (
            _later_version,
            "of the format 'kitipde dataset 9' .this version reads kitipde dataset 1 and kitipde dataset 2",
        ),
        (_gone, "no such file"),
        (_folder, "is a folder"),
    ],
)
def test_each_unreadable_file_is_told_apart_in_one_line(
    path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(path)
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)


def test_a_heap_of_texts_without_end_is_refused_before_hdf5_walks_it(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16
    content[place : place + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(InputError, match="the heap of its texts is damaged"):
        open_dataset(path)


def test_values_that_are_not_finite_are_found(tmp_path: Path) -> None:
    values = _values(3)
    values["vorticity"][1, 2, 3, 4] = np.nan
    write_file(tmp_path / "nan.h5", _layout(), np.arange(3), values)
    with pytest.raises(InputError, match="vorticity of sample 1 holds 1 values that are not finite"):
        verify(tmp_path / "nan.h5")


def test_samples_exchanged_behind_hdf5s_back_are_found(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        dataset = file["vorticity"]
        assert isinstance(dataset, h5py.Dataset)
        dataset[0] = dataset[1]
    with pytest.raises(InputError, match="sample 0 does not match its checksum"):
        verify(path)


_FLIP = """
import random, sys
from pathlib import Path
from datagen.errors import InputError
from datagen.store import open_dataset
from datagen.store.verify import verify

path, spoilt, seed, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
whole, chance = path.read_bytes(), random.Random(seed)
with open_dataset(path) as data:
    names = [*data.fields, *data.parameters]
    truth = {name: data.variable(name)[()].tobytes() for name in names}
    said = dict(data.attributes)
found = 0
for _ in range(rounds):
    place, bit = chance.randrange(len(whole)), chance.randrange(8)
    spoilt.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1:])
    try:
        verify(spoilt)
    except InputError:
        found += 1
        continue
    # Not found: then nothing that can be read has changed.
    with open_dataset(spoilt) as data:
        assert {name: data.variable(name)[()].tobytes() for name in names} == truth, (place, bit)
        assert dict(data.attributes) == said, (place, bit)
print(found)
"""


def test_a_flipped_bit_is_found_or_changes_nothing(path: Path, tmp_path: Path) -> None:
    rounds = 60
    command = [sys.executable, "-c", _FLIP, str(path), str(tmp_path / "spoilt.h5"), "0", str(rounds)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) > rounds // 4


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    chance = random.Random(3)
    cut = path.with_name("cut.h5")
    for _ in range(40):
        cut.write_bytes(whole[: chance.randrange(len(whole))])
        with pytest.raises(InputError):
            open_dataset(cut).close()
