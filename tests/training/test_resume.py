"""A run that was stopped and continued is the run that was not."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from datagen.equations.burgers import Burgers
from kitipde.errors import InputError
from kitipde.runs import open_run
from kitipde.training.objective import UNITS
from kitipde.training.run import continue_run, train
from tests.conftest import TINY, make_dataset, settings
from tests.training.conftest import StopAfter, new_run, stopped_and_continued, trained


def assert_same(run: Path, other: Path) -> None:
    """Equal weights, newest states and metrics, bit for bit; only times differ, and which older states were saved."""
    newest = [max(replica.checkpoints_path.iterdir()) for replica in open_run(run).replicas]
    for file in sorted(run.rglob("*.safetensors")):
        if file.parents[1].name == "checkpoints" and file.parent not in newest:
            continue
        weights, others = load_file(file), load_file(other / file.relative_to(run))
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[name], others[name]) for name in weights), file
    for replica, its_twin in zip(open_run(run).replicas, open_run(other).replicas, strict=True):
        rows, others = replica.metrics(), its_twin.metrics()
        assert [drop_times(row) for row in rows] == [drop_times(row) for row in others]
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))


def drop_times(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "seconds"}


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
@pytest.mark.parametrize("kind", ["plain", "kiti"])
def test_a_stopped_run_continues_as_if_nothing_had_happened(tmp_path, burgers_file, stop: int, kind: str) -> None:
    # 16 training samples in batches of 5: 4 steps an epoch, so stops fall inside an epoch and at its end.
    options = (f"residual.kind={kind}", "training.seeds=2")
    train(new_run(burgers_file, tmp_path / "whole", *options), StopAfter(), print)
    stopped = new_run(burgers_file, tmp_path / "stopped", *options)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, StopAfter(stop), print)
    train(continue_run(stopped.path), StopAfter(), print)
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def command(data: Path, out: Path) -> list[str]:
    options = settings(*TINY, "training.epochs=20", "training.checkpoint_seconds=0.05", "residual.kind=kiti")
    return [sys.executable, "-m", "kitipde", "train", "fno", "--data", str(data), "--out", str(out), *options]


def kill_and_continue(data: Path, whole: Path, out: Path, kills: int, seed: int) -> None:
    """SIGKILL at random moments; each time the same run is continued."""
    moments = random.Random(seed)
    resume = [sys.executable, "-m", "kitipde", "train", "fno", "--resume", "--out", str(out)]
    for kill in range(kills + 1):
        started = (out / "config.yaml").is_file()
        process = subprocess.Popen(resume if started else command(data, out), stderr=subprocess.PIPE, text=True)
        if kill < kills:
            # Wait for the first step, so that the kill meets training and not the start of the interpreter.
            assert process.stderr is not None
            process.stderr.readline()
            time.sleep(moments.uniform(0.0, 0.4))
            process.kill()
            process.wait()
        else:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
    assert_same(whole, out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, burgers_file) -> Path:
    """The run that nobody kills."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(command(burgers_file, out), check=True, capture_output=True)
    return out


def test_killed_three_times_it_ends_with_the_same_bits(tmp_path, burgers_file, whole) -> None:
    kill_and_continue(burgers_file, whole, tmp_path / "killed", kills=3, seed=0)


