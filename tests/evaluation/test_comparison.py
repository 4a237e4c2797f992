"""Which runs may be compared, and what comes out for real (tiny) ones."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kitipde.errors import InputError
from kitipde.evaluation import compare_evaluations, compare_runs, evaluate_runs
from kitipde.runs import Run
from tests.evaluation.conftest import write_line_data


def test_runs_on_the_same_seeds_are_compared_pair_by_pair(vanilla_run: Run, kiti_run: Run):
    comparison = compare_runs(vanilla_run.path, kiti_run.path)
    a, b = evaluate_runs([vanilla_run.path, kiti_run.path], None, [(32,)])
    expected = b.errors("relative_l2", (32,)).mean() / a.errors("relative_l2", (32,)).mean()
    assert (comparison.a, comparison.b) == ("vanilla", "kiti")
    assert comparison.seeds_a == comparison.seeds_b == (0, 1, 2)
    assert comparison.result.paired
    assert comparison.result.ratio == pytest.approx(expected)
    np.testing.assert_allclose(comparison.errors_b, b.errors("relative_l2", (32,)).mean(1))


def test_only_common_seeds_are_compared_and_that_is_said(vanilla_run: Run, kiti_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(kiti_run.path, copy, ignore=shutil.ignore_patterns("seed-0", "evaluation"))
    comparison = compare_runs(vanilla_run.path, copy)
    assert comparison.seeds_a == (1, 2)
    assert comparison.remarks == ("only the seeds that both runs have are compared: 1, 2",)


def test_one_seed_is_said_to_prove_nothing(vanilla_run: Run, kiti_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(kiti_run.path, copy, ignore=shutil.ignore_patterns("seed-0", "seed-1", "evaluation"))
    assert compare_runs(vanilla_run.path, copy).verdict.startswith("Inconclusive with one seed")


def test_other_batch_sizes_are_not_paired(vanilla_run: Run, line_data: Path, train_run: Callable[..., Run]):
    other = train_run(line_data, "batches", "training: {seeds: 3, batch_size: 4}")
    comparison = compare_runs(vanilla_run.path, other.path)
    assert not comparison.result.paired
    assert comparison.result.wins is None
    assert "other batch sizes" in comparison.remarks[0]


def test_data_of_the_same_settings_from_another_processor_are_the_same_data(
    train_run: Callable[..., Run], tmp_path: Path
):
    made = '{"device": "cpu", "samples": 20, "seed": 0}'
    here = write_line_data(tmp_path / "here.h5", config=made)
    there = write_line_data(tmp_path / "there.h5", config=made, half=0.5 * (1 + 1e-6))
    runs = [train_run(data, data.stem, "training: {seeds: 2}") for data in (here, there)]
    assert runs[0].dataset_identity != runs[1].dataset_identity
    assert compare_runs(runs[0].path, runs[1].path).result.paired
    # Nor is it new to the run that was trained on the other file.
    remarks: list[str] = []
    (evaluation,) = evaluate_runs([runs[0].path], there, [(32,)], remark=remarks.append)
    assert (evaluation.subject.own, evaluation.metrics.sizes["sample"]) == (True, 4)
    assert "on a machine that rounds otherwise" in remarks[0]
    other = train_run(write_line_data(tmp_path / "other.h5", config=made.replace("0}", "1}")), "other", "{}")
    with pytest.raises(InputError, match="trained on other data"):
        compare_runs(runs[0].path, other.path)


def test_splits_are_the_same_if_they_hold_the_same_samples(
    vanilla_run: Run, line_data: Path, train_run: Callable[..., Run]
):
    # Of 20 samples.
    other = train_run(line_data, "rest", "{training: {seeds: 2}, data: {train: 14, validation: 2, test: 4}}")
    same = train_run(line_data, "counted", "{training: {seeds: 2}, data: {train: null, validation: 2, test: 4}}")
    assert compare_runs(other.path, same.path).result.paired
    compared = compare_runs(vanilla_run.path, other.path)
    assert not compared.result.paired
    assert "seeds are not paired: the runs were trained on 4 and 14 samples" in compared.remarks


def test_runs_on_other_data_are_not_compared(
    vanilla_run: Run, new_line_data: Path, train_run: Callable[..., Run], tmp_path: Path
):
    other = train_run(new_line_data, "elsewhere", "data: {train: 3, validation: 1, test: 2}")
    with pytest.raises(InputError, match=r"cannot be compared: they were trained on other data .*--data"):
        compare_runs(vanilla_run.path, other.path)
    # On the file of one of them, that one has its test split and the other every sample.
    with pytest.raises(InputError, match=r"first was evaluated on test split, .* the second on all"):
        compare_runs(vanilla_run.path, other.path, vanilla_run.dataset_path)
    third = write_line_data(tmp_path / "third.h5", samples=5, seed=9)
    assert compare_runs(vanilla_run.path, other.path, third).result.samples == 5


def test_runs_with_other_test_samples_are_not_compared(
    vanilla_run: Run, line_data: Path, train_run: Callable[..., Run]
):
    other = train_run(line_data, "split", "data: {train: 4, validation: 2, test: 5}")
    with pytest.raises(InputError, match=r"first was evaluated on test split, 4 samples .* the second on .* 5 samples"):
        compare_runs(vanilla_run.path, other.path)


def test_runs_trained_at_other_resolutions_need_one_to_be_named(
    vanilla_run: Run, line_data: Path, train_run: Callable[..., Run]
):
    other = train_run(line_data, "coarse", "{data: {resolution: 16}, training: {seeds: 3}}")
    with pytest.raises(InputError, match=r"trained at 32 points per axis and .* at 16.*--resolution"):
        compare_runs(vanilla_run.path, other.path)
    assert compare_runs(vanilla_run.path, other.path, resolution=(16,)).resolution == (16,)


def test_samples_whose_error_is_undefined_are_left_out_of_both(vanilla_run: Run, kiti_run: Run):
    a, b = evaluate_runs([vanilla_run.path, kiti_run.path], None, [(32,)])
    metrics = a.metrics.copy(deep=True)
    metrics["overall_relative_l2"][:, :, 1] = np.nan
    comparison = compare_evaluations(replace(a, metrics=metrics), b, (32,))
    kept = [0, 2, 3]
    expected = b.errors("relative_l2", (32,))[:, kept].mean() / a.errors("relative_l2", (32,))[:, kept].mean()
    assert comparison.result.ratio == pytest.approx(expected)
    assert comparison.remarks == ("1 samples left out: their truth is zero, so the error is undefined",)


def test_a_diverged_run_is_not_compared(vanilla_run: Run, kiti_run: Run):
    a, b = evaluate_runs([vanilla_run.path, kiti_run.path], None, [(32,)])
    metrics = b.metrics.copy(deep=True)
    metrics["overall_relative_l2"][2] = np.inf
    with pytest.raises(InputError, match="1 of its 3 seeds give predictions that are not finite"):
        compare_evaluations(a, replace(b, metrics=metrics), (32,))


def test_an_unknown_metric_is_refused_with_the_nearest(vanilla_run: Run, kiti_run: Run):
    with pytest.raises(InputError, match="did you mean 'relative_l2'"):
        compare_runs(vanilla_run.path, kiti_run.path, metric_name="relative_l3")
