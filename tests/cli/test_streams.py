"""Readers that go away, streams that are closed, a disk behind stdout that is full."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from kitipde.cli.console import progress

COMMAND = [sys.executable, "-m", "kitipde"]


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [("| head -1", 0, ""), (">&-", 0, ""), ("2>&-", 0, ""), ("> /dev/full", 2, "No space left on device")],
)
def test_a_stdout_that_is_closed_or_full(burgers_file: Path, redirection: str, code: int, said: str) -> None:
    line = f"set -o pipefail; {' '.join(COMMAND)} info {burgers_file} --json {redirection}"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert said in result.stderr
    assert result.stderr.count("\n") <= 1, result.stderr


def test_a_log_has_a_line_each_tenth_and_of_long_work_after_a_minute_and_every_ten(monkeypatch, capsys) -> None:
    """A training of hours in a log says early how long it will take, and later that it lives."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with progress("run", "steps") as update:
        for done in range(0, 1001):
            now[0] = 12.0 * done
            update(done, 1000, "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [
        "run: 0/1000 steps",
        "run: 5/1000 steps, 0.0833 steps/s, 3.3 h left",
        "run: 55/1000 steps, 0.0833 steps/s, 3.1 h left",
    ]
    counts = [int(line.split(":")[1].split("/")[0]) for line in lines]
    assert set(range(0, 1001, 100)) <= set(counts)
    assert max(later - before for before, later in pairwise(counts)) == 50
    assert len(counts) == 1 + 1 + 10 * 2
