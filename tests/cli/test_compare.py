"""`kitipde compare` as a user types it."""

import json
from pathlib import Path

import pytest

from kitipde.cli import app
from kitipde.errors import InputError
from kitipde.evaluation import compare_runs
from kitipde.runs import Run
from tests.evaluation.conftest import kiti_run, line_data, vanilla_run, workshop

__all__ = ["kiti_run", "line_data", "vanilla_run", "workshop"]


def kitipde(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_each_seed_the_interval_and_the_verdict_are_shown(
    vanilla_run: Run, kiti_run: Run, capsys: pytest.CaptureFixture[str]
):
    kitipde("compare", vanilla_run.path, kiti_run.path)
    out = " ".join(capsys.readouterr().out.split())
    comparison = compare_runs(vanilla_run.path, kiti_run.path)
    assert f"verdict {comparison.verdict}" in out
    for seed, error in zip(comparison.seeds_a, comparison.errors_a, strict=True):
        assert f"{seed}" in out
        assert f"{error:.4g}" in out
    assert "95 % interval" in out
    assert "the smallest possible with so few seeds is 0.25" in out


def test_json_has_every_number(vanilla_run: Run, kiti_run: Run, capsys: pytest.CaptureFixture[str]):
    kitipde("compare", vanilla_run.path, kiti_run.path, "--metric", "rmse", "--json")
    document = json.loads(capsys.readouterr().out)
    expected = compare_runs(vanilla_run.path, kiti_run.path, metric_name="rmse")
    assert document["result"]["ratio"] == expected.result.ratio
    assert document["metric"] == "rmse"
    assert document["verdict"] == expected.verdict


def test_an_unknown_metric_is_one_line(vanilla_run: Run, kiti_run: Run):
    with pytest.raises(InputError, match="unknown metric 'l2'"):
        kitipde("compare", vanilla_run.path, kiti_run.path, "--metric", "l2")


def test_a_run_is_not_compared_with_itself(vanilla_run: Run):
    with pytest.raises(InputError, match="given twice"):
        kitipde("compare", vanilla_run.path, vanilla_run.path)


def test_the_verdict_is_drawn_on_request(
    vanilla_run: Run, kiti_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    picture = tmp_path / "new folder" / "verdict.png"
    kitipde("compare", vanilla_run.path, kiti_run.path, "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {picture} (" in capsys.readouterr().err
    with pytest.raises(InputError, match="it is a folder"):
        kitipde("compare", vanilla_run.path, kiti_run.path, "--plot", tmp_path)
