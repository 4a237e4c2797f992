"""The published mesh data: every number arrives, damage and conflict are told, an interrupted import continues."""

import json
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import xarray

from datagen.errors import InputError
from datagen.formats.meshgraphnets import records
from datagen.formats.meshgraphnets.momentum import decide
from datagen.formats.meshgraphnets.records import MeshGraphNets, Selection, import_meshgraphnets
from datagen.store import open_dataset
from datagen.store.verify import verify
from datagen.store.writer import write_file


def _import(folder: Path, **chosen) -> tuple[Path, list[str]]:
    out, told = folder.with_suffix(".h5"), []
    import_meshgraphnets(folder, out, Selection(**{"stride": 2, **chosen}), remark=told.append)
    return out, told


@pytest.mark.parametrize("momentum", [True, False])
def test_every_number_arrives_as_velocity(published, tmp_path: Path, momentum: bool) -> None:
    written = published.write_folder(tmp_path / "set", {"train": 5, "valid": 2, "test": 3}, momentum=momentum)
    out, told = _import(tmp_path / "set")
    assert told[0].startswith(f"the field called velocity is {'momentum, and divided' if momentum else 'velocity'}")
    assert "0.0002 s between raw frames by meta.json; the paper's tasks count 0.008 s" in told[1]
    samples = [*written["train"], *written["valid"], *written["test"]]
    with open_dataset(out) as data:
        assert data.mesh is not None
        ring = published.ring()
        np.testing.assert_array_equal(data.mesh.x, ring["mesh_pos"][0, :, 0])
        np.testing.assert_array_equal(data.mesh.cells, ring["cells"][0])
        np.testing.assert_array_equal(data.mesh.node_type, ring["node_type"][0, :, 0])
        assert (data.equation, data.grid, data.samples) == ("airfoil", (32,), 10)
        for name in ("density", "pressure"):
            np.testing.assert_array_equal(data.read(name), [one[name][::2, :, 0] for one in samples])
        for axis, name in enumerate(("velocity_x", "velocity_y")):
            expected = [one["velocity"] / one["density"] if momentum else one["velocity"] for one in samples]
            np.testing.assert_array_equal(data.read(name), [one[::2, :, axis] for one in expected])
        assert data.parameter("split").tolist() == [0] * 5 + [1] * 2 + [2] * 3
        assert data.parameter("record").tolist() == [*range(5), *range(2), *range(3)]
        assert data.times is not None
        np.testing.assert_allclose(data.times, 0.0004 * np.arange(4))
    assert verify(out).samples == 10


def test_xarray_finds_the_topology(published, tmp_path: Path) -> None:
    published.write_folder(tmp_path / "set", {"test": 2})
    out, _ = _import(tmp_path / "set")
    with xarray.open_dataset(out) as data:
        topology = data[data.velocity_x.attrs["mesh"]].attrs
        assert (topology["cf_role"], topology["topology_dimension"]) == ("mesh_topology", 2)
        assert topology["node_coordinates"] == "node_x node_y"
        assert data[topology["face_node_connectivity"]].dims == ("cell", "vertex")
        assert data.velocity_x.dims == ("sample", "time", "node")
        assert {"node_x", "node_y"} <= set(data.velocity_x.coords)
        assert data.attrs["Conventions"] == "CF-1.11 UGRID-1.0"
        assert data.velocity_x.attrs["location"] == "node"


@pytest.mark.parametrize(
    ("chosen", "frames"),
    [({"stride": 1}, range(7)), ({"stride": 3}, range(0, 7, 3)), ({"start": 1, "stop": 6}, range(1, 6, 2))],
)
def test_frames_are_those_asked_for_and_no_other_is_read(published, tmp_path: Path, chosen, frames: range) -> None:
    written = published.write_folder(tmp_path / "set", {"train": 1})
    (sample,) = written["train"]
    for frame in set(range(1, 6)) - set(frames):
        sample["velocity"][frame] = np.nan
    content = published.record(published.example({name: array.tobytes() for name, array in sample.items()}))
    (tmp_path / "set" / "train.tfrecord").write_bytes(content)
    out, _ = _import(tmp_path / "set", **chosen)
    with open_dataset(out) as data:
        np.testing.assert_array_equal(data.read("density")[0], sample["density"][list(frames), :, 0])


