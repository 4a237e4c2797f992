"""Seeds trained at once are the seeds trained one by one."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kitipde.errors import InputError
from kitipde.runs import Run
from tests.training.conftest import stopped_and_continued, trained

# Rounding of other matrix products, amplified by a few Adam steps.
RTOL, ATOL = 2e-3, 2e-5
RATE = ("residual.target_rate=0.5",)
PLANE = (
    "data.inputs=vorticity",
    "data.targets=vorticity",
    "data.input_frames=2",
    "data.output_frames=3",
    "training.batch_size=3",
)


def assert_close_runs(run: Run, other: Run, as_a_whole: bool = False) -> None:
    """Equal weights and metrics up to rounding: element by element, or by the norm of each tensor's difference."""
    assert [each.seed for each in run.replicas] == [each.seed for each in other.replicas]
    for replica, twin in zip(run.replicas, other.replicas, strict=True):
        first, second = load_file(replica.best_path), load_file(twin.best_path)
        for name, tensor in first.items():
            if not as_a_whole:
                torch.testing.assert_close(tensor, second[name], rtol=RTOL, atol=ATOL)
                continue
            ours, theirs = tensor.double(), second[name].double()
            error, size = (torch.linalg.vector_norm(each) for each in (ours - theirs, ours))
            assert error <= RTOL * size + ATOL * tensor.numel() ** 0.5, name
        for row, its_twin in zip(replica.metrics(), twin.metrics(), strict=True):
            for name in ("train_loss", "validation_loss", "learning_rate"):
                assert math.isclose(row[name], its_twin[name], rel_tol=2e-4), name
            assert row.keys() == its_twin.keys()
            for layer, values in row.get("collisions", {}).items():
                # Rounding may decide about a pair.
                assert math.isclose(
                    values["collisions_per_particle"],
                    its_twin["collisions"][layer]["collisions_per_particle"],
                    rel_tol=1e-2,
                )


@pytest.fixture
def data(request, burgers_file, plane_file) -> tuple[Path, tuple[str, ...]]:
    return {"1-D": (burgers_file, ()), "2-D": (plane_file, PLANE)}[request.param]


@pytest.mark.parametrize("kind", ["plain", "kiti", "kiti-rate", "kiti-token", "dropout"])
@pytest.mark.parametrize("data", ["1-D", "2-D"], indirect=True)
def test_four_seeds_at_once_are_four_seeds_alone(tmp_path, data, kind: str) -> None:
    path, options = data
    residual = {
        "kiti": ("residual.kind=kiti", "residual.coll_coef=0.5"),
        "kiti-rate": ("residual.kind=kiti", "residual.target_rate=0.2"),
        "kiti-token": ("residual.kind=kiti", "residual.layout=token", "residual.collision_heads=4", *RATE),
    }.get(kind, (f"residual.kind={kind}",))
    options = (*options, *residual, "training.seeds=4")
    together = trained(path, tmp_path / "together", *options, "training.seeds_at_once=4")
    alone = trained(path, tmp_path / "alone", *options, "training.seeds_at_once=1")
    assert together.replicas[0].facts()["trained_together"] == [0, 1, 2, 3]
    assert alone.replicas[3].facts()["trained_together"] == [3]
    assert_close_runs(together, alone)


EVERYTHING = (
    "optimizer.name=adamw",
    "schedule.name=onecycle",
    "training.clip_norm=0.5",
    "training.ema=0.9",
    "training.input_noise=0.1",
    "data.normalize=standard",
    "residual.kind=kiti",
    "residual.target_rate=0.2",
    "training.seeds=3",
)


@pytest.mark.parametrize("unroll", ["autoregressive", "teacher-forcing", "one-step", "pushforward"])
def test_with_every_option_too(tmp_path, plane_file, unroll: str) -> None:
    options = (*PLANE, *EVERYTHING, f"training.unroll={unroll}")
    together = trained(plane_file, tmp_path / "together", *options, "training.seeds_at_once=3")
    alone = trained(plane_file, tmp_path / "alone", *options, "training.seeds_at_once=2")
    assert alone.replicas[2].facts()["trained_together"] == [2]
    assert_close_runs(together, alone)


def test_oformer_seeds_at_once(tmp_path, burgers_file) -> None:
    options = (
        "model.name=oformer",
        "model.width=16",
        "model.latent_width=16",
        "model.rope_scales=[4,1]",
        "model.marching_width=16",
    )
    together = trained_oformer(burgers_file, tmp_path / "together", *options, "training.seeds_at_once=2")
    alone = trained_oformer(burgers_file, tmp_path / "alone", *options, "training.seeds_at_once=1")
    assert_close_runs(together, alone)


