"""Commands side by side: what they say, what they share, how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from kitipde.cli.jobs import Job, run_side_by_side
from kitipde.errors import InputError
from kitipde.files import held
from kitipde.runs import open_run
from tests.conftest import TINY, settings


def _training(data, out, *more: str) -> Job:
    words = ("train", "fno", "--data", data, "--out", out, *settings(*TINY, "data.train=10", *more))
    return Job(out.name, tuple(map(str, words)))


def test_trainings_side_by_side_end_as_those_alone(kitipde, burgers_file, tmp_path, capfd) -> None:
    jobs = [_training(burgers_file, tmp_path / name) for name in ("a", "b")]
    run_side_by_side(jobs, 2, 2)
    said = capfd.readouterr()
    assert said.out == ""
    for job in jobs:
        assert f"$ kitipde train fno --data {burgers_file} --out {tmp_path / job.label}" in said.err
        assert f"\n{job.label}: {job.label} seed 0: 6/6 steps" in said.err
    assert kitipde(*_training(burgers_file, tmp_path / "alone").words).code == 0
    losses = [open_run(tmp_path / name).replica(0).facts()["best_validation_loss"] for name in ("a", "b", "alone")]
    assert len(set(losses)) == 1
    assert open_run(tmp_path / "a").replica(0).facts()["threads"] == 1


def test_the_first_that_fails_ends_the_others_and_starts_no_more(burgers_file, tmp_path, capfd) -> None:
    long = _training(burgers_file, tmp_path / "long", "training.epochs=100000")
    wrong = Job("wrong", ("train", "fno", "--data", str(tmp_path / "none.h5"), "--out", str(tmp_path / "wrong")))
    with pytest.raises(typer.Exit) as end:
        run_side_by_side([long, wrong, _training(burgers_file, tmp_path / "never")], 2, 2)
    assert end.value.exit_code == 2
    said = capfd.readouterr().err
    assert "wrong: kitipde: " in said
    assert "none.h5" in said
    assert not (tmp_path / "never").exists()
    facts = tmp_path / "long" / "seed-0" / "facts.json"
    assert not facts.exists() or not json.loads(facts.read_text())["finished"]


def test_a_job_that_is_killed_is_named(burgers_file, tmp_path, capfd, monkeypatch) -> None:
    script = tmp_path / "killed"
    script.write_text(f"#!{sys.executable}\nimport os\nos.kill(os.getpid(), 9)\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(typer.Exit) as end:
        run_side_by_side([Job("heat", ("train",))], 2, 2)
    assert end.value.exit_code == 1
    assert "heat: ended by a signal (Killed)" in capfd.readouterr().err


def _side_by_side(jobs: list[Job]) -> subprocess.Popen[str]:
    """A process that runs them, once all are in training."""
    script = (
        "import sys; from kitipde.cli.jobs import Job, run_side_by_side\n"
        "run_side_by_side([Job(words[0], tuple(words)) for words in map(str.split, sys.argv[1:])], 2, 2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *(" ".join(job.words) for job in jobs)],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not all(list(Path(job.words[5]).glob("seed-0/metrics.jsonl")) for job in jobs):
        assert time.monotonic() < until
        time.sleep(0.1)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_asked_to_stop_all_save_their_state(burgers_file, tmp_path, number) -> None:
    process = _side_by_side([_training(burgers_file, tmp_path / name, "training.epochs=100000") for name in ("a", "b")])
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    for name in ("a", "b"):
        assert f"the state of {tmp_path / name} is saved" in said
        assert any((tmp_path / name / "seed-0" / "checkpoints").iterdir())


def test_trainings_do_not_outlive_their_study(burgers_file, tmp_path) -> None:
    process = _side_by_side([_training(burgers_file, tmp_path / name, "training.epochs=100000") for name in ("a", "b")])
    process.kill()
    process.communicate(timeout=120)
    until = time.monotonic() + 60
    for name in ("a", "b"):
        while True:
            try:
                with held(tmp_path / name):
                    break
            except InputError:
                assert time.monotonic() < until
                time.sleep(0.1)
        assert any((tmp_path / name / "seed-0" / "checkpoints").iterdir())
