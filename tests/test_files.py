"""Files in strange places: locked, behind symbolic links, where nothing can be written."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

from datagen.errors import DamagedError, InputError, UnreadableError
from datagen.store import open_dataset
from datagen.store.writer import atomic_path
from kitipde.files import write_atomically
from tests.conftest import TINY, settings

IN_USE = "is open in another program, or its file system has no locks (then set HDF5_USE_FILE_LOCKING=FALSE)"


@pytest.fixture
def held_by_another(tmp_path: Path, burgers_file: Path):
    """A dataset that another process has open for writing."""
    path = tmp_path / "held.h5"
    path.write_bytes(burgers_file.read_bytes())
    hold = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield path
    process.communicate("")


def test_a_lock_that_cannot_be_had_is_never_called_damage(kitipde, held_by_another: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as caught:
        open_dataset(held_by_another)
    assert not isinstance(caught.value, DamagedError)
    commands = (
        ("info", held_by_another),
        ("export", "mat", held_by_another, "--out", tmp_path / "a.mat"),
        ("import", "mat", held_by_another, "--out", tmp_path / "a.h5"),
        ("import", "netcdf", held_by_another, "--out", tmp_path / "a.h5", "--equation", "burgers"),
        ("train", "fno", "--data", held_by_another, "--out", tmp_path / "run"),
    )
    for words in commands:
        result = kitipde(*words)
        assert (result.code, result.err) == (2, f"kitipde: {held_by_another} {IN_USE}\n")
    assert [item.name for item in tmp_path.iterdir()] == ["held.h5"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("write", ["atomic_path", "write_atomically"])
def test_a_symbolic_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, there: bool, write: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    second = tmp_path / "second"
    link.symlink_to("elsewhere/target")
    second.symlink_to(link)
    if there:
        target.write_text("old")
    for name in (link, second):
        content = name.name.encode()
        if write == "atomic_path":
            with atomic_path(name) as temporary:
                assert temporary.parent == target.parent
                temporary.write_bytes(content)
        else:
            write_atomically(name, content)
        assert target.read_bytes() == content
    assert link.is_symlink()
    assert second.is_symlink()
    assert [item.name for item in target.parent.iterdir()] == ["target"]


def test_what_is_not_a_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, why in (("pipe", "it is not a regular file"), ("loop", "Too many levels of symbolic links")):
        with pytest.raises(InputError, match=why), atomic_path(tmp_path / name) as temporary:
            temporary.touch()
        assert (tmp_path / name).is_symlink() or (tmp_path / name).is_fifo()


def test_every_verb_writes_through_links(kitipde, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    def link(name: str, there: bool = False) -> Path:
        (tmp_path / name).symlink_to(disk / name)
        if there:
            (disk / name).write_text("old")
        return tmp_path / name

    data, mat, well, back = link("d.h5", True), link("d.mat"), link("d.hdf5", True), link("back.h5")
    run, copy, predicted, page = link("run"), link("copy"), link("p.h5", True), link("page.html", True)
    options = settings(*TINY, "training.epochs=1")
    sizes = ("--samples", 10, "--resolution", 32, "--solve-resolution", 64)
    commands = (
        ("generate", "burgers", *sizes, "--out", data, "--overwrite"),
        ("export", "mat", data, "--out", mat),
        ("export", "well", data, "--out", well, "--overwrite"),
        ("import", "mat", mat, "--out", back),
        ("train", "fno", "--data", data, "--out", run, *options),
        ("train", "fno", "--data", data, "--out", run, "--overwrite", *options),
        ("predict", run, "--data", data, "--out", predicted, "--overwrite"),
        ("report", run, "--out", page),
        ("export", "run", run, "--out", copy),
    )
    for words in commands:
        result = kitipde(*words)
        assert result.code == 0, result.err
    links = (data, mat, well, back, run, copy, predicted, page)
    assert all(path.is_symlink() and path.exists() for path in links)
    assert sorted(item.name for item in disk.iterdir()) == sorted(path.name for path in links)
    assert "old" not in [item.read_text(errors="replace") for item in disk.iterdir() if item.is_file()]


def test_a_killed_import_is_never_in_the_way(kitipde, tmp_path: Path) -> None:
    source, out = tmp_path / "a.nc", tmp_path / "a.h5"
    values = np.random.default_rng(0).standard_normal((40, 32))
    xarray.Dataset({"u": (("sample", "x"), values)}, {"x": np.arange(32) / 32}).to_netcdf(source, engine="h5netcdf")
    for overwrite in ((), ("--overwrite",)):
        # Beyond the largest number of a process: this one lives no more.
        pieces = tmp_path / ".a.h5.parts.4194305.tmp"
        pieces.mkdir()
        (pieces / "part-00000.h5").write_bytes(b"half")
        (tmp_path / ".a.h5.4194305.tmp").write_bytes(b"half")
        result = kitipde("import", "netcdf", source, "--out", out, "--equation", "noise", *overwrite)
        assert result.code == 0, result.err
        assert sorted(item.name for item in tmp_path.iterdir()) == ["a.h5", "a.nc"]


def _give_up_the_rights_of_root() -> None:
    """Root may write where nobody may; without its capabilities 1 and 2 it may not."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


ALL_COMMANDS = """
import json, sys
from kitipde.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["kitipde", *words]
    try:
        main()
    except SystemExit as end:
        print(end.code, flush=True)
"""


def test_where_nothing_can_be_written_commands_say_so_in_a_line(tmp_path: Path, burgers_file: Path) -> None:
    folder = tmp_path / "readonly"
    folder.mkdir()
    folder.chmod(0o555)
    commands = (
        ("generate", "burgers", "--samples", "4", "--resolution", "32", "--device", "cpu", "--out"),
        ("export", "mat", burgers_file, "--out"),
        ("train", "fno", "--data", burgers_file, *settings(*TINY, "training.epochs=1"), "--out"),
    )
    texts = json.dumps([[*map(str, words), str(folder / "x.h5")] for words in commands])
    command = [sys.executable, "-c", ALL_COMMANDS, texts]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=_give_up_the_rights_of_root)
    assert ended.stdout.split() == ["2"] * len(commands), ended.stderr
    said = [line for line in ended.stderr.splitlines() if line.startswith("kitipde: ")]
    assert len(said) == len(commands)
    assert "Traceback" not in ended.stderr
    assert all(str(folder / "x.h5") in line and line.endswith("Permission denied") for line in said[:-1])
    assert not list(folder.iterdir())
