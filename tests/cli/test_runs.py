"""`kitipde runs` against runs that are finished, begun and broken."""

import json

import pytest

from tests.conftest import TINY, settings


def test_runs_are_listed_with_what_they_reached(kitipde, tmp_path, burgers_file) -> None:
    options = ("--data", burgers_file, *settings(*TINY))
    assert kitipde("train", "fno", "--out", tmp_path / "all" / "plain", *options).code == 0
    assert (
        kitipde("train", "fno", "--kiti", "--seeds", 2, "--out", tmp_path / "all" / "deep" / "kiti", *options).code == 0
    )
    (tmp_path / "all" / "broken").mkdir()
    (tmp_path / "all" / "broken" / "run.json").write_text("{")
    listed = kitipde("runs", tmp_path / "all", "--json")
    assert "left out" in listed.err
    kiti, plain = json.loads(listed.out)
    assert (plain["residual"], kiti["residual"], kiti["seeds"], kiti["seeds_finished"]) == ("plain", "kiti", 2, 2)
    assert plain["epochs_done"] == plain["epochs"] == 3
    assert 0 < plain["validation_loss"] < 2
    table = kitipde("runs", tmp_path / "all").out
    assert str(tmp_path / "all" / "plain") in table.replace("\n", "")


def test_a_run_in_training_is_listed_with_the_epochs_it_has_behind_it(kitipde, tmp_path, burgers_file) -> None:
    kitipde("train", "fno", "--out", tmp_path / "run", "--data", burgers_file, *settings(*TINY))
    (finished,) = json.loads(kitipde("runs", tmp_path, "--json").out)
    facts = tmp_path / "run" / "seed-0" / "facts.json"
    # As it is from the first step to the last.
    begun = {"finished": False, "epochs": 0, "best_epoch": 0, "best_validation_loss": None, "seconds": 0.0}
    facts.write_text(json.dumps({**json.loads(facts.read_text()), **begun}))
    (row,) = json.loads(kitipde("runs", tmp_path, "--json").out)
    assert (row.pop("seeds_finished"), finished.pop("seeds_finished")) == (0, 1)
    assert row.pop("seconds") == pytest.approx(finished.pop("seconds"))
    assert row == finished


def test_a_run_that_has_only_begun_and_a_folder_without_runs(kitipde, tmp_path, burgers_file) -> None:
    from kitipde.config.load import resolve_config
    from kitipde.training.run import start_run

    start_run(resolve_config({}, [*TINY, f"data.path={burgers_file}"]), tmp_path / "begun")
    (row,) = json.loads(kitipde("runs", tmp_path, "--json").out)
    assert (row["seeds_finished"], row["epochs_done"], row["validation_loss"]) == (0, 0, None)
    (tmp_path / "empty").mkdir()
    assert "no runs in" in kitipde("runs", tmp_path / "empty").out
    missing = kitipde("runs", tmp_path / "none")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
