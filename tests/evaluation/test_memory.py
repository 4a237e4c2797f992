"""A large rollout is evaluated in bounded memory, with progress."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datagen.geometry import periodic_grid
from datagen.store import Layout, Variable
from datagen.store.writer import merge_files, write_file
from tests.evaluation.conftest import instants, train_tiny

SAMPLES, FRAMES, POINTS = 200, 40, 256

# The peak of this process alone; what is known of all children of the tests has that of others in it.
MEASURED = """
import atexit, sys
from pathlib import Path
from kitipde.cli import main
atexit.register(lambda: print(Path("/proc/self/status").read_text(), file=sys.stderr))
main()
"""


def write_large_data(path: Path) -> Path:
    """A pattern of 8 points, repeated and moved from frame to frame: large, and small on the disk."""
    x = np.arange(POINTS)
    layout = Layout(
        equation="navier-stokes",
        config="{}",
        geometry=periodic_grid((POINTS, POINTS), (1.0, 1.0)),
        coordinates=(instants(np.arange(FRAMES + 1.0)),),
        variables=(Variable("vorticity", ("sample", "time", "x", "y"), "s-1", "vorticity"),),
        attributes={},
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
    settings = "{data: {output_frames: 1, train: 2, validation: 2, test: 200, resolution: 32}, training: {epochs: 1}}"
    run = train_tiny(data, tmp_path / "run", settings)
    command = [sys.executable, "-c", MEASURED, "evaluate", str(run.path), "--resolutions", str(POINTS)]
    done = subprocess.run([*command, "--frames", str(FRAMES)], capture_output=True, text=True, check=True)
    peak = int(done.stderr.split("VmHWM:")[1].split()[0]) * 1024
    print(f"peak memory {peak / 2**30:.2f} GiB")
    assert peak < 2 * 2**30
    assert "100/200 samples" in done.stderr
    assert f"{POINTS}" in done.stdout