def test_a_damaged_state_is_told_and_the_one_before_is_used(tmp_path, burgers_file) -> None:
    options = ("training.checkpoint_seconds=0", "training.epochs=5")
    train(new_run(burgers_file, tmp_path / "whole", *options), StopAfter(), print)
    run = new_run(burgers_file, tmp_path / "damaged", *options)
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(14), print)
    states = sorted(run.replicas[0].checkpoints_path.iterdir())
    content = bytearray((states[-1] / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (states[-1] / "state.pt").write_bytes(content)
    remarks: list[str] = []
    train(continue_run(run.path), StopAfter(), remarks.append)
    assert any(str(states[-1]) in remark and "damaged" in remark for remark in remarks)
    assert_same(tmp_path / "whole", tmp_path / "damaged")


def test_a_kill_between_the_first_states_of_stacked_seeds_begins_both_again(tmp_path, burgers_file) -> None:
    options = ("training.seeds=2", "training.checkpoint_seconds=0")
    train(new_run(burgers_file, tmp_path / "whole", *options), StopAfter(), print)
    killed = new_run(burgers_file, tmp_path / "killed", *options)
    with pytest.raises(KeyboardInterrupt):
        train(killed, StopAfter(2), print)
    shutil.rmtree(killed.replicas[1].checkpoints_path)
    train(continue_run(killed.path), StopAfter(), print)
    assert_same(tmp_path / "whole", killed.path)


def test_a_kill_between_the_last_state_and_its_best_weights_is_made_good(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    train(run, StopAfter(), print)
    (replica,) = run.replicas
    best = replica.best_path.read_bytes()
    replica.best_path.unlink()
    (replica.path / "facts.json").unlink()
    train(continue_run(run.path), StopAfter(), print)
    assert replica.best_path.read_bytes() == best
    assert replica.facts()["finished"]


def test_settings_that_are_cut_off_are_not_completed_with_defaults(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    file = run.path / "config.yaml"
    lines = file.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        file.write_bytes(b"".join(lines[:count]))
        with pytest.raises(InputError, match=r"config.yaml is cut off|config.yaml.*(?:empty|mapping)|missing"):
            continue_run(run.path)
    file.write_bytes(b"".join(lines))
    assert continue_run(run.path).config == run.config


def test_a_dataset_that_has_changed_is_refused(tmp_path, burgers_file) -> None:
    data = tmp_path / "data.h5"
    data.write_bytes(burgers_file.read_bytes())
    run = new_run(data, tmp_path / "run")
    data.unlink()
    make_dataset(Burgers(samples=20, resolution=32, solve_resolution=256, seed=1), data)
    with pytest.raises(InputError, match="has changed since"):
        continue_run(run.path)


def test_a_loss_that_is_not_finite_is_told_and_the_last_state_kept(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run", "optimizer.learning_rate=1e30", "training.checkpoint_seconds=0")
    with pytest.raises(
        InputError, match=r"the loss of seed 0 is not finite in epoch [12]: lower optimizer.learning_rate"
    ):
        train(run, StopAfter(), print)
    assert all(json.dumps(row, allow_nan=False) for row in run.replicas[0].metrics())


def test_more_seeds_are_added_to_a_finished_run(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    train(run, StopAfter(), print)
    before = load_file(run.replicas[0].best_path)
    train(continue_run(run.path, seeds=2), StopAfter(), print)
    run = open_run(run.path)
    assert [replica.seed for replica in run.replicas] == [0, 1]
    after = load_file(run.replicas[0].best_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_annealed_collisions_go_on_as_they_would_have(burgers_file, tmp_path):
    assignments = (
        *("residual.kind=kiti", "residual.target_rate=0.5", "residual.schedule=annealed"),
        *("schedule.name=step", "schedule.every=1"),
    )
    whole = trained(burgers_file, tmp_path / "whole", *assignments)
    rows = whole.replicas[0].metrics()
    rates = [[layer["collisions_per_particle"] for layer in row["collisions"].values()] for row in rows]
    # A sample's whole number of pairs is rounded at random: the mean of few samples is near the rate.
    expected = [0.5, 0.5 * 2 / 3 * 0.5, 0.5 / 3 * 0.25]
    assert [rate for layers in rates for rate in layers] == pytest.approx(list(np.repeat(expected, 2)), abs=0.05)
    assert_same(whole.path, stopped_and_continued(burgers_file, tmp_path / "parts", 3, *assignments).path)


@pytest.mark.parametrize(("schedule", "warned"), [("constant", True), ("annealed", False)])
def test_a_need_of_collisions_is_told_unless_they_die_out(burgers_file, tmp_path, monkeypatch, schedule, warned):
    monkeypatch.setattr("kitipde.training.loop.gap_warning", lambda *_: "the network needs them")
    settings = ("residual.kind=kiti", "residual.target_rate=0.5", f"residual.schedule={schedule}", "training.epochs=3")
    remarks: list[str] = []
    train(new_run(burgers_file, tmp_path / "run", *settings), StopAfter(), remarks.append)
    assert remarks.count("the network needs them") == warned


def test_a_state_of_an_earlier_version_that_lacks_the_units_of_the_loss_continues(tmp_path, burgers_file) -> None:
    options = ("data.normalize=standard", "training.input_noise=0.01", "training.seeds=2")
    whole = trained(burgers_file, tmp_path / "whole", *options)
    run = new_run(burgers_file, tmp_path / "run", *options)
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(6), print)
    for replica in run.replicas:
        (folder,) = replica.checkpoints_path.iterdir()
        state = torch.load(folder / "state.pt", weights_only=True)
        state["counters"] = {name: value for name, value in state["counters"].items() if name not in UNITS}
        torch.save(state, folder / "state.pt")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["state.pt"] = hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
    train(continue_run(run.path), StopAfter(), print)
    assert_same(whole.path, run.path)
