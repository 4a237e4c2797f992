"""Two processes that share each batch are one process with the whole of it."""

import math
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from kitipde.collisions.backends.counter_rng import ROUNDING
from kitipde.collisions.backends.eager import directions
from kitipde.runs import open_run
from kitipde.training.processes import Processes
from tests.conftest import TINY, settings


def command_line(data: Path, out: Path, *options: str) -> list[str]:
    words = settings(*TINY, "training.device=cpu", *options)
    return [sys.executable, "-m", "kitipde", "train", "fno", "--data", str(data), "--out", str(out), *words]


def run_with(processes: int, data: Path, out: Path, *options: str) -> str:
    done = subprocess.run(
        command_line(data, out, f"training.devices={processes}", *options), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        # 18 samples in batches of 5: the last batch has 3, of which the processes get 2 and 1.
        # Both try the products of a step, apart from each other.
        (
            *("data.train=16", "training.batch_reduction=sum", "training.clip_norm=1.0", "training.ema=0.9"),
            "training.matrix_products=onednn",
        ),
        # The last batch has one sample, and the second process none.
        ("data.train=16", "training.batch_size=5", "training.seeds=3", "data.normalize=standard"),
    ],
)
def test_two_processes_are_one(tmp_path, burgers_file, options) -> None:
    run_with(1, burgers_file, tmp_path / "one", *options)
    printed = run_with(2, burgers_file, tmp_path / "two", *options)
    assert printed.count("validation relative L2") == 1, "only the first process tells the result"
    one, two = open_run(tmp_path / "one"), open_run(tmp_path / "two")
    assert two.replicas[0].facts()["processes"] == 2
    for replica, twin in zip(one.replicas, two.replicas, strict=True):
        first, second = load_file(replica.best_path), load_file(twin.best_path)
        # The spectral weights, complex numbers stored as pairs, among them.
        for name, tensor in first.items():
            torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-5)
        for row, its_twin in zip(replica.metrics(), twin.metrics(), strict=True):
            for name in ("train_loss", "validation_loss"):
                assert math.isclose(row[name], its_twin[name], rel_tol=1e-4)


def test_collisions_are_counted_over_both_and_bad_input_ends_both(tmp_path, burgers_file) -> None:
    options = ("residual.kind=kiti", "residual.target_rate=0.5", "residual.schedule=constant", "training.seeds=2")
    run_with(2, burgers_file, tmp_path / "run", *options)
    for replica in open_run(tmp_path / "run").replicas:
        for row in replica.metrics():
            for layer in row["collisions"].values():
                assert layer["collisions_per_particle"] == pytest.approx(0.5)
    again = subprocess.run(
        command_line(burgers_file, tmp_path / "run", "training.devices=2"), capture_output=True, text=True, timeout=240
    )
    assert again.returncode == 2
    assert again.stderr.count("exists; continue it with --resume") == 1


def test_asked_to_stop_both_do_so_where_an_epoch_has_one_step(tmp_path, burgers_file) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    options = ("training.devices=2", "training.batch_size=16", "training.epochs=1000000")
    with log.open("w") as file:
        process = subprocess.Popen(
            command_line(burgers_file, out, *options), stdout=file, stderr=file, start_new_session=True
        )
    try:
        metrics, deadline = out / "seed-0" / "metrics.jsonl", time.monotonic() + 120
        while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert list((out / "seed-0" / "checkpoints").iterdir())


def test_each_process_has_collisions_of_its_own() -> None:
    first, keys = 987_654_321_012_345, []
    processes = Processes(Fabric(accelerator="cpu", devices=1))
    for processes.rank in range(64):
        objective = torch.nn.Module()
        objective.register_buffer("collision_key", torch.tensor(first))
        processes.set_apart(objective)
        keys.append(int(objective.collision_key))
    assert keys[0] == first, "what the first draws does not depend on how many there are"
    for keyed in (keys, [key ^ ROUNDING for key in keys]):
        drawn = {torch.rand((), generator=directions(key, torch.device("cpu"))).item() for key in keyed}
        assert len(drawn) == len(keys)
        # On a CPU the low 32 bits tell generators apart, and each call of an epoch adds one.
        low = sorted(key % (1 << 32) for key in keyed)
        gaps = [after - before for before, after in pairwise([*low, low[0] + (1 << 32)])]
        assert min(gaps) > 10_000_000
