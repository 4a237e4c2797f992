"""What a user types, and what is said when it is wrong."""

import json
import shutil
import subprocess
import sys

import h5py
import pytest
import torch

from kitipde.runs import open_run
from tests.conftest import TINY, settings


def test_training_leaves_a_run_that_reads_back(kitipde, tmp_path, burgers_file) -> None:
    result = kitipde("train", "fno", "--kiti", "--data", burgers_file, "--out", tmp_path / "r", *settings(*TINY))
    assert result.code == 0, result.err
    assert "validation relative L2" in result.out
    run = open_run(tmp_path / "r")
    assert run.config.residual.kind == "kiti"
    assert [row["epoch"] for row in run.replicas[0].metrics()] == [1, 2, 3]
    assert run.replicas[0].facts()["finished"]


def test_the_default_configuration_is_that_of_the_equation(kitipde, tmp_path, burgers_file) -> None:
    options = settings("training.epochs=1", "training.batch_size=20", "model.width=4", "model.layers=1")
    assert kitipde("train", "fno", "--data", burgers_file, "--out", tmp_path / "r", *options).code == 0
    assert open_run(tmp_path / "r").config.model.activation == "relu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "training.epoch=2"], "did you mean 'training.epochs'?"),
        (["--set", "training.epochs=0"], "'training.epochs': input should be greater than 0 (given 0)"),
        (["--set", "data.train=100"], "has 20 samples"),
        (["--set", "data.resolution=20"], "32"),
        (["--set", "model.modes=9", "--set", "data.resolution=16"], "model.modes=9: a grid of 16 points has 8 modes"),
        (["--set", "data.targets=v"], "unknown variable in data.targets"),
        (["--set", "data.target=v"], "target=v beside targets=u: these are one setting, targets"),
        (["--set", "data.output_frames=3"], "have no time axis"),
        (["--set", "model.name=oformer"], "model.name"),
        (["--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (["--kiti", "--set", "residual.collision_heads=7"], "1, 2, 4, 8"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(kitipde, tmp_path, burgers_file, options, message) -> None:
    result = kitipde("train", "fno", "--data", burgers_file, "--out", tmp_path / "r", *options)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_missing_dataset_is_one_line(kitipde, tmp_path) -> None:
    result = kitipde("train", "fno", "--data", tmp_path / "none.h5", "--out", tmp_path / "r")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "none.h5" in result.err


def test_a_file_that_is_not_ours_is_one_line(kitipde, tmp_path) -> None:
    (tmp_path / "other.h5").write_text("not a dataset")
    result = kitipde("train", "fno", "--data", tmp_path / "other.h5", "--out", tmp_path / "r")
    assert (result.code, result.err.count("\n")) == (2, 1)


def test_values_that_are_not_finite_are_told_before_anything_is_trained(kitipde, tmp_path, burgers_file) -> None:
    data = tmp_path / "with nan.h5"
    shutil.copy(burgers_file, data)
    with h5py.File(data, "r+") as file:
        file["u"][3, 1] = float("nan")
    result = kitipde("train", "fno", "--data", data, "--out", tmp_path / "r", *settings(*TINY))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "u of sample 3 of" in result.err
    assert f"kitipde info '{data}' --verify" in result.err
    assert not (tmp_path / "r").exists()


def test_a_run_that_is_continued_knows_its_network(kitipde, tmp_path, burgers_file) -> None:
    run = tmp_path / "a run"
    assert kitipde("train", "fno", "--data", burgers_file, "--out", run, *settings(*TINY)).code == 0
    assert kitipde("train", "--resume", "--out", run, "--seeds", 2).code == 0
    assert open_run(run).replica(1).facts()["finished"]
    assert "is a run of the model 'fno', not 'oformer'" in kitipde("train", "oformer", "--resume", "--out", run).err
    assert (
        "name one (fno, oformer, oformer-airfoil)"
        in kitipde("train", "--data", burgers_file, "--out", tmp_path / "b").err
    )


def test_a_configuration_that_names_its_network_needs_no_second_word(kitipde, tmp_path, burgers_file) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {name: fno, modes: 4, width: 8, layers: 1}\ntraining: {epochs: 1}\n")
    result = kitipde("train", "--config", mine, "--data", burgers_file, "--out", tmp_path / "a")
    assert result.code == 0, result.err
    assert f"wrote {tmp_path / 'a'} (" in result.err
    assert "not 'oformer'" in kitipde("train", "oformer", "--config", mine, "--out", tmp_path / "b").err
    mine.write_text("model: {modes: 4}\n")
    assert "has no model.name" in kitipde("train", "--config", mine, "--out", tmp_path / "b").err


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("training.lr", "optimizer.learning_rate"),
        ("lr", "optimizer.learning_rate"),
        ("training.learning_rate", "optimizer.learning_rate"),
        ("batch", "training.batch_size"),
        ("model.hidden_channels", "model.width"),
        ("model.n_modes", "model.modes"),
        ("model.epochs", "training.epochs"),
    ],
)
def test_words_of_other_programs_lead_to_ours(kitipde, burgers_file, foreign: str, ours: str) -> None:
    result = kitipde("train", "fno", "--data", burgers_file, "--set", f"{foreign}=4")
    assert result.code == 2
    assert f"unknown config key '{foreign}': it is {ours} here" in result.err


