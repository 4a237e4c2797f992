"""Seeds of several machines in one table."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from kitipde.errors import InputError
from kitipde.evaluation.statistics import compare_errors
from kitipde.evaluation.summary import estimate
from kitipde.studies.pooled import pooled_results
from kitipde.studies.results import Row, Table, _kept, write_results

RNG = np.random.default_rng(3)
ERRORS = {name: RNG.uniform(1, 2, (4, 6)) * scale for name, scale in (("vanilla", 1.0), ("kiti", 0.9))}


def row(name: str, seeds: range, data: str = "abc", **changes) -> Row:
    errors = ERRORS[name][seeds.start : seeds.stop]
    values = {
        "problem": "Burgers",
        "arm": name.upper(),
        "name": name,
        "value": None,
        "seeds": len(seeds),
        "metric": "relative_l2",
        "error": estimate(errors),
        "rmse": estimate(errors),
        "mse": None,
        "nrmse": None,
        "train_error": 0.5,
        "ratio": None,
        "low": None,
        "high": None,
        "verdict": "",
        "published": 0.002,
        "published_ratio": None,
        "seconds": float(len(seeds)),
        "data": data,
        "errors": {str(seed): [_kept(error) for error in ERRORS[name][seed]] for seed in seeds},
    }
    return Row(**{**values, **changes})


def write(folder: Path, *rows: Row, preset: str = "paper", machine: str = "one") -> Path:
    write_results(Table("table4", "Table 4", preset, f"command {machine}", machine, "2026-01-01", "1.0", rows), folder)
    return folder / "results.json"


def test_pooled_seeds_give_what_one_study_of_all_would(tmp_path) -> None:
    first = write(tmp_path / "a", row("vanilla", range(2)), row("kiti", range(2)))
    second = write(tmp_path / "b", row("vanilla", range(2, 4)), row("kiti", range(2, 4)), machine="two")
    table = pooled_results([first, second])
    vanilla, kiti = table.rows
    expected = compare_errors(ERRORS["vanilla"], ERRORS["kiti"])
    assert (kiti.ratio, kiti.low, kiti.high) == pytest.approx((expected.ratio, expected.low, expected.high), rel=1e-5)
    assert vanilla.error.mean == pytest.approx(ERRORS["vanilla"].mean(), rel=1e-5)
    assert (vanilla.seeds, vanilla.seconds, vanilla.train_error, vanilla.rmse) == (4, 2.0, 0.5, None)
    assert (table.machine, table.command) == ("one; two", "command one; command two")
    assert "kiti" in kiti.verdict
    # What has been pooled can be pooled again.
    write_results(table, tmp_path / "c")
    again = pooled_results([tmp_path / "c" / "results.json"])
    assert again.rows[1].ratio == pytest.approx(kiti.ratio)


def test_one_file_is_compared_anew_and_only_common_seeds_are_paired(tmp_path) -> None:
    only = write(tmp_path / "a", row("vanilla", range(3)), row("kiti", range(4)))
    found = pooled_results([only]).rows[1]
    expected = compare_errors(ERRORS["vanilla"][:3], ERRORS["kiti"][:3])
    assert found.ratio == pytest.approx(expected.ratio, rel=1e-5)
    assert found.verdict.endswith("Of the seeds that both have: 0, 1, 2.")


def test_few_common_seeds_do_not_throw_the_others_away(tmp_path) -> None:
    only = write(tmp_path / "a", row("vanilla", range(3)), row("kiti", range(1, 4)))
    found = pooled_results([only]).rows[1]
    expected = compare_errors(ERRORS["vanilla"][:3], ERRORS["kiti"][1:], paired=False)
    assert (found.ratio, found.low) == pytest.approx((expected.ratio, expected.low), rel=1e-5)
    assert "Not paired" in found.verdict


@pytest.mark.parametrize("change", [{"data": "other"}, {"metric": "rmse"}])
def test_a_model_and_its_reference_are_of_the_same_data_and_error(tmp_path, change) -> None:
    first, second = (
        write(tmp_path / "a", row("vanilla", range(3))),
        write(tmp_path / "b", row("kiti", range(3), **change)),
    )
    with pytest.raises(InputError, match="Burgers: kiti and vanilla were tested on other data, or by another error"):
        pooled_results([first, second])


def test_another_reference_comes_first_and_nothing_is_left_of_the_old_one(tmp_path) -> None:
    kiti = row("kiti", range(3), ratio=0.9, low=0.8, high=1.0, verdict="better", published=0.001, published_ratio=0.5)
    first, second = pooled_results([write(tmp_path / "a", row("vanilla", range(3)), kiti)], "kiti").rows
    expected = compare_errors(ERRORS["kiti"][:3], ERRORS["vanilla"][:3])
    assert (first.name, first.ratio, first.low, first.verdict, first.published_ratio) == ("kiti", None, None, "", None)
    assert (second.name, second.published_ratio) == ("vanilla", 2)
    assert second.ratio == pytest.approx(expected.ratio, rel=1e-5)
    with pytest.raises(InputError, match=r"model of Burgers.*kitti.*kiti, vanilla"):
        pooled_results([tmp_path / "a" / "results.json"], "kitti")


def test_undefined_samples_are_left_out_and_infinite_errors_are_said(tmp_path) -> None:
    kiti = row("kiti", range(3))
    kiti.errors["1"][2] = None
    table = pooled_results([write(tmp_path / "a", row("vanilla", range(3)), kiti)])
    kept = [0, 1, 3, 4, 5]
    expected = compare_errors(ERRORS["vanilla"][:3, kept], ERRORS["kiti"][:3, kept])
    assert table.rows[1].ratio == pytest.approx(expected.ratio, rel=1e-5)
    kiti.errors["1"][2] = "inf"
    table = pooled_results([write(tmp_path / "b", row("vanilla", range(3)), kiti)])
    assert table.rows[1].ratio is None
    assert "not finite" in table.rows[1].verdict
    assert table.rows[1].error.diverged == 1


_DAMAGES = (
    {"errors": {"x": [1.0, 2.0]}},
    {"errors": {"0": [1.0, 2.0], "1": [1.0]}},
    {"errors": {"0": [-1.0, 2.0]}},
    {"errors": {"0": ["far", 2.0]}},
    {"train_error": "small"},
    {"published": "0.1 or so"},
    {"error": 3},
)


def test_an_error_of_zero_has_no_ratio(tmp_path) -> None:
    nothing = row("kiti", range(2), errors={"0": [0.0] * 6, "1": [0.0] * 6})
    table = pooled_results([write(tmp_path / "a", row("vanilla", range(2)), nothing)])
    assert table.rows[1].verdict == "no comparison: an error of zero has no ratio"


def test_the_files_that_are_pooled_are_not_replaced(kitipde, tmp_path) -> None:
    file = write(tmp_path / "a", row("vanilla", range(2)), row("kiti", range(2)))
    before = file.read_bytes()
    outcome = kitipde("pool", file, "--out", tmp_path / "a")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert file.read_bytes() == before


def test_what_does_not_belong_together_is_refused(tmp_path) -> None:
    good = write(tmp_path / "good", row("vanilla", range(2)))
    cases = {
        "another file has seed 1 of": write(tmp_path / "a", row("vanilla", range(1, 3))),
        "only studies of the same kind": write(tmp_path / "b", row("vanilla", range(2, 3)), preset="quick"),
        "tested on other data": write(tmp_path / "c", row("vanilla", range(2, 3), data="other")),
        "cannot be read": tmp_path / "nothing.json",
        "was tested on other data": write(tmp_path / "e", row("vanilla", range(2, 3), errors={"2": [1.0, 2.0]})),
        "holds no errors": write(tmp_path / "d", row("vanilla", range(2), errors={})),
    }
    broken = tmp_path / "broken.json"
    whole = json.loads(good.read_text())
    damages = (
        {"date": 3},
        *({"rows": [{**whole["rows"][0], **damage}]} for damage in _DAMAGES),
    )
    texts = [json.dumps({**whole, **damage}) for damage in damages]
    for text in ("{", "[]", '{"rows": 3}', json.dumps({"rows": [asdict(row("kiti", range(1)))]}), *texts):
        broken.write_text(text)
        with pytest.raises(InputError, match=r"is no results\.json"):
            pooled_results([broken])
    for words, path in cases.items():
        with pytest.raises(InputError, match=words):
            pooled_results([good, path])
