"""Making a dataset: the same file whatever interrupts it and whoever shares the work; faults leave no half file."""

import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.errors import InputError
from datagen.generation import generate as making
from datagen.generation.machine import Machine, parse_shard
from datagen.store import open_dataset
from datagen.store.verify import verify

FLOW = NavierStokes(samples=37, resolution=32, viscosity=1e-3, frames=3)
PULSES = Burgers(samples=20, resolution=64, solve_resolution=256)
COMMAND = ["navier-stokes", "--samples", "37", "--resolution", "32", "--frames", "3"]


def _make(recipe: making.Recipe, path: Path, machine: Machine) -> None:
    work = making.discard_damaged_parts(making.plan(recipe, path, machine.device), machine)
    making.generate(work, recipe, machine)
    if machine.joins:
        making.join(work)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "ns.h5"
    _make(FLOW, path, Machine("cpu", "cpu"))
    return path


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_shards_and_workers_give_the_same_bytes(whole: Path, tmp_path: Path, shards: int, workers: int) -> None:
    for shard in reversed(range(shards)):
        _make(FLOW, tmp_path / "ns.h5", Machine("cpu", "cpu", shard, shards, workers=workers))
    _make(FLOW, tmp_path / "ns.h5", Machine("cpu", "cpu"))
    assert (tmp_path / "ns.h5").read_bytes() == whole.read_bytes()
    assert not (tmp_path / "ns.h5.parts").exists()


@pytest.mark.parametrize("recipe", [FLOW, PULSES, Heat(samples=9, resolution=16)], ids=lambda one: one.equation)
def test_a_sample_does_not_depend_on_how_many_there_are(tmp_path: Path, recipe: making.Recipe) -> None:
    few = replace(recipe, samples=3)  # pyright: ignore[reportArgumentType]
    _make(recipe, tmp_path / "many.h5", Machine("cpu", "cpu"))
    _make(few, tmp_path / "few.h5", Machine("cpu", "cpu"))
    with open_dataset(tmp_path / "many.h5") as many, open_dataset(tmp_path / "few.h5") as three:
        assert (many.parameter("checksum")[:3] == three.parameter("checksum")).all()
        assert (many.parameter("seed")[:3] == three.parameter("seed")).all()
        assert len(set(many.parameter("checksum").tolist())) == many.samples


