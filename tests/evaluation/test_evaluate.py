"""Evaluation of real (tiny) runs against the same numbers computed by hand."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from datagen.equations.heat import Heat
from datagen.store.writer import write_file
from kitipde.errors import InputError
from kitipde.evaluation import evaluate, evaluate_runs, summarise
from kitipde.models.weights import pack_weights, unpack_weights
from kitipde.runs import Run, open_run
from kitipde.studies.plans import study
from kitipde.studies.pooled import pooled_results
from kitipde.studies.results import collect_results, write_results
from tests.evaluation.conftest import write_line_data, write_plane_data


def by_hand(run: Run, seed: int, data: Path, samples: slice, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of a 1-D run."""
    with h5py.File(data) as file:
        inputs, truth = file["u0"][samples, ::stride], file["u"][samples, ::stride]
    model = next(replica for replica in run.replicas if replica.seed == seed).load_model()
    with torch.no_grad():
        return model(torch.from_numpy(inputs)[:, None, None])[:, 0, 0].double().numpy(), truth.astype(np.float64)


@pytest.mark.parametrize(("resolution", "stride"), [(32, 1), (16, 2)])
def test_errors_are_those_of_the_best_weights_on_the_last_samples(
    vanilla_run: Run, line_data: Path, resolution: int, stride: int
):
    (evaluation,) = evaluate_runs([vanilla_run.path], None, [(16,), (32,)])
    assert evaluation.seeds == (0, 1, 2)
    for position, seed in enumerate(evaluation.seeds):
        p, t = by_hand(vanilla_run, seed, line_data, slice(16, 20), stride)
        relative = np.linalg.norm(p - t, axis=1) / np.linalg.norm(t, axis=1)
        np.testing.assert_allclose(evaluation.errors("relative_l2", (resolution,))[position], relative, rtol=1e-5)
        np.testing.assert_allclose(evaluation.errors("mse", (resolution,))[position], ((p - t) ** 2).mean(1), rtol=1e-5)
    assert evaluation.metrics["sample"].values.tolist() == [16, 17, 18, 19]


def test_a_rollout_feeds_predictions_back_and_is_measured_frame_by_frame(plane_run: Run, plane_data: Path):
    (evaluation,) = evaluate_runs([plane_run.path], None, [(8,)])
    with h5py.File(plane_data) as file:
        fields = torch.from_numpy(file["vorticity"][6:10, :, ::2, ::2])
    model, window, predictions = plane_run.replicas[0].load_model(), fields[:, :2], []
    with torch.no_grad():
        for _ in range(4):
            following = model(window[:, :, None])[:, 0]
            predictions.append(following)
            window = torch.cat([window[:, 1:], following], 1)
    error = (torch.cat(predictions, 1) - fields[:, 2:]).double()
    expected = error.square().mean((2, 3)).sqrt()
    np.testing.assert_allclose(evaluation.metrics["rmse"][0, 0, :, :, 0], expected, rtol=1e-4)
    assert evaluation.metrics["time"].values.tolist() == [2.0, 3.0, 4.0, 5.0]
    assert evaluation.metrics["field"].values.tolist() == ["vorticity"]


def test_longer_rollouts_than_in_training_can_be_asked_for(train_run: Callable[..., Run], plane_data: Path):
    settings = "data: {input_frames: 2, output_frames: 1, resolution: 8}"
    run = train_run(plane_data, "short", settings)
    (evaluation,) = evaluate_runs([run.path], None, [(8,)], frames=4)
    assert evaluation.metrics.sizes["time"] == 4
    with pytest.raises(InputError, match="6 frames"):
        evaluate_runs([run.path], None, [(8,)], frames=5)


