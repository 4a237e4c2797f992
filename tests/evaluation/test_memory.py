"""A large rollout is evaluated in bounded memory, with progress."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datagen.store import Layout, Variable
from datagen.store.writer import merge_files, write_file
from tests.evaluation.conftest import coordinate, train_tiny

SAMPLES, FRAMES, POINTS = 200, 40, 256


def write_large_data(path: Path) -> Path:
    """A pattern of 8 points, repeated and moved from frame to frame: large, and small on the disk."""
    x = np.arange(POINTS)
    layout = Layout(
        equation="navier-stokes",
        config="{}",
        coordinates=(
            coordinate("time", np.arange(FRAMES + 1.0)),
            coordinate("x", x / POINTS),
            coordinate("y", x / POINTS),
        ),
        variables=(Variable("vorticity", ("sample", "time", "x", "y"), "s-1", "vorticity"),),
        attributes={"domain_length": 1.0},
    )
    parts = []
    for first in range(0, SAMPLES + 4, 4):
        seeds = np.arange(first, first + 4)
        moved = x[:, None] + x + (np.arange(FRAMES + 1)[:, None, None] + seeds[:, None, None, None])
        parts.append(path.with_name(f"part-{first}.h5"))
        write_file(parts[-1], layout, seeds, {"vorticity": np.sin(2 * np.pi * (moved % 8) / 8)})
    merge_files(parts, path, layout)
    return path


@pytest.mark.slow
def test_200_samples_of_40_frames_at_256_stay_below_2_gib(tmp_path: Path):
    data = write_large_data(tmp_path / "large.h5")
    settings = (
        "{data: {input: vorticity, target: vorticity, train: 2, validation: 2, test: 200, resolution: 32},"
        " training: {epochs: 1}}"
    )
    run = train_tiny(data, tmp_path / "run", settings)
    command = [sys.executable, "-m", "kitipde", "evaluate", str(run.path), "--resolutions", str(POINTS)]
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen([*command, "--frames", str(FRAMES)], stdout=stdout, stderr=stderr)
        # Of this process alone: what is known of all children has those of the tests before in it.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, err.read_text()
    peak = usage.ru_maxrss * 1024
    print(f"peak memory {peak / 2**30:.2f} GiB")
    assert peak < 2 * 2**30
    assert "100/200 samples" in err.read_text()
    assert f"{POINTS}" in out.read_text()
