"""`kitipde condense` as a user types it."""

import json
import shutil
from pathlib import Path

import pytest

from kitipde.cli import app
from kitipde.errors import InputError
from kitipde.optim.condensation import condensation
from kitipde.runs import Run, load
from tests.evaluation.conftest import line_data, vanilla_run, workshop

__all__ = ["line_data", "vanilla_run", "workshop"]


def kitipde(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_a_run_has_a_row_for_each_layer_of_its_best_weights(vanilla_run: Run, capsys: pytest.CaptureFixture[str]):
    kitipde("condense", vanilla_run.path, "--json")
    (document,) = json.loads(capsys.readouterr().out)
    assert document["run"] == "vanilla"
    assert list(document["seeds"]) == ["0", "1", "2"]
    expected = condensation(load(vanilla_run.path, 1))
    assert {row["name"]: row["degree"] for row in document["seeds"]["1"]} == {
        layer.name: pytest.approx(layer.degree) for layer in expected
    }
    kitipde("condense", vanilla_run.path)
    table = capsys.readouterr().out
    assert all(layer.name in table for layer in expected)


def test_heat_maps_are_drawn_on_request(vanilla_run: Run, tmp_path: Path):
    kitipde("condense", vanilla_run.path, "--out", tmp_path)
    assert (tmp_path / "condensation-vanilla.png").is_file()


def test_runs_of_one_name_have_a_figure_each(vanilla_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        shutil.copytree(vanilla_run.path, tmp_path / folder / "run")
    kitipde("condense", "a/run", "b/run", "--out", "figures")
    assert sorted(path.name for path in Path("figures").glob("*.png")) == [
        "condensation-a-run.png",
        "condensation-b-run.png",
    ]


def test_settings_of_the_study_are_refused_for_runs(vanilla_run: Run):
    with pytest.raises(InputError, match=r"--epochs goes with synthetic"):
        kitipde("condense", vanilla_run.path, "--epochs", 3)


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        kitipde("condense", tmp_path / "none")


def test_the_study_writes_tables_numbers_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    kitipde("condense", "synthetic", "--seeds", "2", "--epochs", "2", "--out", tmp_path)
    assert "two-layer, 2 seeds, 2 epochs" in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["setting"]["epochs"] == 2
    assert "Two phases" in (tmp_path / "tables.md").read_text()
    for name in ("three-layer-activations", "six-layer-leakyrelu-epochs", "two-layer-degree", "two-phases"):
        assert (tmp_path / f"{name}.png").is_file()