def test_batches_change_nothing(vanilla_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    whole = evaluate_runs([vanilla_run.path], None, [(32,)])[0].metrics
    monkeypatch.setattr("kitipde.evaluation.measure._BATCH_SAMPLES", 3)
    monkeypatch.setattr("kitipde.evaluation.measure._CHUNK_VALUES", 70)
    batched = evaluate_runs([copy], None, [(32,)])[0].metrics
    xr.testing.assert_allclose(whole, batched, rtol=1e-5)


def test_results_are_stored_with_units_and_read_again(vanilla_run: Run):
    first = evaluate_runs([vanilla_run.path], None, [(8,), (32,)])[0]
    calls: list[int] = []
    again = evaluate_runs(
        [vanilla_run.path], None, [(8,), (32,)], progress=lambda done, total, note: calls.append(done)
    )[0]
    assert not calls
    xr.testing.assert_identical(first.metrics.drop_attrs(), again.metrics.drop_attrs())
    np.testing.assert_array_equal(first.examples.prediction, again.examples.prediction)
    with xr.open_dataset(vanilla_run.path / "evaluation" / "test" / "metrics.nc", engine="h5netcdf") as stored:
        assert stored["rmse"].attrs["units"] == "1"
        assert stored["mse"].dims == ("seed", "resolution", "sample", "time", "field")
        assert stored.attrs["dataset_identity"] == vanilla_run.dataset_identity


def test_another_resolution_is_added_to_what_is_stored(vanilla_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    # A name that is longer than those stored is not cut off.
    evaluate_runs([copy], None, [(8,)])
    counts: list[int] = []
    evaluate_runs([copy], None, [(8,), (16,)], progress=lambda done, total, note: counts.append(total))
    assert set(counts) == {3 * 4}
    assert evaluate_runs([copy], stored=True)[0].resolutions == ((8,), (16,), (32,))


def test_other_weights_are_evaluated_anew(vanilla_run: Run, kiti_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy)
    before = evaluate_runs([copy], None, [(32,)])[0].errors("mse", (32,))
    shutil.copy(kiti_run.replicas[0].best_path, copy / "seed-0" / "best.safetensors")
    after = evaluate_runs([copy], None, [(32,)])[0].errors("mse", (32,))
    assert not np.allclose(before[0], after[0])
    np.testing.assert_array_equal(before[1:], after[1:])


def test_a_damaged_store_is_computed_again(vanilla_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy)
    before = evaluate_runs([copy], None, [(32,)])[0].errors("mse", (32,))
    stored = copy / "evaluation" / "test" / "metrics.nc"
    stored.write_bytes(stored.read_bytes()[:3000])
    np.testing.assert_array_equal(evaluate_runs([copy], None, [(32,)])[0].errors("mse", (32,)), before)


def test_what_cannot_be_stored_is_not_lost(vanilla_run: Run, tmp_path: Path):
    copy, remarks = tmp_path / "copy", []
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    (copy / "evaluation").write_text("in the way")
    (evaluation,) = evaluate_runs([copy], None, [(32,)], remark=remarks.append)
    assert evaluation.metrics.sizes["sample"] == 4
    assert any("not stored" in remark for remark in remarks)


def test_another_file_is_evaluated_whole_and_said_to_be_another(vanilla_run: Run, new_line_data: Path):
    remarks: list[str] = []
    (evaluation,) = evaluate_runs([vanilla_run.path], new_line_data, [(32,)], remark=remarks.append)
    assert evaluation.metrics["sample"].values.tolist() == list(range(6))
    assert any("not the dataset it was trained on" in remark for remark in remarks)
    p, t = by_hand(vanilla_run, 1, new_line_data, slice(None))
    np.testing.assert_allclose(evaluation.errors("rmse", (32,))[1], np.sqrt(((p - t) ** 2).mean(1)), rtol=1e-5)


def test_a_missing_dataset_is_named(vanilla_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy)
    facts = copy / "run.json"
    facts.write_text(facts.read_text().replace("line.h5", "gone.h5"))
    with pytest.raises(InputError, match=r"dataset of .*copy is missing: .*gone\.h5 does not exist; .*--data"):
        evaluate_runs([copy])


def test_a_changed_dataset_is_refused_and_can_be_given_as_new_data(
    vanilla_run: Run, new_line_data: Path, tmp_path: Path
):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy)
    facts = copy / "run.json"
    facts.write_text(facts.read_text().replace(str(vanilla_run.dataset_path), str(new_line_data)))
    with pytest.raises(InputError, match="has changed"):
        evaluate_runs([copy])
    assert not evaluate_runs([copy], new_line_data)[0].subject.own


def test_data_of_another_equation_are_refused(vanilla_run: Run, plane_data: Path):
    with pytest.raises(InputError, match=r"holds navier-stokes, but .* was trained on burgers"):
        evaluate_runs([vanilla_run.path], plane_data)


def test_data_of_another_dimension_are_refused(vanilla_run: Run, tmp_path: Path):
    heat = Heat(samples=2, resolution=16, frames=1)
    layout = replace(heat.layout(), equation="burgers", config='{"equation": "burgers"}')
    write_file(tmp_path / "flat.h5", layout, np.arange(2), heat.solve(range(2), "cpu"))
    with pytest.raises(InputError, match=r"flat\.h5 is 2-D, but .* was trained in 1-D"):
        evaluate_runs([vanilla_run.path], tmp_path / "flat.h5")


def test_a_resolution_that_does_not_divide_the_grid_is_refused_with_those_that_do(vanilla_run: Run):
    with pytest.raises(InputError, match=r"resolution 12 does not divide the grid of 32 .*1, 2, 4, 8, 16, 32"):
        evaluate_runs([vanilla_run.path], None, [(12,)])


def test_odd_resolutions_are_reached_by_spectral_truncation(train_run: Callable[..., Run], line_data: Path):
    run = train_run(line_data, "spectral", "data: {downsample: spectral}")
    (evaluation,) = evaluate_runs([run.path], None, [(15,), (32,)])
    # The fields have modes up to 3: a grid of 15 points holds all of them, so the truth's power is the same.
    power = evaluation.metrics["spectrum_target"].isel(time=0, field=0, seed=0)
    np.testing.assert_allclose(power.sel(resolution="15")[:4], power.sel(resolution="32")[:4], rtol=1e-5, atol=1e-12)
    assert float(evaluation.metrics["lost_power"].sel(resolution="15")) == pytest.approx(0.0, abs=1e-10)


def test_a_grid_too_coarse_for_the_truth_says_how_much_it_loses(vanilla_run: Run, line_data: Path):
    (evaluation,) = evaluate_runs([vanilla_run.path], None, [(4,), (32,)])
    with h5py.File(line_data) as file:
        power = np.abs(np.fft.rfft(file["u"][16:20].astype(float), axis=1)) ** 2
    expected = power[:, 2:].sum() / (power[:, 1:].sum())
    assert float(evaluation.metrics["lost_power"].sel(resolution="4")) == pytest.approx(expected, rel=1e-6)
    assert float(evaluation.metrics["lost_power"].sel(resolution="32")) == pytest.approx(0.0, abs=1e-12)


def test_a_run_without_weights_is_refused(vanilla_run: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("seed-*", "evaluation"))
    with pytest.raises(InputError, match="no trained weights yet"):
        evaluate_runs([copy])


def test_the_same_run_twice_is_refused(vanilla_run: Run):
    with pytest.raises(InputError, match="given twice"):
        evaluate_runs([vanilla_run.path, vanilla_run.path])


def test_the_summary_has_means_over_samples_and_the_spread_over_seeds(vanilla_run: Run):
    (evaluation,) = evaluate_runs([vanilla_run.path], None, [(32,)])
    (row,) = summarise([evaluation])
    per_seed = evaluation.errors("relative_l2", (32,)).mean(1)
    found = row.errors["relative_l2"]
    assert found.mean == pytest.approx(per_seed.mean())
    assert found.deviation == pytest.approx(per_seed.std(ddof=1))
    assert (row.seeds, row.samples, row.trained_at, row.resolution) == (3, 4, (32,), (32,))
    # Of one field alone, the mean over fields is its own.
    assert row.fields == {"u": row.errors}


def test_a_model_that_diverged_leaves_the_other_rows_of_a_study(vanilla_run: Run, kiti_run: Run, tmp_path: Path):
    for run, name in ((vanilla_run, "vanilla"), (kiti_run, "kiti"), (kiti_run, "dropout")):
        shutil.copytree(run.path, tmp_path / "burgers" / name, ignore=shutil.ignore_patterns("evaluation"))
    weights = open_run(tmp_path / "burgers" / "kiti").replicas[1].best_path
    far = {name: tensor * 1e30 for name, tensor in unpack_weights(weights.read_bytes()).items()}
    weights.write_bytes(pack_weights(far))
    plan = study("table4", "quick")
    burgers = replace(plan.problems[0], resolution=32)
    plan = replace(plan, problems=(burgers,))
    table = collect_results(plan, "quick", tmp_path, "command", lambda *_: None, lambda _: None)
    verdicts = {row.name: row.verdict for row in table.rows}
    assert verdicts["kiti"].startswith("no comparison: ")
    assert "1 of its 3 seeds give predictions that are not finite" in verdicts["kiti"]
    assert "3 seeds" in verdicts["dropout"]
    write_results(table, tmp_path)
    assert pooled_results([tmp_path / "results.json"]).rows[1].error.diverged == 1


def test_diverged_seeds_are_counted_not_averaged(vanilla_run: Run):
    (evaluation,) = evaluate_runs([vanilla_run.path], None, [(32,)])
    metrics = evaluation.metrics.copy(deep=True)
    metrics["overall_mse"][1] = np.inf
    metrics["overall_relative_l2"][:, :, 0] = np.nan
    (row,) = summarise([replace(evaluation, metrics=metrics)])
    mse = row.errors["mse"]
    assert (mse.mean, mse.diverged, str(mse)) == (None, 1, "diverged (1 of 3)")
    expected = evaluation.errors("relative_l2", (32,))[:, 1:].mean()
    assert row.errors["relative_l2"].mean == pytest.approx(expected)


def test_weights_that_are_replaced_meanwhile_are_not_taken_for_those_that_were_measured(
    vanilla_run: Run, kiti_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    measure = evaluate.measure

    def measure_while_training_goes_on(*given):
        measured = measure(*given)
        shutil.copy(kiti_run.replicas[0].best_path, copy / "seed-0" / "best.safetensors")
        return measured

    monkeypatch.setattr(evaluate, "measure", measure_while_training_goes_on)
    before = evaluate_runs([copy], None, [(32,)])[0].errors("mse", (32,))
    monkeypatch.setattr(evaluate, "measure", measure)
    after = evaluate_runs([copy], None, [(32,)])[0].errors("mse", (32,))
    assert (before[0] != after[0]).all()
    np.testing.assert_array_equal(before[1:], after[1:])


def test_weights_that_were_replaced_before_they_were_read_have_their_own_stamp(
    vanilla_run: Run, kiti_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    with_models = evaluate._with_models

    def with_newer_models(plan):
        shutil.copy(kiti_run.replicas[0].best_path, copy / "seed-0" / "best.safetensors")
        return with_models(plan)

    monkeypatch.setattr(evaluate, "_with_models", with_newer_models)
    evaluate_runs([copy], None, [(32,)])
    monkeypatch.setattr(evaluate, "measure", None)
    evaluate_runs([copy], None, [(32,)])


def test_a_run_of_an_earlier_version_takes_the_training_mean_from_its_dataset(
    vanilla_run: Run, line_data: Path, new_line_data: Path, tmp_path: Path
):
    copy, remarks = tmp_path / "old", []
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    facts = json.loads((copy / "run.json").read_text())
    with h5py.File(line_data) as file:
        assert facts.pop("target_means")["u"] == pytest.approx(np.mean(file["u"][:4], dtype=np.float64))
    (copy / "run.json").write_text(json.dumps(facts))
    new, old = (evaluate_runs([path], None, [(32,)])[0] for path in (vanilla_run.path, copy))
    expected = new.errors("relative_l2_deviation", (32,))
    np.testing.assert_array_equal(old.errors("relative_l2_deviation", (32,)), expected)
    assert np.isfinite(expected).all()
    (copy / "run.json").write_text(json.dumps({**facts, "dataset_path": "gone.h5"}))
    (gone,) = evaluate_runs([copy], new_line_data, [(32,)], remark=remarks.append)
    assert any("the mean of its training targets is not known" in text for text in remarks)
    assert summarise([gone])[0].errors["relative_l2_deviation"].mean is None
    assert summarise([gone])[0].errors["relative_l2"].mean is not None


def test_samples_without_a_relative_error_are_counted(kitipde, vanilla_run: Run, tmp_path: Path):
    data = write_line_data(tmp_path / "rest.h5", samples=6, seed=8)
    with h5py.File(data, "r+") as file:
        file["u"][2:4] = 0.0
    result = kitipde("evaluate", vanilla_run.path, "--data", data, "--resolutions", "32", "--json")
    (row,) = json.loads(result.out)
    assert (row["relative_l2"]["undefined"], row["mse"]["undefined"], row["samples"]) == (2, 0, 6)
    assert "2 of 6 samples at 32 points have a truth of zero" in result.err


def test_longer_rollouts_need_the_target_among_the_inputs_and_one_time_step(
    kitipde, train_run: Callable[..., Run], tmp_path: Path
):
    data = {}
    for name, times in (("even", np.arange(6.0)), ("uneven", np.array([0.0, 1.0, 2.0, 3.0, 5.0, 9.0]))):
        data[name] = tmp_path / f"{name}.h5"
        write_plane_data(data[name], times=times)
    settings = "data: {input_frames: 2, output_frames: %d, resolution: 8}"
    short = train_run(data["even"], "one-frame", settings % 1).path
    uneven = train_run(data["uneven"], "one-frame-uneven", settings % 1).path
    for verb, more in (("evaluate", ()), ("predict", ("--out", tmp_path / "out.h5", "--overwrite"))):
        for run, file, frames, code in ((short, "even", 4, 0), (uneven, "uneven", 1, 0), (short, "uneven", 4, 2)):
            result = kitipde(
                verb, run, "--data", data[file], "--frames", frames, *more, *(("--overwrite",) * bool(more))
            )
            assert result.code == code, result.err
            assert code == 0 or "1 to 4 apart" in result.err
