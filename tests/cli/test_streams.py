"""Readers that go away, streams that are closed, a disk behind stdout that is full."""

import subprocess
import sys
from pathlib import Path

import pytest

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
