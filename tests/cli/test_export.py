"""`kitipde import` and `kitipde export` there and back."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from datagen.store import open_dataset
from kitipde.cli import main


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kitipde", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_data_set_goes_to_mat_to_the_well_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = ("--samples", "2", "--resolution", "16", "--frames", "3")
    assert _run(monkeypatch, "generate", "navier-stokes", *sizes, "--out", "ns.h5") == 0
    assert _run(monkeypatch, "export", "mat", "ns.h5", "--out", "ns.mat") == 0
    assert _run(monkeypatch, "export", "well", "ns.h5", "--out", "ns.hdf5") == 0
    assert _run(monkeypatch, "import", "mat", "ns.mat", "--nu", "1e-3", "--out", "back.h5") == 0
    with open_dataset("ns.h5") as one, open_dataset("back.h5") as other, h5py.File("ns.hdf5") as third:
        np.testing.assert_array_equal(one.read("vorticity"), other.read("vorticity"))
        np.testing.assert_array_equal(one.read("vorticity"), np.asarray(third["t0_fields/vorticity"]))
    capsys.readouterr()
    for verb, source, out in (("export", "ns.h5", "ns.mat"), ("import", "ns.mat", "back.h5")):
        assert _run(monkeypatch, verb, "mat", source, "--out", out) == 2
        assert capsys.readouterr().err == f"kitipde: {out} exists; --overwrite replaces it\n"


def test_what_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("import", "mat", "x.mat"), ("export", "mat", "x.h5"), ("export", "well", "x.h5")):
        assert _run(monkeypatch, *arguments, "--out", "y") == 2
        assert "no such file: x." in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_the_file_that_is_read_is_never_replaced(kitipde, burgers_file: Path, tmp_path: Path) -> None:
    content = burgers_file.read_bytes()
    data, other = tmp_path / "b.h5", tmp_path / "other-name.h5"
    data.write_bytes(content)
    other.symlink_to(data)
    commands = (
        ("export", "mat", data),
        ("export", "well", data),
        ("import", "mat", data),
        ("import", "netcdf", data, "--equation", "burgers"),
    )
    for command in commands:
        for out in (data, other):
            for overwrite in ((), ("--overwrite",)):
                result = kitipde(*command, "--out", out, *overwrite)
                assert result.code == 2
                assert result.err == f"kitipde: --out is the file that is read: {out} (allowed: any other name)\n"
    (tmp_path / "meta.json").write_text("{}")
    result = kitipde("import", "meshgraphnets", tmp_path, "--out", tmp_path / "meta.json", "--overwrite")
    assert (result.code, result.err.count("--out is the file that is read")) == (2, 1)
    assert (tmp_path / "meta.json").read_text() == "{}"
    assert data.read_bytes() == content
    assert other.is_symlink()


def test_a_folder_is_not_a_file_to_write(kitipde, burgers_file: Path, tmp_path: Path) -> None:
    for overwrite in ((), ("--overwrite",)):
        result = kitipde("export", "mat", burgers_file, "--out", tmp_path, *overwrite)
        assert result.code == 2
        assert result.err == f"kitipde: cannot write {tmp_path}: it is a folder; give the name of a file\n"


def test_what_cannot_be_imported_is_named(kitipde, tmp_path: Path) -> None:
    for source, words, line in (
        (tmp_path, (), f"{tmp_path} is a folder (allowed: a file)"),
        (tmp_path / "e.mat", ("--nu", "nan"), "nu nan is not a positive number"),
    ):
        result = kitipde("import", "mat", source, "--out", tmp_path / "x.h5", *words)
        assert (result.code, result.err) == (2, f"kitipde: {line}\n")
    assert not list(tmp_path.iterdir())