def test_what_the_user_says_goes_before_what_the_data_tell(published, tmp_path: Path) -> None:
    written = published.write_folder(tmp_path / "set", {"train": 2, "test": 1})
    out, told = _import(tmp_path / "set", velocity="velocity", step=0.008, splits=("test",))
    assert told == [
        "the field called velocity is taken as velocity, as was said",
        "dt = 0.008 s between raw frames, as was said (meta.json: 0.0002 s)",
    ]
    with open_dataset(out) as data:
        np.testing.assert_array_equal(data.read("velocity_x")[0], written["test"][0]["velocity"][::2, :, 0])
        assert data.times is not None
        assert data.times[-1] == pytest.approx(6 * 0.008)


def test_what_cannot_be_told_is_not_guessed(published) -> None:
    state = published.flow(0, 2, True)
    still = {name: state[name] for name in ("density", "pressure")} | {"velocity": 0 * state["velocity"]}
    with pytest.raises(InputError, match="say --velocity momentum or --velocity velocity"):
        decide([still], published.ring()["node_type"][0, :, 0].astype(np.int8))


def test_fields_of_frames_with_lengths_of_their_own_are_read(published, tmp_path: Path) -> None:
    written = published.write_folder(tmp_path / "set", {"train": 2})
    folder = tmp_path / "set"
    records = []
    for sample in written["train"]:
        values = {name: array.tobytes() for name, array in sample.items()}
        values["length_density"] = np.full(7, 32, np.int32).tobytes()
        records.append(published.record(published.example(values)))
    (folder / "train.tfrecord").write_bytes(b"".join(records))
    meta = json.loads(published.meta(written["train"][0], {"density": "dynamic_varlen"}))
    meta["features"]["density"]["shape"] = [7, -1, 1]
    meta["features"]["velocity"]["shape"] = [-1, 32, 2]
    (folder / "meta.json").write_text(json.dumps(meta))
    out, _ = _import(folder, stride=1)
    with open_dataset(out) as data:
        np.testing.assert_array_equal(data.read("density")[1], written["train"][1]["density"][..., 0])
    values["length_density"] = np.array([30, 34, 32, 32, 32, 32, 32], np.int32).tobytes()
    (folder / "train.tfrecord").write_bytes(published.record(published.example(values)))
    out.unlink()
    with pytest.raises(InputError, match="rows of density change from 30 to 34 between frames"):
        _import(folder)


