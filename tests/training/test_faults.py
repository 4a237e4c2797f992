"""Disks that fill, folders that vanish, runs that are in use: told in one line, with the last state whole."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kitipde.errors import InputError
from kitipde.files import held
from kitipde.runs import open_run
from kitipde.training import checkpoint
from kitipde.training.run import continue_run, start_run, train
from tests.training.conftest import StopAfter, new_run, trained
from tests.training.test_resume import assert_same


class Vanish(StopAfter):
    """Removes the run folder after some steps."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__(steps)
        self.folder = folder

    def step(self, _done: int, _total: int, _note: str) -> None:
        self.left -= 1
        if self.left == 0:
            shutil.rmtree(self.folder)


def test_a_removed_run_folder_is_told_and_not_half_made_again(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run", "training.checkpoint_seconds=0")
    with pytest.raises(InputError, match="was removed while it was trained"):
        train(run, Vanish(run.path, 5), print)
    assert not run.path.exists()


@pytest.mark.parametrize("moment", [3, 9])
def test_a_full_disk_keeps_the_last_state_and_the_run_goes_on_when_there_is_room(
    tmp_path, burgers_file, monkeypatch, moment
) -> None:
    options = ("training.checkpoint_seconds=0", "training.epochs=4", "training.seeds=2")
    whole = trained(burgers_file, tmp_path / "whole", *options)
    run = new_run(burgers_file, tmp_path / "full", *options)
    flush, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) >= moment * 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(InputError, match=r"cannot write to .*No space left on device.*--resume"):
            train(run, StopAfter(), print)
    for replica in run.replicas:
        assert not list(replica.checkpoints_path.glob(".*"))
        names, remarks = checkpoint.intact_checkpoints(replica.checkpoints_path)
        assert not remarks
        assert names or moment == 3
    train(continue_run(run.path), StopAfter(), print)
    assert_same(whole.path, run.path)


def test_a_run_in_use_names_who_holds_it(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from kitipde.files import held\n"
            "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()",
            str(run.path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(InputError, match=f"is in use by process {holder.pid} on"):
        train(run, StopAfter(), print)
    with pytest.raises(InputError, match="is in use by"):
        start_run(run.config, run.path, overwrite=True)
    assert open_run(run.path).config == run.config
    holder.kill()
    holder.communicate()
    train(run, StopAfter(), print)
    with held(run.path):
        pass


KILLED_BEFORE_RENAMING = """
import os, sys
from pathlib import Path
from kitipde.files import write_atomically
os.replace = lambda *_: os._exit(9)
write_atomically(Path(sys.argv[1]), bytes(1000))
"""


def test_what_killed_processes_have_half_written_is_removed_on_resume(tmp_path, burgers_file) -> None:
    run = trained(burgers_file, tmp_path / "run")
    (replica,) = run.replicas
    before = sorted(run.path.rglob("*"))
    subprocess.run([sys.executable, "-c", KILLED_BEFORE_RENAMING, str(replica.best_path)])
    (ours,) = replica.path.glob(".*.tmp")
    # Of a process that had our number, and of one that lives.
    ours.with_name(f".facts.json.{os.getpid()}.tmp").touch()
    living = ours.with_name(f".facts.json.{os.getppid()}.tmp")
    living.touch()
    (replica.checkpoints_path / ".000003-000000").mkdir()
    train(continue_run(run.path), StopAfter(), print)
    assert sorted(run.path.rglob("*")) == sorted([*before, living])


def test_tensorboard_that_is_not_installed_is_told_before_anything_is_written(tmp_path, burgers_file) -> None:
    if __import__("importlib.util").util.find_spec("tensorboard"):
        pytest.skip("it is installed")
    with pytest.raises(InputError, match=r"pip install 'kitipde\[tracking\]'"):
        new_run(burgers_file, tmp_path / "run", "training.tensorboard=true")
    assert not (tmp_path / "run").exists()