def trained_oformer(data: Path, out: Path, *options: str) -> Run:
    from kitipde.config.load import resolve_config
    from kitipde.runs import open_run
    from kitipde.training.run import start_run, train
    from tests.training.conftest import StopAfter

    settings = [*options, f"data.path={data}", "training.seeds=2", "training.epochs=2", "training.batch_size=5"]
    train(start_run(resolve_config({}, settings), out), StopAfter(), lambda _text: None)
    return open_run(out)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_with_collisions_between_gradients_too(tmp_path, burgers_file, kind: str) -> None:
    options = (f"optimizer.collisions.kind={kind}", "optimizer.collisions.layers=all", "training.seeds=3")
    plain = trained(burgers_file, tmp_path / "plain", "training.seeds=3")
    together = trained(burgers_file, tmp_path / "together", *options)
    alone = trained(burgers_file, tmp_path / "alone", *options, "training.seeds_at_once=1")
    assert together.replicas[0].facts()["trained_together"] == [0, 1, 2]
    assert_close_runs(together, alone)
    assert together.replicas[0].metrics()[-1]["train_loss"] != plain.replicas[0].metrics()[-1]["train_loss"]
    assert_same_bits(together, stopped_and_continued(burgers_file, tmp_path / "continued", 6, *options))


def test_layers_that_are_not_there_are_told_before_anything_is_written(tmp_path, burgers_file) -> None:
    with pytest.raises(InputError, match="nowhere"):
        trained(
            burgers_file,
            tmp_path / "run",
            "optimizer.collisions.kind=soft",
            "optimizer.collisions.layers=nowhere",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stop", [2, 5])
def test_stacked_seeds_with_every_option_continue_with_the_same_bits(tmp_path, plane_file, stop: int) -> None:
    options = (*PLANE, *EVERYTHING, "training.unroll=one-step")
    whole = trained(plane_file, tmp_path / "whole", *options)
    continued = stopped_and_continued(plane_file, tmp_path / "continued", stop, *options)
    assert_same_bits(whole, continued)


def test_a_seed_that_stops_early_leaves_the_others(tmp_path, burgers_file) -> None:
    options = (
        "training.seeds=3",
        "training.patience=2",
        "training.epochs=40",
        "optimizer.learning_rate=0.03",
        "training.checkpoint_seconds=1000",
    )
    run = trained(burgers_file, tmp_path / "together", *options)
    facts = [replica.facts() for replica in run.replicas]
    assert all(each["finished"] for each in facts)
    assert any(each["stopped_early"] for each in facts)
    for replica, each in zip(run.replicas, facts, strict=True):
        losses = [row["validation_loss"] for row in replica.metrics()]
        assert len(losses) == each["epochs"]
        assert losses.index(min(losses)) + 1 == each["best_epoch"]
        assert each["stopped_early"] == (each["epochs"] - each["best_epoch"] == 2)
    assert_close_runs(run, trained(burgers_file, tmp_path / "alone", *options, "training.seeds_at_once=1"))
    assert_same_bits(run, stopped_and_continued(burgers_file, tmp_path / "continued", 17, *options))


def test_validating_less_often_changes_what_is_told_and_nothing_else(tmp_path, burgers_file) -> None:
    options = ("training.epochs=8", "residual.kind=kiti", "training.checkpoint_seconds=1000")
    often = trained(burgers_file, tmp_path / "often", *options)
    (replica,) = (seldom := trained(burgers_file, tmp_path / "seldom", *options, "training.validate_every=3")).replicas
    rows, every = replica.metrics(), often.replicas[0].metrics()
    measured = ("validation_loss", "train_loss_without_collisions")
    assert [row["epoch"] for row in rows if "validation_loss" in row] == [1, 3, 6, 8]
    for row, full in zip(rows, every, strict=True):
        full = {key: value for key, value in full.items() if key in row or key not in measured}
        assert {**row, "seconds": 0} == {**full, "seconds": 0}
    losses = {row["epoch"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert losses[replica.facts()["best_epoch"]] == min(losses.values())
    assert_same_bits(
        seldom, stopped_and_continued(burgers_file, tmp_path / "again", 4, *options, "training.validate_every=3")
    )


def assert_same_bits(run: Run, other: Run) -> None:
    from tests.training.test_resume import assert_same

    assert_same(run.path, other.path)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_half_precision_is_for_products_and_not_for_the_loss(tmp_path, burgers_file, precision: str) -> None:
    options = ("residual.kind=kiti", "residual.target_rate=0.2", "training.seeds=2", "training.epochs=2")
    full = trained(burgers_file, tmp_path / "full", *options)
    low = trained(burgers_file, tmp_path / "low", *options, f"training.precision={precision}")
    torch.set_float32_matmul_precision("highest")
    for replica, twin in zip(full.replicas, low.replicas, strict=True):
        for row, its_twin in zip(replica.metrics(), twin.metrics(), strict=True):
            loss = its_twin["validation_loss"]
            assert math.isclose(row["validation_loss"], loss, rel_tol=0.02)
            assert loss != float(torch.tensor(loss).bfloat16()), "a mean of float32 numbers"


def test_condensation_is_recorded_for_each_replica(tmp_path, burgers_file) -> None:
    from kitipde.optim.condensation import condensation

    run = trained(burgers_file, tmp_path / "run", "training.seeds=2", "training.track_condensation=true")
    for replica in run.replicas:
        last = {layer.name: layer.degree for layer in condensation(replica.load_model())}
        best = replica.metrics()[replica.facts()["best_epoch"] - 1]["condensation"]
        assert last.keys() == best.keys()
        assert all(math.isclose(last[name], best[name], rel_tol=1e-5) for name in last)
