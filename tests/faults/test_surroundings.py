"""What a machine does to a program: disks that fill or refuse, files that vanish, clocks that jump, signals, memory."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import TINY, settings
from tests.faults.conftest import Commands
from tests.training.test_resume import assert_same

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _last_line(code: int, log: str) -> str:
    assert "Traceback" not in log, log[-2000:]
    last = log.rstrip("\n").rpartition("\n")[2]
    assert code == 2, log[-500:]
    assert last.startswith("kitipde: ")
    return last


def test_on_a_full_disk_every_verb_ends_in_one_line_and_leaves_no_half_file(
    kitipde, tally, small_disk: Path, tmp_path: Path, burgers_file: Path
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    train = ("train", "fno", "--data", burgers_file, *settings(*TINY, "training.epochs=2"))
    assert kitipde(*train, "--out", run).code == 0
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    verbs = {
        "generate": ("generate", "burgers", "--samples", 40, "--resolution", 512, "--solve-resolution", 1024, "--out"),
        "export": ("export", "well", burgers_file, "--out"),
        "train": (*train, "--out"),
        "report": ("report", run, "--out"),
    }
    for name, words in verbs.items():
        result = kitipde(*words, small_disk / f"{name}.h5")
        assert "No space left" in _last_line(result.code, result.err) or " free" in result.err, name
        assert not (small_disk / f"{name}.h5").is_file(), name
    ballast.unlink()
    # With room again the interrupted training is begun, or continued, to the same bits.
    out = small_disk / "train.h5"
    more = ("train", "fno", "--resume", "--out", out) if (out / "config.yaml").is_file() else (*train, "--out", out)
    result = kitipde(*more)
    assert result.code == 0, result.err
    assert kitipde(*train, "--out", again).code == 0
    assert_same(again, out)
    tally("full disk", "verbs", len(verbs), [], "one line, no half file; with room again the run has the same bits")


def test_in_a_folder_that_cannot_be_written_every_verb_says_so(
    kitipde, tally, small_disk: Path, tmp_path: Path, burgers_file: Path
) -> None:
    run = small_disk / "run"
    train = ("train", "fno", "--data", burgers_file, *settings(*TINY, "training.epochs=2"))
    assert kitipde(*train, "--out", run).code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    sizes = ("--samples", 2, "--resolution", 16, "--solve-resolution", 32)
    verbs = (
        ("generate", "burgers", *sizes, "--out", small_disk / "d.h5"),
        (*train, "--out", small_disk / "other"),
        ("train", "fno", "--resume", "--out", run, "--seeds", 2),
        ("export", "well", burgers_file, "--out", small_disk / "w.h5"),
        ("evaluate", run),
        ("report", run, "--out", small_disk / "report.html"),
        ("sweep", "fno-burgers", "--data", burgers_file, "--param", "model.width=2,4", "--out", small_disk / "s"),
    )
    for words in verbs:
        result = kitipde(*words)
        assert "Read-only file system" in _last_line(result.code, result.err), words
    tally("folder that cannot be written", "verbs", len(verbs), [], "one line")


def test_files_that_vanish_or_change_under_a_run_are_told(kitipde, tally, tmp_path: Path, burgers_file: Path) -> None:
    data, run = tmp_path / "d.h5", tmp_path / "run"
    data.write_bytes(burgers_file.read_bytes())
    assert kitipde("train", "fno", "--data", data, "--out", run, *settings(*TINY)).code == 0
    weights, facts = run / "seed-0" / "best.safetensors", run / "seed-0" / "facts.json"
    for path, gone, cut in (
        (data, "d.h5", "d.h5 is truncated"),
        (weights, "no trained weights", "best.safetensors does not hold"),
        (facts, "facts.json", "facts.json"),
        (run / "run.json", "run.json", "run.json"),
        (run / "config.yaml", "config.yaml", "config.yaml"),
    ):
        content = path.read_bytes()
        for said in (gone, cut):
            path.unlink()
            if said == cut:
                path.write_bytes(content[: len(content) // 2])
            result = kitipde("evaluate", run)
            assert said in _last_line(result.code, result.err), path
            path.write_bytes(content)
            assert kitipde("evaluate", run).code == 0
    tally("files of a run gone or cut", "files", 10, [], "one line")


CLOCK = """
import random, time
_true, _jumps = time.time, random.Random(1)
time.time = lambda: _true() + _jumps.choice([-1, 1]) * 3e7
"""


def test_a_clock_that_jumps_by_years_changes_nothing(
    tmp_path: Path, commands: Commands, kitipde, tally, burgers_file: Path
) -> None:
    options = settings(*TINY, "training.checkpoint_seconds=0", "residual.kind=kiti")
    train = ("train", "fno", "--data", burgers_file, *options, "--out")
    assert kitipde(*train, tmp_path / "steady").code == 0
    log = tmp_path / "log"
    jumping = commands.start(*train, tmp_path / "jumping", log=log, prepare=CLOCK)
    jumping.join()
    assert jumping.exitcode == 0, log.read_text()
    for path in (tmp_path / "jumping").rglob("*"):
        os.utime(path, (4e9, 4e9))
    resumed = commands.start("train", "fno", "--resume", "--out", tmp_path / "jumping", log=log, prepare=CLOCK)
    resumed.join()
    assert resumed.exitcode == 0, log.read_text()
    assert_same(tmp_path / "steady", tmp_path / "jumping")
    seconds = [row["seconds"] for row in _rows(tmp_path / "jumping")]
    assert all(0 < each < 1e6 for each in seconds)
    tally("clock that jumps by a year", "runs", 2, [], "the same bits; times of the future on all files")


def _rows(run: Path) -> list[dict]:
    from kitipde.runs import open_run

    return open_run(run).replicas[0].metrics()


def test_a_second_process_on_a_run_is_told_who_holds_it(
    tmp_path: Path, commands: Commands, kitipde, tally, burgers_file: Path
) -> None:
    options = settings(*TINY, "training.epochs=100000")
    first = commands.start(
        "train", "fno", "--data", burgers_file, "--out", tmp_path / "run", *options, log=tmp_path / "log"
    )
    _wait_for(tmp_path / "run" / "seed-0" / "metrics.jsonl")
    second = kitipde("train", "fno", "--resume", "--out", tmp_path / "run")
    assert f"is in use by process {first.pid} on" in _last_line(second.code, second.err)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGTERM)
    first.join()
    assert first.exitcode == 143
    assert "--resume" in (tmp_path / "log").read_text()
    assert list((tmp_path / "run" / "seed-0" / "checkpoints").iterdir())
    tally("two processes on a run, SIGTERM", "run", 1, [], "the lock names its holder; the state is saved")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists()


MEMORY = """
import resource
from pathlib import Path
import torch
torch.ones(64, 64).matmul(torch.ones(64, 64))
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + {megabytes} * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""


