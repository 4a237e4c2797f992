"""A sweep: its space, that it goes on, and that no trial is lost with the process that had it."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kitipde.config.load import override
from kitipde.errors import InputError
from kitipde.files import held
from kitipde.studies.space import Dimension, parse_dimension
from kitipde.studies.sweep import Sweep, open_study, with_real_ranges, work
from tests.conftest import TINY, settings
from tests.data.mesh_files import write_mesh_data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("residual.coll_coef=0.1:0.9", Dimension("residual.coll_coef", 0.1, 0.9)),
        ("optimizer.learning_rate=1e-4:1e-2:log", Dimension("optimizer.learning_rate", 1e-4, 1e-2, True)),
        ("model.width = 8:64:log", Dimension("model.width", 8, 64, True)),
        ("residual.kind=plain,kiti", Dimension("residual.kind", choices=("plain", "kiti"))),
        ("training.ema=null,0.9,1e-3", Dimension("training.ema", choices=(None, 0.9, 1e-3))),
    ],
)
def test_what_varies_is_read(text: str, expected: Dimension) -> None:
    assert parse_dimension(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "a=", "=1:2", "a=1", "a=1:2:3", "a=2:1", "a=0:1:log", "a=x:y", "a=1:nan", "a=1,1"]
)
def test_what_cannot_be_read_is_told(text: str) -> None:
    with pytest.raises(InputError, match="--param"):
        parse_dimension(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("residual.coll_coef=0:1", Dimension("residual.coll_coef", 0.0, 1.0)),
        ("optimizer.weight_decay=0:1", Dimension("optimizer.weight_decay", 0.0, 1.0)),
        ("model.width=8:64", Dimension("model.width", 8, 64)),
        ("training.batch_size=1e1:1e2:log", Dimension("training.batch_size", 10, 100, True)),
        ("training.seeds=1:2", Dimension("training.seeds", 1, 2)),
    ],
)
def test_a_range_of_whole_numbers_holds_fractions_where_the_setting_takes_them(text, expected, tmp_path) -> None:
    sweep = with_real_ranges(Sweep({"residual": {"kind": "kiti"}}, (parse_dimension(text),), tmp_path, 3))
    assert repr(sweep.dimensions[0]) == repr(expected)


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ("data.test=20,40", "it moves samples between training, validation and test"),
        ("data.train=10:20", "it moves samples between training, validation and test"),
        ("data.validation=10:20", "it moves samples"),
        ("data.resolution=32,64", "it changes what is predicted"),
        ("data.downsample=stride,spectral", "it changes what is predicted"),
        ("data.output_frames=1:4", "it changes what is predicted"),
        ("data.path=a.h5,b.h5", "the validation losses of trials on other data"),
        ("training.seed=0:9", "a lucky seed would be taken for good settings"),
        ("training.seeds=1:3", "a lucky seed"),
        ("model.region_weight=0:4", "it weighs the errors"),
    ],
)
def test_a_sweep_refuses_what_makes_trials_incomparable(kitipde, tmp_path, burgers_file, config, param, reason) -> None:
    outcome = kitipde("sweep", config, "--data", burgers_file, "--param", param, "--out", tmp_path / "s")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--param {param.partition('=')[0]}: a sweep cannot vary it: {reason}" in outcome.err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("params", "more", "message"),
    [
        (("model.width=4,8",), ("--set", "model.width=6"), "model.width is in --param and in --set"),
        (("model.width=4,8",), ("--set", "model={width: 6}"), "model.width is in --param and in --set"),
        (("model.width=4,8", "model.width=6,7"), (), "--param names model.width twice"),
        (
            ("residual.coll_coef=0.1:0.9",),
            ("--set", "residual.target_rate=0.1"),
            "--param residual.coll_coef and --set residual.target_rate exclude each other",
        ),
        (
            ("residual.coll_coef=0.1:0.9", "residual.target_rate=0.1:0.2"),
            (),
            "--param residual.coll_coef and --param residual.target_rate exclude each other",
        ),
        (("model.width=4,8",), ("--set", "training.seeds=2", "--seeds", "3"), "--seeds and --set training.seeds"),
        (("model.width=4,8",), ("--set", "data.path=x.h5"), "--data and --set data.path are the same setting"),
    ],
)
def test_a_sweep_drops_no_setting(kitipde, tmp_path, burgers_file, config, params, more, message) -> None:
    varied = [word for param in params for word in ("--param", param)]
    outcome = kitipde("sweep", config, "--data", burgers_file, *varied, "--out", tmp_path / "s", *more)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "s").exists()


def test_a_sweep_on_a_mesh_ends_with_its_test_error(kitipde, tmp_path) -> None:
    data = write_mesh_data(tmp_path / "mesh.h5", samples=7)
    more = settings(
        *("data.output_frames=3", "training.epochs=1", "training.batch_size=2", "training.curriculum_frames=1"),
        # Kept, where --seeds does not say another number.
        *("training.seeds=2", "data.train=4", "data.validation=1", "data.test=2"),
    )
    vary = ("--param", "optimizer.learning_rate=1e-4,1e-3", "--trials", "1")
    outcome = kitipde("sweep", "oformer-airfoil", "--data", data, *vary, "--out", tmp_path / "sweep", *more)
    assert outcome.code == 0, outcome.err
    assert "(2 seeds)" in outcome.out
    assert json.loads((tmp_path / "sweep" / "results.json").read_text())["best"]["test_relative_l2"] > 0


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text("model: {name: fno}\n")
    return path


def words(config: Path, data: Path, out: Path, trials: int, *more: str) -> list[str]:
    return [
        "sweep",
        str(config),
        "--data",
        str(data),
        "--param",
        "optimizer.learning_rate=1e-4:1e-1:log",
        "--param",
        "model.width=4,8",
        "--trials",
        str(trials),
        "--out",
        str(out),
        "--sampler-seed",
        "0",
        *settings(*(text for text in TINY if "width" not in text)),
        *more,
    ]


def test_a_sweep_finds_settings_and_goes_on(kitipde, tmp_path, burgers_file, config) -> None:
    out = tmp_path / "sweep"
    first = kitipde(*words(config, burgers_file, out, 3, "--json", "--no-prune"))
    assert first.code == 0, first.err
    found = json.loads(first.out)
    assert found["trials"] == {"complete": 3}
    second = kitipde(*words(config, burgers_file, out, 9, "--no-prune"))
    assert second.code == 0, second.err
    assert "importance of optimizer.learning_rate" in second.out
    results = json.loads((out / "results.json").read_text())
    losses = [trial["validation_loss"] for trial in results["complete"]]
    assert len(losses) == 9
    assert losses == sorted(losses)
    assert results["best"]["validation_loss"] == losses[0]
    assert results["best"]["test_relative_l2"] > 0
    evaluations = {path.parent.parent.name for path in (out / "trials").glob("*/evaluation/*")}
    best = {Path(each["best"]["run"]).name for each in (found, results)}
    assert evaluations == best, "only the best run of each search has seen the test split"
    for name in ("contour.png", "importance.png", "best.yaml"):
        assert (out / name).stat().st_size > 100
    other = kitipde(*words(config, burgers_file, out, 9, "--set", "training.epochs=5"))
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "other settings" in other.err


def test_each_combination_of_choices_is_tried_once(kitipde, tmp_path, burgers_file, config) -> None:
    choices = ("--param", "residual.kind=plain,dropout", "--param", "optimizer.learning_rate=1e-3,1e-2,3e-2")
    options = ("--data", burgers_file, "--out", tmp_path / "sweep", "--trials", "20", "--no-prune", "--json")
    made = kitipde("sweep", config, *choices, *options, *settings(*TINY))
    assert made.code == 0, made.err
    trials = json.loads(made.out)["complete"]
    assert len(trials) == 6
    assert len({tuple(trial["settings"].values()) for trial in trials}) == 6


def test_no_trial_is_ended_in_the_first_half_of_its_run(kitipde, tmp_path, burgers_file, config) -> None:
    out = tmp_path / "sweep"
    made = kitipde(*words(config, burgers_file, out, 10, "--json", "--set", "training.epochs=6"))
    assert made.code == 0, made.err
    assert json.loads(made.out)["trials"]["pruned"] > 0
    for run in (out / "trials").iterdir():
        assert len((run / "seed-0" / "metrics.jsonl").read_text().splitlines()) >= 3


def test_bad_settings_are_told_before_anything_is_made(kitipde, tmp_path, burgers_file, config) -> None:
    options = ("--data", burgers_file, "--out", tmp_path / "sweep", "--param")
    wrong = kitipde("sweep", config, *options, "model.widht=4:8")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "did you mean 'model.width'" in wrong.err
    for param, key in (("residual.kind=plain,kitti", "residual.kind"), ("model.layers=0:2", "model.layers")):
        wrong = kitipde("sweep", config, *options, param)
        assert (wrong.code, wrong.err.count("\n")) == (2, 1)
        assert f"'{key}'" in wrong.err
    assert not (tmp_path / "sweep").exists()
    missing = kitipde("sweep", config, "--param", "model.width=4:8")
    assert "no dataset" in missing.err


def test_a_study_is_opened_by_several_at_once(tmp_path) -> None:
    plan = Sweep({}, (parse_dimension("model.width=4,8"),), tmp_path, 4)
    together = threading.Barrier(4)

    def opened(_: int) -> str:
        together.wait()
        return open_study(plan, None).study_name

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(opened, range(4))) == {"sweep"}


def plan_of(data: Path, out: Path, *params: str, trials: int = 3, assignments: tuple[str, ...] = ()) -> Sweep:
    """A sweep of tiny runs."""
    tree = override({}, [*TINY, "training.epochs=1", f"data.path={data}", *assignments])
    return Sweep(tree, tuple(map(parse_dimension, params)), out, trials, prune=False, sampler_seed=0)


@contextmanager
def silent(_title: str) -> Iterator[Callable[[int, int, str], None]]:
    yield lambda _done, _total, _note: None


def states_of(study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


RATE = "optimizer.learning_rate=1e-4:1e-2:log"


def test_a_missing_dataset_ends_the_sweep_and_takes_no_trial(kitipde, tmp_path, burgers_file, config) -> None:
    data, out = tmp_path / "d.h5", tmp_path / "sweep"
    missing = kitipde(*words(config, data, out, 2, "--no-prune"))
    assert (missing.code, missing.err) == (2, f"kitipde: no such file: {data}\n")
    data.write_bytes(burgers_file.read_bytes()[:5000])
    cut = kitipde(*words(config, data, out, 2, "--no-prune"))
    assert (cut.code, cut.err.count("\n")) == (2, 1)
    assert "d.h5 is truncated" in cut.err
    data.write_bytes(burgers_file.read_bytes())
    again = kitipde(*words(config, data, out, 2, "--no-prune", "--json"))
    assert again.code == 0, again.err
    assert json.loads(again.out)["trials"] == {"complete": 2, "fail": 2}


def test_a_full_disk_ends_the_sweep_and_the_trial_is_tried_again(tmp_path, burgers_file, monkeypatch) -> None:
    plan = plan_of(burgers_file, tmp_path, RATE, trials=1)
    study = open_study(plan, None)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def filling(_title: str) -> Iterator[Callable[[int, int, str], None]]:
        yield lambda _done, _total, _note: patched.setattr(os, "fsync", full)

    with monkeypatch.context() as patched, pytest.raises(InputError, match="No space left on device"):
        work(study, plan, filling, print)
    work(study, plan, silent, print)
    assert states_of(study) == ["FAIL", "COMPLETE"]
    first, second = study.get_trials()
    assert first.params == second.params


def test_a_run_folder_in_use_ends_the_sweep_and_the_trial_is_tried_again(tmp_path, burgers_file) -> None:
    plan = plan_of(burgers_file, tmp_path, RATE, trials=1)
    study, values = open_study(plan, None), {"optimizer.learning_rate": 1e-3}
    study.enqueue_trial(values)
    folder = plan.run_folder(values)
    folder.mkdir(parents=True)
    with held(folder), pytest.raises(InputError, match="is in use by process"):
        work(study, plan, silent, print)
    work(study, plan, silent, print)
    assert states_of(study) == ["FAIL", "COMPLETE"]


def test_settings_that_are_to_blame_end_their_trial_alone(tmp_path, burgers_file) -> None:
    choices = ("optimizer.learning_rate=1e-3,1e30", "data.resolution=null,7", "model.layers=6,2")
    # There is a layer 5 of 6 only.
    layers = ("residual.kind=dropout", "residual.layers=[5]")
    plan = plan_of(burgers_file, tmp_path, *choices, trials=8, assignments=layers)
    study = open_study(plan, None)
    remarks: list[str] = []
    work(study, plan, silent, remarks.append)
    (complete,) = (trial.params for trial in study.get_trials() if trial.state.name == "COMPLETE")
    assert list(complete.values()) == [1e-3, None, 6]
    assert states_of(study).count("PRUNED") == 7
    for reason in ("is not finite", "resolution 7 does not divide", "residual.layers=[5]"):
        assert any(reason in text for text in remarks), reason


def test_a_lack_of_memory_ends_the_sweep_once_and_then_the_trial(tmp_path, burgers_file) -> None:
    plan = plan_of(burgers_file, tmp_path, RATE, trials=2)
    study = open_study(plan, None)
    begun: list[str] = []

    @contextmanager
    def hungry(title: str) -> Iterator[Callable[[int, int, str], None]]:
        begun.append(title)

        def step(_done: int, _total: int, _note: str) -> None:
            if len(begun) < 3:
                raise MemoryError

        yield step

    with pytest.raises(InputError, match=r"trial 0: training\.batch_size=5 does not fit into memory.*a last time"):
        work(study, plan, hungry, print)
    work(study, plan, hungry, print)
    assert states_of(study) == ["FAIL", "PRUNED", "COMPLETE"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_processes_with_the_same_seed_propose_different_values(tmp_path, burgers_file) -> None:
    def proposed(out: Path) -> list[float]:
        plan = plan_of(burgers_file, out, RATE)
        studies = [open_study(plan, None) for _ in range(3)]
        return [plan.dimensions[0].suggest(study.ask()) for study in studies]

    values = proposed(tmp_path / "one")
    assert len(set(values)) == 3
    assert values == proposed(tmp_path / "two")


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_values_that_another_process_is_at_are_left_to_it(tmp_path, burgers_file) -> None:
    plan = plan_of(burgers_file, tmp_path, RATE, trials=2)
    study, other = open_study(plan, None), open_study(plan, None)
    theirs = other.ask()
    value = plan.dimensions[0].suggest(theirs)
    study.enqueue_trial({"optimizer.learning_rate": value})

    @contextmanager
    def ended(_title: str) -> Iterator[Callable[[int, int, str], None]]:
        yield lambda _done, _total, _note: None
        other.tell(theirs, 1.0)

    work(study, plan, ended, print)
    assert states_of(study) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.get_trials()[2].params["optimizer.learning_rate"] != value


def test_two_processes_share_a_study_and_one_is_killed(tmp_path, burgers_file, config) -> None:
    out = tmp_path / "sweep"
    more = ("--set", "training.epochs=60", "--set", "training.checkpoint_seconds=0.2")
    line = [sys.executable, "-m", "kitipde", *words(config, burgers_file, out, 6, "--no-prune", *more)]
    first = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    # Let it begin a trial, then start the other and kill the first in the middle of one.
    deadline = time.monotonic() + 60
    while not list((out / "trials").glob("*/seed-0/checkpoints/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    second = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.0)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    results = json.loads((out / "results.json").read_text())
    assert results["trials"]["complete"] >= 6
    assert set(results["trials"]) <= {"complete", "fail"}
    assert len(results["complete"]) == results["trials"]["complete"]
