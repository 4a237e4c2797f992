"""`kitipde evaluate` as a user types it."""

import json
import re
from pathlib import Path

import pytest

from kitipde.cli import app
from kitipde.cli.evaluate import parse_resolutions
from kitipde.errors import InputError
from kitipde.evaluation import evaluate_runs
from kitipde.runs import Run
from tests.evaluation.conftest import line_data, vanilla_run, workshop

__all__ = ["line_data", "vanilla_run", "workshop"]


def kitipde(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_the_table_has_a_row_for_each_resolution_and_progress_goes_to_stderr(
    vanilla_run: Run, capsys: pytest.CaptureFixture[str]
):
    kitipde("evaluate", vanilla_run.path, "--resolutions", "8,16,32")
    captured = capsys.readouterr()
    rows = [line.split() for line in captured.out.splitlines() if line.strip().startswith("vanilla")]
    assert [row[:2] for row in rows] == [["vanilla", str(n)] for n in (8, 16, 32)]
    assert "trained at 32; 3 seeds" in " ".join(captured.out.split())
    assert "samples" in captured.err
    assert "evaluate:" not in captured.out


def test_json_is_finite_and_has_the_means_over_seeds_and_samples(vanilla_run: Run, capsys: pytest.CaptureFixture[str]):
    kitipde("evaluate", vanilla_run.path, "--data", vanilla_run.dataset_path, "--resolutions", "16,32", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [row["resolution"] for row in rows] == [16, 32]
    (evaluation,) = evaluate_runs([vanilla_run.path], None, [(16,), (32,)])
    for row in rows:
        expected = evaluation.errors("mse", (row["resolution"],))
        assert row["mse"]["mean"] == pytest.approx(expected.mean())
        assert row["mse"]["seeds"] == 3


def test_a_coarse_grid_is_named_as_a_cause_of_error(vanilla_run: Run, capsys: pytest.CaptureFixture[str]):
    kitipde("evaluate", vanilla_run.path, "--resolutions", "4")
    assert "a grid of 4 points cannot hold" in capsys.readouterr().err


def test_figures_are_written_on_request(vanilla_run: Run, capsys: pytest.CaptureFixture[str]):
    kitipde("evaluate", vanilla_run.path, "--resolutions", "32", "--maps")
    written = re.findall(r"^wrote (.*) \([0-9.]+ [kMG]B\)$", capsys.readouterr().err, re.M)
    assert any(path.endswith(".png") for path in written)
    assert all(Path(path).is_file() for path in written)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--resolutions", "12"],
            "resolution 12 does not divide the grid of 32 points (those that do: 1, 2, 4, 8, 16, 32)",
        ),
        (["--resolutions", "64"], "resolution 64"),
        (
            ["--resolutions", "abc"],
            "resolution 'abc' is none (allowed: a number such as 64, or one for each axis: 64x128)",
        ),
        (["--resolutions", "16x16"], "resolution 16x16 has 2 axes, the grid 32 has 1"),
        (["--data", "nowhere.h5"], "nowhere.h5"),
    ],
)
def test_a_mistake_is_one_line(vanilla_run: Run, options: list[str], message: str):
    with pytest.raises(InputError) as caught:
        kitipde("evaluate", vanilla_run.path, *options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="is not a run folder"):
        kitipde("evaluate", tmp_path)


@pytest.mark.parametrize("text", ["", "64,", "0", "-8", "64;128", "1e3", "٣x", "64x", "x64", "64x0"])
def test_resolutions_that_are_no_numbers_are_refused(text: str):
    with pytest.raises(
        InputError, match=r"resolution '.*' is none \(allowed: a number such as 64, or one for each axis: 64x128\)"
    ):
        parse_resolutions(text)
