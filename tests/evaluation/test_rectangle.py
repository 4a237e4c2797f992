"""Two fields on a rectangle with other points along each axis, and a metric of another package, by the commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datagen.geometry import periodic_grid
from datagen.store import Layout, Variable, open_dataset
from datagen.store.writer import write_file
from kitipde.evaluation import compare_runs, evaluate_runs
from kitipde.models import rollout
from kitipde.problem.windows import load_windows
from kitipde.runs import Run
from tests.conftest import install
from tests.evaluation.conftest import TAU, instants, train_tiny

LARGEST = """
from kitipde.evaluation.metrics import Metric


def largest(compared):
    return {"largest_error": compared.error.abs().amax(compared.axes)}


metric = Metric("largest_error", "largest error", "max |e|", largest, lambda q: q["largest_error"].amax(1))
"""


def write_rectangle(path: Path, samples: int = 10) -> Path:
    """Waves `a` and `b` that travel along x, on 16 × 12 points of a rectangle of 2 × 1."""
    rng, dims = np.random.default_rng(0), ("sample", "time", "x", "y")
    x, y = np.meshgrid(np.arange(16) / 16, np.arange(12) / 12, indexing="ij")
    phases = rng.uniform(0, TAU, (samples, 1, 1, 1))
    a = np.sin(TAU * (x - np.arange(3)[:, None, None] / 8) + phases) + 0.1 * np.cos(TAU * 2 * y)
    layout = Layout(
        equation="waves",
        config="{}",
        geometry=periodic_grid((16, 12), (2.0, 1.0)),
        coordinates=(instants(np.arange(3.0)),),
        variables=(Variable("a", dims, "m", "a wave"), Variable("b", dims, "Pa", "another")),
        attributes={},
    )
    write_file(path, layout, np.arange(samples), {"a": a, "b": 100 * np.roll(a, 3, axis=3)})
    return path


@pytest.fixture(scope="module")
def runs(workshop: Path) -> tuple[Run, Run]:
    data = write_rectangle(workshop / "rectangle.h5")
    parts = ("{training: {seeds: 2}}", "{training: {seeds: 2}, residual: {kind: kiti, collision_heads: 4}}")
    return tuple(train_tiny(data, workshop / f"rectangle-{place}", part) for place, part in enumerate(parts))


def test_errors_at_resolutions_of_each_axis_are_of_each_field_and_their_mean(kitipde, runs) -> None:
    run = runs[0]
    result = kitipde("evaluate", run.path, "--resolutions", "8x6,16x12", "--json")
    assert result.code == 0, result.err
    coarse, whole = json.loads(result.out)
    assert [row["resolution"] for row in (coarse, whole)] == ["8x6", "16x12"]
    table = kitipde("evaluate", run.path, "--resolutions", "16x12").out
    assert [line.split()[1:3] for line in table.splitlines() if line.startswith("rectangle-0")] == [
        ["16x12", name] for name in ("all", "a", "b")
    ]
    with open_dataset(run.dataset_path) as dataset:
        windows = load_windows(dataset, run.config.data, range(6, 10), (8, 6))
    assert windows.targets.shape == (4, 2, 2, 8, 6)
    truth = windows.targets.double().numpy()
    models = [replica.load_model() for replica in run.replicas]
    with torch.no_grad():
        predictions = [rollout(model, windows.inputs, 2).double().numpy() for model in models]
    norms = [np.sqrt(((p - truth) ** 2).sum((1, 3, 4)) / (truth**2).sum((1, 3, 4))) for p in predictions]
    expected = np.mean(norms, axis=(0, 1))
    found = [coarse["fields"][name]["relative_l2"]["mean"] for name in ("a", "b")]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert coarse["relative_l2"]["mean"] == pytest.approx(expected.mean(), rel=1e-5)


def test_two_runs_are_compared_by_one_field(kitipde, runs) -> None:
    paths = [run.path for run in runs]
    document = json.loads(kitipde("compare", *paths, "--field", "b", "--resolution", "8x6", "--json").out)
    first, second = (one.errors("relative_l2", (8, 6), "b") for one in evaluate_runs(paths, None, [(8, 6)]))
    assert (document["field"], document["resolution"]) == ("b", "8x6")
    assert document["result"]["ratio"] == pytest.approx(second.mean() / first.mean())
    assert compare_runs(*paths, resolution=(8, 6)).result.ratio != document["result"]["ratio"]
    assert "relative_l2 of b at 16x12 points per axis" in kitipde("compare", *paths, "--field", "b").out
    refused = kitipde("compare", *paths, "--field", "c")
    assert refused.code == 2
    assert "'c' (allowed: a, b)" in refused.err


def test_a_metric_of_another_package_is_measured_and_compared(runs, tmp_path: Path) -> None:
    site = install(tmp_path, "largest", "[kitipde.metrics]\nlargest_error = largest:metric\n")
    (site / "largest.py").write_text(LARGEST)
    places = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command, environment = [sys.executable, "-m", "kitipde", *words], {**os.environ, "PYTHONPATH": places}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    paths = [str(each.path) for each in runs]
    # Errors that are stored already do not have it yet.
    evaluate_runs(paths[:1], None, [(16, 12)])
    done = run("evaluate", paths[0], "--resolutions", "16x12", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["largest_error"]["mean"] == pytest.approx(row["max_error"]["mean"])
    assert row["fields"]["b"]["largest_error"]["mean"] == pytest.approx(row["fields"]["b"]["max_error"]["mean"])
    compared = run("compare", *paths, "--metric", "largest_error", "--field", "a")
    assert compared.returncode == 0, compared.stderr
    assert "largest_error of a at 16x12" in compared.stdout