def test_a_batch_that_does_not_fit_is_told_with_a_size_that_does(
    tmp_path: Path, commands: Commands, kitipde, tally
) -> None:
    sizes = ("--samples", 64, "--resolution", 1024, "--solve-resolution", 1024)
    assert kitipde("generate", "burgers", *sizes, "--out", tmp_path / "d.h5").code == 0
    options = settings("training.epochs=1", "model.width=64", "model.modes=8", "training.batch_size=48")
    train = ("train", "fno", "--no-kiti", "--data", tmp_path / "d.h5", "--out", tmp_path / "run", *options)
    log, prepare = tmp_path / "log", MEMORY.format(megabytes=100)
    first = commands.start(*train, log=log, prepare=prepare)
    first.join()
    last = _last_line(first.exitcode or 0, log.read_text())
    assert "training.batch_size=48 does not fit into memory; " in last
    advice = last.partition("start again with ")[2].split()
    log.unlink()
    second = commands.start(*train, *advice, log=log, prepare=prepare)
    second.join()
    assert second.exitcode == 0, log.read_text()[-1000:]
    tally("batch larger than memory", "runs", 2, [], "told with a size, which then fits")


def test_a_network_that_does_not_fit_is_told(tmp_path: Path, commands: Commands, tally, burgers_file: Path) -> None:
    log, prepare = tmp_path / "log", MEMORY.format(megabytes=500)
    train = ("train", "fno", "--data", burgers_file, "--out", tmp_path / "run", *settings("model.width=30000"))
    process = commands.start(*train, log=log, prepare=prepare)
    process.join()
    assert process.exitcode == 1
    assert "Traceback" not in log.read_text()
    assert "kitipde: out of memory: " in log.read_text()
    tally("network larger than memory", "run", 1, [], "one line")