def test_an_interrupted_import_continues_and_gives_the_same_file(published, tmp_path: Path, monkeypatch) -> None:
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
        published.write_folder(tmp_path / name / "set", {"train": 6})
    monkeypatch.setattr(records, "_PIECE_BYTES", 1)
    whole, _ = _import(tmp_path / "whole" / "set")
    made = 0

    def stop_after_three(*arguments, **more) -> None:
        nonlocal made
        if made == 3:
            raise KeyboardInterrupt
        made += 1
        write_file(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr("datagen.store.ingest.write_file", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            _import(tmp_path / "halves" / "set")
    assert len(list((tmp_path / "halves" / "set.h5.parts").glob("part-*.h5"))) == 3
    with pytest.raises(InputError, match="unfinished dataset of other settings: --overwrite begins anew"):
        _import(tmp_path / "halves" / "set", stride=3)
    # A part that was damaged meanwhile is made again.
    part = tmp_path / "halves" / "set.h5.parts" / "part-00001.h5"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    halves, _ = _import(tmp_path / "halves" / "set")
    assert halves.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "halves" / "set.h5.parts").exists()
    # What a kill in the last moment leaves behind.
    (tmp_path / "halves" / ".set.h5.4194305.tmp").write_bytes(b"half")  # beyond the largest number of a process
    (tmp_path / "halves" / "set.h5.parts").mkdir()
    _import(tmp_path / "halves" / "set")
    assert {item.name for item in (tmp_path / "halves").iterdir()} == {"set", "set.h5"}
    with pytest.raises(InputError, match=r"set\.h5 exists with other settings or from other files; --overwrite"):
        _import(tmp_path / "halves" / "set", stride=3)


def test_damage_anywhere_is_one_line_and_leaves_nothing(published, tmp_path: Path) -> None:
    published.write_folder(tmp_path / "set", {"train": 3}, frames=3)
    path, chance = tmp_path / "set" / "train.tfrecord", random.Random(1)
    whole = path.read_bytes()
    for _ in range(60):
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ chance.randrange(1, 256)]) + whole[place + 1 :])
        with pytest.raises(InputError) as caught:
            _import(tmp_path / "set")
        assert "\n" not in str(caught.value)
        assert sorted(item.name for item in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda meta: meta.pop("features"), "does not describe its fields: KeyError 'features'"),
        (lambda meta: meta["features"]["density"].update(type="dynamc"), "did you mean 'dynamic'"),
        (lambda meta: meta["features"]["density"].update(shape=[7, 33, 1]), "bytes, which do not fit float32"),
        (lambda meta: meta["features"]["density"].update(shape=[7, 32]), "has the shape"),
        (lambda meta: meta["features"]["density"].update(dtype="string"), "string"),
        (lambda meta: meta["field_names"].remove("cells"), "has no field 'cells'"),
        (lambda meta: meta.update(dt="soon"), "does not describe its fields"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(published, tmp_path: Path, change, line: str) -> None:
    published.write_folder(tmp_path / "set", {"train": 1})
    meta = json.loads((tmp_path / "set" / "meta.json").read_text())
    change(meta)
    (tmp_path / "set" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=line):
        _import(tmp_path / "set")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["set"]


def test_another_mesh_in_a_later_record_is_refused(published, tmp_path: Path) -> None:
    published.write_folder(tmp_path / "set", {"train": 2})
    other = published.flow(3, 7, True)
    other["mesh_pos"] = other["mesh_pos"] + 1
    content = published.record(published.example({name: array.tobytes() for name, array in other.items()}))
    with open(tmp_path / "set" / "train.tfrecord", "ab") as file:
        file.write(content)
    with pytest.raises(InputError, match="record 2 has another mesh than the first"):
        _import(tmp_path / "set")


_MEASURE = """
import sys
from pathlib import Path
from kitipde.cli import main
sys.argv = ["kitipde", "import", "meshgraphnets", sys.argv[1], "--out", sys.argv[2], "--stride", sys.argv[3]]
try:
    main()
except SystemExit as end:
    status = Path("/proc/self/status").read_text()
    print(end.code, status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.parametrize("stride", [24, 1])
def test_a_record_of_full_size_is_imported_in_less_than_200_mib(published, tmp_path: Path, stride: int) -> None:
    nodes, cells = 5233, 10216
    chance = np.random.default_rng(0)
    kinds = np.zeros((1, nodes, 1), np.int32)
    kinds[0, :50], kinds[0, 50:250] = 4, 2
    mesh = {
        "mesh_pos": chance.uniform(-20, 20, (1, nodes, 2)).astype(np.float32),
        "cells": chance.integers(0, nodes, (1, cells, 3)).astype(np.int32),
        "node_type": kinds,
    }
    sample = published.flow(0, 601, True, mesh)
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "meta.json").write_text(published.meta(sample))
    from tfrecord.writer import TFRecordWriter

    writer = TFRecordWriter(str(folder / "train.tfrecord"))
    writer.write({name: (array.tobytes(), "byte") for name, array in sample.items()})
    writer.close()
    assert (folder / "train.tfrecord").stat().st_size == 50_506_102
    with ExitStack() as stack:
        assert len(MeshGraphNets(folder, Selection(), stack).frames) == 26
    out = tmp_path / "set.h5"
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder), str(out), str(stride)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert measured.returncode == 0, measured.stderr
    code, kilobytes = measured.stdout.split()
    print(f"peak {int(kilobytes) / 1024:.0f} MiB at stride {stride}")
    assert code == "0", measured.stderr
    assert int(kilobytes) < 200 * 1024
    with open_dataset(out) as data:
        np.testing.assert_array_equal(data.read("density")[0], sample["density"][::stride, :, 0])


def test_the_command_imports_describes_verifies_and_draws(kitipde, published, tmp_path: Path) -> None:
    published.write_folder(tmp_path / "set", {"train": 3, "test": 1})
    out = tmp_path / "a.h5"
    made = kitipde("import", "meshgraphnets", tmp_path / "set", "--out", out, "--stride", 2, "--frames", "1:6")
    assert (made.code, made.out) == (0, "")
    assert "the field called velocity is momentum" in made.err
    assert "import: 4/4 samples" in made.err
    told = kitipde("info", out, "--verify", "--json", "--plot", tmp_path / "a.png")
    document = json.loads(told.out)
    assert document["verified"]
    assert document["mesh"] == {"node": 32, "cell": 48, "vertex": 3}
    assert set(document["fields"]) == {"velocity_x", "velocity_y", "density", "pressure"}
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "32 nodes, 48 cells of 3 nodes" in kitipde("info", out).out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--stride", "0"), "stride 0 is too small (allowed: 1 or more)"),
        (("--frames", "3"), "frames '3' is no range (allowed: START:STOP, such as 0:601)"),
        (("--frames", "5:9"), "frames 5:9 are not there (allowed: 0:7)"),
        (("--split", "tests"), "unknown split 'tests'; did you mean 'test'"),
        (("--split", "valid"), "cannot read"),
        (("--velocity", "speed"), "unknown kind of velocity 'speed'"),
        (("--dt", "-1"), "dt -1 is not a positive number"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(kitipde, published, tmp_path: Path, arguments, line: str) -> None:
    published.write_folder(tmp_path / "set", {"train": 1})
    ended = kitipde("import", "meshgraphnets", tmp_path / "set", "--out", tmp_path / "a.h5", *arguments)
    assert ended.code == 2
    assert line in ended.err.splitlines()[-1]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["set"]


def test_a_mesh_has_no_other_resolution(published, tmp_path: Path) -> None:
    published.write_folder(tmp_path / "set", {"train": 1})
    out, _ = _import(tmp_path / "set")
    refusal = "resolution 16: a mesh has its 32 nodes and no other resolution"
    with open_dataset(out) as data, pytest.raises(InputError, match=refusal):
        data.read("density", resolution=(16,))


def test_a_folder_that_cannot_be_imported_leaves_the_file_that_it_was_to_replace(kitipde, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "old.h5").write_text("old")
    result = kitipde("import", "meshgraphnets", tmp_path / "set", "--out", tmp_path / "old.h5", "--overwrite")
    assert result.code == 2
    assert (tmp_path / "old.h5").read_text() == "old"


def test_a_field_that_float32_would_lose_stays_in_float64(published, tmp_path: Path) -> None:
    samples = [published.flow(seed, 5, False) for seed in range(3)]
    for seed, sample in enumerate(samples):
        waves = np.random.default_rng(seed).standard_normal(sample["pressure"].shape)
        sample["pressure"] = 101325 + 1e-4 * waves
    (tmp_path / "set").mkdir()
    records = (published.example({name: array.tobytes() for name, array in sample.items()}) for sample in samples)
    (tmp_path / "set" / "train.tfrecord").write_bytes(b"".join(published.record(each) for each in records))
    meta = json.loads(published.meta(samples[0]))
    meta["features"]["pressure"]["dtype"] = "float64"
    (tmp_path / "set" / "meta.json").write_text(json.dumps(meta))
    out, told = _import(tmp_path / "set", stride=1, velocity="velocity")
    assert any(line.startswith("pressure is stored in float64") for line in told)
    with open_dataset(out) as data:
        stored = data.read("pressure")
        assert (stored.dtype, data.dtype("density")) == (np.float64, np.float32)
        np.testing.assert_array_equal(stored, np.stack([sample["pressure"][..., 0] for sample in samples]))
    assert verify(out).samples == 3