def test_a_damaged_part_is_made_again(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "ns.h5"
    machine = Machine("cpu", "cpu")
    making.generate(making.plan(FLOW, path, "cpu"), FLOW, machine)
    part = next(iter(sorted((tmp_path / "ns.h5.parts").glob("part-*.h5"))))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    _make(FLOW, path, machine)
    assert path.read_bytes() == whole.read_bytes()


def _kitipde(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from kitipde.cli import main; main()", *arguments]


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(0, 30, 5))
def test_a_run_stopped_between_any_two_writes_continues(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    path, renames = tmp_path / "ns.h5", 0
    rename = os.replace

    def stop_at_the_moment(source: str | Path, target: str | Path) -> None:
        nonlocal renames
        renames += 1
        if renames == moment // 2 + 1 and moment % 2 == 0:
            raise _Killed
        rename(source, target)
        if renames == moment // 2 + 1:
            raise _Killed

    monkeypatch.setattr(os, "replace", stop_at_the_moment)
    with suppress(_Killed):
        _make(FLOW, path, Machine("cpu", "cpu"))
    monkeypatch.setattr(os, "replace", rename)
    if not making.finished(FLOW, path, "cpu"):
        _make(FLOW, path, Machine("cpu", "cpu"))
    assert path.read_bytes() == whole.read_bytes()


def test_other_settings_do_not_mix_with_parts_or_files(whole: Path, tmp_path: Path) -> None:
    other = replace(FLOW, seed=4)
    path = tmp_path / "ns.h5"
    making.generate(making.plan(FLOW, path, "cpu"), FLOW, Machine("cpu", "cpu", 0, 2))
    with pytest.raises(InputError, match=r"unfinished dataset of other settings .seed was 0 and is now 4."):
        making.plan(other, path, "cpu")
    assert making.finished(FLOW, whole, "cpu")
    with pytest.raises(InputError, match=r"exists with other settings .seed was 0 and is now 4.; --overwrite"):
        making.finished(other, whole, "cpu")


@pytest.mark.parametrize("note", [None, "{", "[1]"])
def test_parts_of_unknown_settings_are_not_joined(tmp_path: Path, note: str | None) -> None:
    path = tmp_path / "ns.h5"
    work = making.plan(FLOW, path, "cpu")
    making.generate(work, FLOW, Machine("cpu", "cpu", 0, 2))
    (work.folder / "recipe.json").unlink() if note is None else (work.folder / "recipe.json").write_text(note)
    with pytest.raises(InputError, match=r"settings are not known .recipe.json is missing or damaged"):
        making.plan(replace(FLOW, seed=4), path, "cpu")


def test_parts_that_were_begun_at_once_with_other_settings_are_not_joined(tmp_path: Path) -> None:
    path, other = tmp_path / "ns.h5", replace(FLOW, seed=4)
    plans = making.plan(FLOW, path, "cpu"), making.plan(other, path, "cpu")
    making.generate(plans[0], FLOW, Machine("cpu", "cpu", 0, 2))
    making.generate(plans[1], other, Machine("cpu", "cpu", 1, 2))
    with pytest.raises(InputError, match=r"part-0000\d.h5 was made with other settings than those of ns.h5"):
        making.join(plans[1])
    assert not path.exists()


def test_joining_tells_which_parts_are_missing(tmp_path: Path) -> None:
    work = making.plan(FLOW, tmp_path / "ns.h5", "cpu")
    making.generate(work, FLOW, Machine("cpu", "cpu", 0, 2))
    with pytest.raises(InputError, match=r"lacks \d+ of \d+ parts .first: part-00001.h5."):
        making.join(work)


def test_ranks_of_a_launch_share_the_work_and_the_first_joins(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "ns.h5"
    ranks = []
    for rank in range(2):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_RANK": str(rank),
            "OMP_NUM_THREADS": "1",
        }
        ranks.append(subprocess.Popen(_kitipde("generate", *COMMAND, "--out", str(path)), env=environment))
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    assert path.read_bytes() == whole.read_bytes()


def test_a_batch_script_outside_of_srun_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert Machine.here("cpu").shards == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "4(x2)")
    monkeypatch.setenv("SLURM_PROCID", "3")
    machine = Machine.here("cpu")
    assert (machine.shard, machine.shards, machine.joins) == (3, 8, False)


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "0/0", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not one .allowed: i/n"):
        parse_shard(text)


def test_a_full_disk_is_foreseen(tmp_path: Path) -> None:
    recipe = replace(FLOW, samples=10**9)
    folder, parts = tmp_path / "ns.h5.parts", making.Parts(10, 10)
    work = making.Plan(tmp_path / "ns.h5", folder, recipe.layout(), parts, frozenset(), 10**15)
    with pytest.raises(InputError, match=r"GB free; ns.h5 needs 2000000.02 GB while it is made"):
        making.generate(work, recipe, Machine("cpu", "cpu"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [pytest.param(20_000, marks=pytest.mark.slow), 300_000], ids=["parts", "whole"])
def test_a_disk_that_fills_up_leaves_no_half_file_and_the_run_continues(
    whole: Path, tmp_path: Path, limit: int
) -> None:
    path = tmp_path / "ns.h5"
    limited = subprocess.run(
        _kitipde("generate", *COMMAND, "--out", str(path)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 2, limited.stderr
    assert limited.stderr.splitlines()[-1].startswith("kitipde: cannot write ")
    assert "Traceback" not in limited.stderr
    assert not path.exists()
    assert not list(tmp_path.rglob(".*.tmp"))
    _make(FLOW, path, Machine("cpu", "cpu"))
    assert path.read_bytes() == whole.read_bytes()


def test_a_step_too_large_leaves_no_file(tmp_path: Path) -> None:
    wild = NavierStokes(samples=2, resolution=64, viscosity=1e-6, frames=3, interval=50.0, step=25.0)
    with pytest.raises(InputError, match="dt 25 is too large"):
        _make(wild, tmp_path / "ns.h5", Machine("cpu", "cpu"))
    assert not (tmp_path / "ns.h5").exists()


def test_progress_counts_the_samples_of_the_share(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    work = making.plan(PULSES, tmp_path / "b.h5", "cpu")
    making.generate(work, PULSES, Machine("cpu", "cpu", 1, 2), lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 10)
    assert seen[-1] == (10, 10)


def test_every_recipe_gives_a_file_that_verifies(tmp_path: Path) -> None:
    recipes = (
        PULSES,
        replace(PULSES, frames=4),
        Heat(samples=3, resolution=16, frames=2, solve_resolution=32),
        NavierStokes(samples=2, resolution=16, frames=2, forced=False, field="literal", length=2 * np.pi),
    )
    for number, recipe in enumerate(recipes):
        path = tmp_path / f"{number}.h5"
        _make(recipe, path, Machine("cpu", "cpu"))
        assert verify(path).samples == recipe.samples


def test_an_error_after_the_first_checks_leaves_nothing_that_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(*arguments) -> dict[str, np.ndarray]:
        return {"temperature": np.full((1, 2, 16, 16), np.inf)}

    recipe, path = Heat(samples=2, resolution=16, frames=2), tmp_path / "new" / "h.h5"
    monkeypatch.setattr(Heat, "solve", grow)
    with pytest.raises(InputError, match=r"sample 0: temperature is not finite in float32: source 0.1, interval 1 or"):
        _make(recipe, path, Machine("cpu", "cpu"))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_replacement_continues_and_the_old_file_stays_till_then(whole: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "ns.h5", replace(FLOW, seed=4)
    path.write_bytes(whole.read_bytes())
    work = making.plan_anew(other, path, "cpu")
    making.begin_anew(work)
    making.generate(work, other, Machine("cpu", "cpu", 0, 2))
    assert path.read_bytes() == whole.read_bytes()
    assert making.finished(FLOW, whole, "cpu")
    with pytest.raises(InputError, match=r"exists with other settings"):
        making.finished(replace(FLOW, seed=5), path, "cpu")
    assert not making.finished(other, path, "cpu")
    assert 0 < len(making.plan(other, path, "cpu").missing) < len(work.parts)
    _make(other, path, Machine("cpu", "cpu"))
    assert making.finished(other, path, "cpu")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
@pytest.mark.parametrize(("samples", "step"), [(10, 4), (12, 4), (1, 8), (5, 1)])
def test_shares_add_up_to_all_samples(tmp_path: Path, shards: int, samples: int, step: int) -> None:
    parts = making.Parts(samples, step)
    assert [index for part in parts for index in part] == list(range(samples))
    work = making.Plan(tmp_path / "x.h5", tmp_path, PULSES.layout(), parts, frozenset({0}), 0)
    for shard in range(shards):
        machine = Machine("cpu", "cpu", shard, shards)
        assert work.samples_left(machine) == sum(len(parts[number]) for number in work.shard(machine))


def test_the_forecast_of_a_long_sample_solves_a_piece_of_it() -> None:
    for recipe in (
        replace(FLOW, step=1e-4),
        Burgers(samples=2, resolution=64, viscosity=1e-3, final_time=1000.0),
    ):
        probe, ratio = recipe.probe()
        assert ratio > 50
        assert probe.probe()[1] == pytest.approx(1)
