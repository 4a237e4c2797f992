"""Handing on a trained run."""

import json
import shutil

import pytest

from kitipde.errors import InputError
from kitipde.runs import export_run, open_run


def test_an_exported_run_predicts_the_same_and_finds_its_dataset_beside_it(kitipde, vanilla_run, tmp_path) -> None:
    out = tmp_path / "shared" / "run"
    assert kitipde("export", "run", vanilla_run.path, "--out", out).code == 0
    assert str(vanilla_run.dataset_path.parent) not in "".join(
        path.read_text() for path in out.rglob("*") if path.suffix in (".json", ".yaml")
    )
    (tmp_path / "shared" / vanilla_run.dataset_path.name).symlink_to(vanilla_run.dataset_path)
    results = [kitipde("evaluate", run, "--json") for run in (vanilla_run.path, out)]
    rows = [[{**row, "run": "", "label": ""} for row in json.loads(result.out)] for result in results]
    assert rows[0] == rows[1]
    assert kitipde("export", "run", vanilla_run.path, "--out", out).code == 2


def test_a_run_that_has_not_finished_is_not_exported(vanilla_run, tmp_path) -> None:
    run = open_run(shutil.copytree(vanilla_run.path, tmp_path / "run"))
    facts = run.replicas[0].path / "facts.json"
    facts.write_text(json.dumps({**run.replicas[0].facts(), "finished": False}))
    with pytest.raises(InputError, match="is not finished"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