def test_a_setting_given_as_an_option_is_answered_with_set(kitipde) -> None:
    assert "--set training.epochs=…" in kitipde("train", "fno", "--epochs", "5").err
    assert "--set optimizer.learning_rate=…" in kitipde("train", "fno", "--lr", "1e-3").err


def test_a_run_without_weights_says_what_to_type(kitipde, tmp_path, burgers_file) -> None:
    run = tmp_path / "a run"
    assert kitipde("train", "fno", "--data", burgers_file, "--out", run, *settings(*TINY)).code == 0
    (run / "seed-0" / "best.safetensors").unlink()
    assert f"kitipde train --resume --out '{run}'" in kitipde("evaluate", run).err


def test_an_unknown_model_names_those_there_are(kitipde) -> None:
    result = kitipde("train", "fnno")
    assert result.code == 2
    assert "did you mean 'fno'?" in result.err


def test_an_existing_run_is_not_overwritten_unasked(kitipde, tmp_path, burgers_file) -> None:
    command = ("train", "fno", "--data", burgers_file, "--out", tmp_path / "r", *settings(*TINY))
    assert kitipde(*command).code == 0
    result = kitipde(*command)
    assert result.code == 2
    assert "--resume" in result.err
    assert kitipde(*command, "--overwrite").code == 0


def test_overwrite_does_not_touch_what_is_no_run(kitipde, tmp_path, burgers_file) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    result = kitipde("train", "fno", "--data", burgers_file, "--out", tmp_path / "thesis", "--overwrite")
    assert result.code == 2
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_wrong_option_is_one_line(kitipde) -> None:
    result = kitipde("train", "fno", "--sedes", "3")
    assert (result.code, result.err.count("\n")) == (2, 1)


def test_help_needs_none_of_the_heavy_libraries() -> None:
    heavy = "{'torch', 'h5py', 'xarray', 'matplotlib', 'neuralop', 'scipy', 'pydantic'}"
    code = f"import sys, kitipde.cli; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_models_are_listed_with_their_sizes(kitipde) -> None:
    rows = json.loads(kitipde("models", "--json").out)
    sizes = {row["configuration"]: row["parameters"] for row in rows}
    # The published Burgers FNO: P (2→64), four layers (64·64·16 complex, 64→64), Q (64→128→1).
    assert sizes["paper-fno-burgers"] == (2 * 64 + 64) + 4 * (2 * 64 * 64 * 16 + 64 * 64 + 64) + (64 * 128 + 128) + 129
    general = {row["configuration"] for row in rows if row["grid"] == "any"}
    assert general == {"fno", "oformer", "oformer-mesh", "network"}
    # What they cost depends on the data.
    assert {row["configuration"] for row in rows if row["flops"] is None} == general


def test_a_run_loads_in_one_line_and_exports(kitipde, tmp_path, burgers_file) -> None:
    import kitipde as package

    assert (
        kitipde("train", "fno", "--kiti", "--data", burgers_file, "--out", tmp_path / "r", *settings(*TINY)).code == 0
    )
    model = package.load(tmp_path / "r")
    a = torch.randn(3, 1, 1, 32)
    expected = package.rollout(model, a, steps=1)
    exported = torch.export.export(model, (a,))
    torch.testing.assert_close(exported.module()(a), expected)


OFORMER = ("model.width=8", "model.latent_width=8", "model.cross_heads=2", "training.epochs=1")


def test_oformer_trains_on_burgers_with_collisions_and_exports(kitipde, tmp_path, burgers_file) -> None:
    import kitipde as package

    options = settings(*OFORMER, "residual.collision_heads=4")
    result = kitipde("train", "oformer", "--kiti", "--data", burgers_file, "--out", tmp_path / "r", *options)
    assert result.code == 0, result.err
    model = package.load(tmp_path / "r")
    a = torch.randn(2, 1, 1, 32)
    torch.testing.assert_close(torch.export.export(model, (a,)).module()(a), model(a))


@pytest.mark.parametrize("model", ["fno", "oformer"])
@pytest.mark.parametrize("equation", ["navier-stokes", "heat"])
def test_every_model_trains_on_fields_in_time(kitipde, tmp_path, model: str, equation: str) -> None:
    data = tmp_path / "d.h5"
    made = kitipde("generate", equation, "--samples", 4, "--resolution", 16, "--frames", 4, "--out", data)
    assert made.code == 0, made.err
    own = OFORMER if model == "oformer" else ("model.modes=3", "model.width=4", "training.epochs=1")
    frames = ("data.input_frames=2", "data.output_frames=2", "data.resolution=16", "residual.collision_heads=4")
    options = settings(*own, *frames, "model.marching_width=8") if model == "oformer" else settings(*own, *frames)
    result = kitipde("train", model, "--kiti", "--data", data, "--out", tmp_path / "r", *options)
    assert result.code == 0, result.err
    evaluated = kitipde("evaluate", tmp_path / "r", "--resolutions", "8,16", "--json")
    assert evaluated.code == 0, evaluated.err
