"""SIGKILL at random moments: the same command again gives what it gives when nobody interferes."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datagen.formats.meshgraphnets.crc32c import crc32c
from tests.conftest import TINY, settings
from tests.datagen import mesh_records as published
from tests.faults.conftest import Commands
from tests.training.test_resume import assert_same

pytestmark = [pytest.mark.slow, pytest.mark.faults]

KILLS = 50


def kill_at_random_moments(
    commands: Commands,
    folder: Path,
    words: Callable[[Path], list[object]],
    check: Callable[[Path], None],
    prepare: str = "",
) -> list[str]:
    """Start, kill, start again …, until `KILLS` processes were killed at work. Whenever one comes to its end, look at
    what it made and begin another.

    Args:
        commands: to start command lines with.
        folder: to work in.
        words: the command line that makes a given path, or goes on with it.
        check: raises if what was made at a path is not right.
        prepare: what each process runs before its command.

    Returns:
        What went wrong.
    """
    moments, failures, log = random.Random(0), [], folder / "log"
    commands.start("--help", log=log).join()
    started = time.monotonic()
    commands.start(*words(folder / "first"), log=log, prepare=prepare).join()
    longest = time.monotonic() - started
    killed = attempt = 0
    while killed < KILLS or (folder / f"{attempt}").exists():
        path = folder / f"{attempt}"
        process = commands.start(*words(path), log=log, prepare=prepare)
        process.join(moments.uniform(0.0, longest) if killed < KILLS else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
            continue
        attempt += 1
        if process.exitcode != 0:
            failures.append(f"{path.name}: exit code {process.exitcode}: {log.read_text()[-300:]}")
            continue
        try:
            check(path)
        except AssertionError as error:
            failures.append(f"{path.name}: {error}")
    return failures


def test_generate_gives_the_same_bytes(tmp_path: Path, commands: Commands, tally) -> None:
    def words(path: Path) -> list[object]:
        sizes = ("--samples", 16, "--resolution", 32, "--frames", 2, "--device", "cpu", "--workers", 1)
        return ["generate", "navier-stokes", *sizes, "--out", path / "d.h5"]

    def check(path: Path) -> None:
        assert (path / "d.h5").read_bytes() == (tmp_path / "first" / "d.h5").read_bytes()
        assert [item.name for item in path.iterdir()] == ["d.h5"]

    failures = kill_at_random_moments(commands, tmp_path, words, check)
    tally("SIGKILL in `generate`", "moments", KILLS, failures, "the file has the bytes of an uninterrupted one")


def test_import_gives_the_same_bytes(tmp_path: Path, commands: Commands, tally) -> None:
    source = tmp_path / "set"
    source.mkdir()
    mesh = published.ring(48, 24)
    samples = [published.flow(seed, 48, True, mesh) for seed in range(20)]
    records = [
        published.record(published.example({name: array.tobytes() for name, array in sample.items()}), crc32c)
        for sample in samples
    ]
    (source / "train.tfrecord").write_bytes(b"".join(records))
    (source / "meta.json").write_text(published.meta(samples[0]))

    def words(path: Path) -> list[object]:
        return ["import", "meshgraphnets", source, "--stride", 1, "--out", path / "d.h5"]

    def check(path: Path) -> None:
        assert (path / "d.h5").read_bytes() == (tmp_path / "first" / "d.h5").read_bytes()
        assert [item.name for item in path.iterdir()] == ["d.h5"]

    # Pieces of the size that a quick test has: one, as by default, could only be begun again.
    prepare = "from datagen.formats.meshgraphnets import records; records._PIECE_BYTES = 1 << 20"
    failures = kill_at_random_moments(commands, tmp_path, words, check, prepare)
    tally("SIGKILL in `import meshgraphnets`", "moments", KILLS, failures, "the same")


def test_training_gives_the_same_bits(tmp_path: Path, commands: Commands, tally, burgers_file) -> None:
    options = settings(*TINY, "training.epochs=6", "training.checkpoint_seconds=0.05", "training.seeds=2")

    def words(path: Path) -> list[object]:
        if (path / "config.yaml").is_file():
            return ["train", "fno", "--resume", "--out", path]
        return ["train", "fno", "--kiti", "--data", burgers_file, "--out", path, *options]

    failures = kill_at_random_moments(commands, tmp_path, words, lambda path: assert_same(tmp_path / "first", path))
    tally("SIGKILL in `train`", "moments", KILLS, failures, "weights, states and metrics are equal bit for bit")


def test_every_trial_of_a_sweep_is_accounted_for(tmp_path: Path, commands: Commands, tally, burgers_file) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text("model: {name: fno}\n")
    trials = 3

    def words(path: Path) -> list[object]:
        varied = ("--param", "optimizer.learning_rate=1e-4:1e-1:log", "--param", "model.width=4,8")
        options = settings(*(text for text in TINY if "width" not in text), "training.epochs=1")
        search = ("--trials", trials, "--no-prune", "--sampler-seed", 0, "--out", path)
        return ["sweep", config, "--data", burgers_file, *varied, *search, *options]

    def check(path: Path) -> None:
        results = json.loads((path / "results.json").read_text())
        assert results["trials"]["complete"] == trials
        assert set(results["trials"]) <= {"complete", "fail"}
        assert len(results["complete"]) == trials
        numbers = {trial["trial"] for trial in results["complete"]}
        assert len(numbers) == trials

    # A killed process is known to be dead after 20 s without a sign of life; here after 2.
    prepare = "from kitipde.studies import sweep; sweep.HEARTBEAT, sweep.GRACE = 1, 2"
    failures = kill_at_random_moments(commands, tmp_path, words, check, prepare)
    tally("SIGKILL in `sweep`", "moments", KILLS, failures, "every trial is finished, none lost or counted twice")
