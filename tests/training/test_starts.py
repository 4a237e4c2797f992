"""How runs begin: who comes first, what is published before anything was learnt, which seeds are missing."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from datagen.store import open_dataset
from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.evaluation import evaluate_runs
from kitipde.files import held
from kitipde.runs import export_run, open_run
from kitipde.training import run as runs
from kitipde.training.loop import Trainer
from kitipde.training.run import continue_run, load_data, start_run, train
from tests.training.conftest import StopAfter, new_run, trained
from tests.training.test_resume import assert_same


def test_a_run_that_another_process_has_begun_meanwhile_is_left_alone(tmp_path, burgers_file, monkeypatch) -> None:
    out, begun = tmp_path / "run", []

    def slowly(config, dataset):
        if not begun:
            begun.append(True)
            new_run(burgers_file, out, "training.epochs=7")
        return load_data(config, dataset)

    monkeypatch.setattr(runs, "load_data", slowly)
    with pytest.raises(InputError, match="run exists; continue it with --resume"):
        new_run(burgers_file, out)
    assert open_run(out).config.training.epochs == 7


def test_two_that_begin_at_once_do_not_mix_their_settings(tmp_path, burgers_file) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with held(out), pytest.raises(InputError, match="is in use by process"):
        new_run(burgers_file, out)
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_weights_that_nothing_was_learnt_with_are_no_result(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(2), print)
    with pytest.raises(InputError, match="holds no trained weights yet"):
        open_run(run.path).replicas[0].load_model()
    train(continue_run(run.path), StopAfter(), print)
    open_run(run.path).replicas[0].load_model()


def test_seeds_that_were_never_begun_are_missed(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run", "training.seeds=3", "training.seeds_at_once=1")
    # 12 steps a seed: the second one has begun.
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(14), print)
    remarks: list[str] = []
    evaluate_runs([run.path], remark=remarks.append)
    assert [text for text in remarks if "seed" in text] == [
        "run: seed 1 has no weights yet and is left out",
        "run: seed 2 has no weights yet and is left out",
    ]
    train(open_run(run.path), StopAfter(), print)
    (run.path / "seed-2").rename(tmp_path / "gone")
    with pytest.raises(InputError, match="seed 2 is still to be trained"):
        export_run(open_run(run.path), tmp_path / "copy")


def test_seeds_cannot_be_added_while_another_process_trains(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    with held(run.path), pytest.raises(InputError, match="is in use by"):
        continue_run(run.path, seeds=3)
    assert open_run(run.path).config.training.seeds == 1


def test_the_seed_whose_loss_is_not_finite_is_named(tmp_path, burgers_file) -> None:
    run = new_run(burgers_file, tmp_path / "run", "training.seeds=3")
    with open_dataset(burgers_file) as dataset:
        data = load_data(run.config, dataset)
    trainer = Trainer(run.config, data, [run.replica(seed) for seed in range(3)], Fabric(accelerator="cpu"), print)
    trainer.loss_sum[2] = torch.nan
    with pytest.raises(InputError, match="the loss of seed 2 is not finite"):
        trainer._save()


@pytest.mark.parametrize("unroll", ["one-step", "pushforward"])
def test_a_mean_over_frames_is_one_over_those_that_are_predicted(tmp_path, plane_file: Path, unroll: str) -> None:
    settings = (
        *("data.inputs=vorticity", "data.targets=vorticity", "data.input_frames=2", "data.output_frames=4"),
        *("data.resolution=8", f"training.unroll={unroll}", "training.epochs=1", "optimizer.name=adam"),
        # Adam's own small number would hide the size of gradients.
        *("optimizer.weight_decay=0.1", "training.clip_norm=0.001"),
    )
    weights = [
        load_file(
            trained(plane_file, tmp_path / way, *settings, f"training.frame_reduction={way}").replicas[0].best_path
        )
        for way in ("sum", "mean")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("key", "size", "allowed"), [("width", 97, "96 or 98"), ("latent_width", 95, "94 or 96")])
def test_channels_that_do_not_turn_in_pairs_are_refused(tmp_path, burgers_file, key, size, allowed) -> None:
    config = resolve_config(
        {"model": {"name": "oformer", key: size}, "data": {"path": str(burgers_file)}}, ["training.epochs=1"]
    )
    with pytest.raises(InputError, match=rf"model.{key}={size}: .* multiples of 2, for example {allowed}"):
        start_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_starts_from_the_weights_of_another_run(tmp_path, burgers_file) -> None:
    first = trained(burgers_file, tmp_path / "first", "training.seeds=2", "data.normalize=standard")
    origin = load_file(first.replicas[1].best_path)
    # A learning rate that moves nothing shows where it started.
    still = (
        "optimizer.learning_rate=1e-12",
        "training.epochs=1",
        f"training.start_from={first.path}",
        "training.seed=1",
    )
    for name, more in {
        "alone": ("training.seeds=1",),
        "stacked": ("training.seeds=2", "training.seeds_at_once=2"),
        "averaged": ("training.ema=0.9",),
        "colliding": ("residual.kind=kiti",),
    }.items():
        run = trained(burgers_file, tmp_path / name, *still, *more, f"training.start_from={first.path}")
        for replica in run.replicas:
            # Seed 2 is none of the first run's: it starts from that run's first network.
            expected = origin if replica.seed == 1 else load_file(first.replicas[0].best_path)
            found = load_file(replica.best_path)
            assert found.keys() == expected.keys()
            for key, tensor in found.items():
                torch.testing.assert_close(tensor, expected[key], atol=1e-8, rtol=1e-5)


def test_a_run_that_has_begun_needs_the_other_no_more(tmp_path, burgers_file, monkeypatch) -> None:
    first = trained(burgers_file, tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    whole = trained(burgers_file, tmp_path / "whole", "training.start_from=first")
    run = new_run(burgers_file, tmp_path / "run", "training.start_from=first")
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(5), print)
    first.path.rename(tmp_path / "gone")
    train(continue_run(run.path), StopAfter(), print)
    assert_same(whole.path, run.path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("model.width=16",), r"do not fit this network: .* is \[.*\] there and \[.*\] here"),
        (("training.start_from=nowhere",), "nowhere is not a run folder"),
        (("training.start_from=begun",), "begun holds no trained weights yet"),
    ],
)
def test_weights_that_do_not_fit_are_told_before_anything_is_made(
    tmp_path, burgers_file, monkeypatch, more, message
) -> None:
    monkeypatch.chdir(tmp_path)
    trained(burgers_file, tmp_path / "first")
    new_run(burgers_file, tmp_path / "begun")
    with pytest.raises(InputError, match=message):
        new_run(burgers_file, tmp_path / "run", "training.start_from=first", *more)
    assert not (tmp_path / "run").exists()


def test_fine_tuning_never_ends_worse_than_it_began(tmp_path, burgers_file) -> None:
    first = trained(burgers_file, tmp_path / "first", "training.seeds=2")
    ruinous = ("optimizer.learning_rate=3", "training.epochs=2", f"training.start_from={first.path}")
    for name, more in {"alone": (), "stacked": ("training.seeds=2", "training.seeds_at_once=2")}.items():
        run = trained(burgers_file, tmp_path / name, *ruinous, *more)
        for replica, source in zip(run.replicas, first.replicas, strict=False):
            facts, expected = replica.facts(), load_file(source.best_path)
            assert facts["best_epoch"] == 0
            losses = [row["validation_loss"] for row in replica.metrics()]
            assert facts["start_validation_loss"] == facts["best_validation_loss"] < min(losses)
            assert facts["best_validation_loss"] == pytest.approx(source.facts()["best_validation_loss"], rel=1e-5)
            assert all(torch.equal(tensor, expected[name]) for name, tensor in load_file(replica.best_path).items())


def test_a_stopped_start_goes_on_with_its_first_validation(tmp_path, burgers_file) -> None:
    first = trained(burgers_file, tmp_path / "first")
    settings = ("optimizer.learning_rate=3", f"training.start_from={first.path}")
    whole = trained(burgers_file, tmp_path / "whole", *settings)
    run = new_run(burgers_file, tmp_path / "run", *settings)
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(2), print)
    weights = [load_file(each.replicas[0].best_path) for each in (first, open_run(run.path))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    train(continue_run(run.path), StopAfter(), print)
    assert_same(whole.path, run.path)
    assert open_run(run.path).replicas[0].facts()["best_epoch"] == 0


def test_seeds_of_one_run_start_from_the_same_weights_or_not_at_all(tmp_path, burgers_file) -> None:
    first = trained(burgers_file, tmp_path / "first", "training.epochs=1")
    run = trained(burgers_file, tmp_path / "run", f"training.start_from={first.path}", "training.epochs=1")
    killed = new_run(burgers_file, tmp_path / "killed", f"training.start_from={first.path}", "training.epochs=1")
    start = run.replicas[0].start
    assert start is not None
    assert start.identity == hashlib.sha256(first.replicas[0].best_path.read_bytes()).hexdigest()
    # More seeds of the source change no start: all of this run's are the source's first.
    shutil.copytree(first.path / "seed-0", first.path / "seed-1")
    assert continue_run(run.path, seeds=2).replica(1).start == start
    train(open_run(run.path), StopAfter(), print)
    shutil.rmtree(first.path)
    trained(burgers_file, first.path, "training.epochs=2")
    settings = (run.path / "config.yaml").read_bytes()
    with pytest.raises(InputError, match=r"run was started from weights that training.start_from=.* no longer holds"):
        continue_run(run.path, seeds=3)
    assert (run.path / "config.yaml").read_bytes() == settings
    with pytest.raises(InputError, match=r"seed 0 would start from another network"):
        continue_run(killed.path)
    # What has begun needs the source no more.
    assert continue_run(run.path).seeds == (0, 1)
