"""Runs evaluated with the interpolated and with the published coordinates."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from kitipde.errors import InputError
from kitipde.evaluation import evaluate_runs
from kitipde.runs import Run, open_run
from tests.evaluation.conftest import write_line_data


@pytest.fixture(scope="module")
def coarse_run(train_run: Callable[[Path, str, str], Run], workshop: Path) -> Run:
    """Trained at 16 points of 64, with the end point."""
    data = write_line_data(workshop / "coordinates.h5", points=64)
    return train_run(data, "coordinates-at-16", "{data: {resolution: 16}, model: {grid_endpoint: true}}")


def errors(run: Path | Run, coordinates: str | None = None) -> dict[int, np.ndarray]:
    path = run.path if isinstance(run, Run) else run
    (evaluation,) = evaluate_runs([path], None, [(16,), (32,), (64,)], coordinates=coordinates)
    return {resolution: evaluation.errors("relative_l2", (resolution,)) for resolution in (16, 32, 64)}


def test_both_ways_agree_on_the_grid_of_the_training_alone(coarse_run: Run) -> None:
    interpolated, published = errors(coarse_run), errors(coarse_run, "published")
    np.testing.assert_array_equal(interpolated[16], published[16])
    for resolution in (32, 64):
        assert not np.allclose(interpolated[resolution], published[resolution], rtol=1e-5)


def test_evaluations_of_both_ways_are_stored_side_by_side(coarse_run: Run) -> None:
    first = errors(coarse_run), errors(coarse_run, "published")
    made: list[int] = []
    for coordinates, expected in zip((None, "published", "interpolated"), (*first, first[0]), strict=True):
        (again,) = evaluate_runs(
            [coarse_run.path], None, [(32,)], coordinates=coordinates, progress=lambda done, *_: made.append(done)
        )
        np.testing.assert_array_equal(again.errors("relative_l2", (32,)), expected[32])
    assert not made


def test_a_run_without_the_setting_is_evaluated_with_the_interpolant(coarse_run: Run, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(coarse_run.path, old, ignore=shutil.ignore_patterns("evaluation"))
    tree = yaml.safe_load((old / "config.yaml").read_text())
    del tree["model"]["coordinates"], tree["model"]["harmonics"]
    (old / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    assert open_run(old).config == coarse_run.config
    for resolution, found in errors(old).items():
        np.testing.assert_array_equal(found, errors(coarse_run)[resolution])


def test_the_table_and_the_json_name_published_coordinates(kitipde, coarse_run: Run) -> None:
    table = kitipde("evaluate", coarse_run.path, "--resolutions", "32", "--coordinates", "published").out
    assert "coordinates as published" in " ".join(table.split())
    assert "as published" not in kitipde("evaluate", coarse_run.path, "--resolutions", "32").out
    for coordinates in ("published", "interpolated"):
        out = kitipde("evaluate", coarse_run.path, "--resolutions", "32", "--coordinates", coordinates, "--json").out
        assert [row["coordinates"] for row in json.loads(out)] == [coordinates]


def test_a_comparison_can_be_made_the_published_way(kitipde, coarse_run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(coarse_run.path, other)
    shutil.copy(coarse_run.replicas[0].best_path, other / "seed-0" / "best.safetensors")
    words = ("compare", coarse_run.path, other, "--resolution", "64")
    found = kitipde(*words, "--coordinates", "published")
    assert found.code == 0, found.err
    assert "coordinates as published" in found.err
    assert "coordinates as published" not in kitipde(*words).err
    document = json.loads(kitipde(*words, "--coordinates", "published", "--json").out)
    assert document["errors_a"] == pytest.approx(errors(coarse_run, "published")[64].mean(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{model: {coordinates: none}}", "model.coordinates=none"),
        ("{model: {coordinates: harmonics, harmonics: 2}}", "model.coordinates=harmonics"),
    ],
)
def test_coordinates_that_are_the_same_on_all_grids_have_no_published_form(
    train_run, line_data: Path, settings: str, message: str
) -> None:
    run = train_run(line_data, message, settings)
    with pytest.raises(InputError, match=message):
        evaluate_runs([run.path], None, [(32,)], coordinates="published")
    assert not (run.path / "evaluation").exists()


@pytest.mark.parametrize("coordinates", ["harmonics", "publish", ""])
def test_other_words_are_refused_with_those_that_are_allowed(kitipde, coarse_run: Run, coordinates: str) -> None:
    result = kitipde("evaluate", coarse_run.path, "--coordinates", coordinates)
    assert result.code == 2
    assert "interpolated" in result.err
    assert "published" in result.err
