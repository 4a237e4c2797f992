"""The packages of docs/extending.md, installed beside this program, do what the page says."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray

from datagen.formats.netcdf import ArrayDescription, save_dataset
from datagen.store import open_dataset
from tests.conftest import install
from tests.test_docs import DOCS, blocks, commands

Kitipde = Callable[..., subprocess.CompletedProcess[str]]


def part(heading: str, language: str) -> str:
    """The blocks of a language in a part of the page, which are the whole of a file."""
    section = (DOCS / "extending.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(blocks(section, language))


@pytest.fixture
def kitipde_with(tmp_path: Path) -> Callable[[str, str, str], Kitipde]:
    """Installs a file and its entry points; runs commands beside it, in a process of their own."""

    def make(file: str, code: str, entry_points: str) -> Kitipde:
        site = install(tmp_path / "site", file.removesuffix(".py"), entry_points)
        (site / file).write_text(code)

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
            command = [sys.executable, "-m", "kitipde", *words]
            environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "80"}
            return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

        return run

    return make


def entry_points(toml: str) -> str:
    """What pip makes of the entry points of a `pyproject.toml`."""
    return toml.replace('project.entry-points."', "").replace('"]', "]").replace('"', "")


def test_an_equation_of_another_package_is_generated(kitipde_with, tmp_path: Path) -> None:
    run = kitipde_with("advection.py", part("An equation", "python"), entry_points(part("An equation", "toml")))
    listed = run("generate", "-h")
    assert "  advection      from advection 1.0\n" in listed.stdout
    help = run("generate", "advection", "-h").stdout
    assert "Linear advection: pairs u0 -> u(T), exact. (from advection 1.0)" in help
    assert "--speed NUMBER     Speed of transport.  [default: 1]" in help
    for words in commands(DOCS / "extending.md"):
        done = run(*words)
        assert done.returncode == 0, done.stderr
    assert "advection" in done.stdout
    with open_dataset(tmp_path / "a.h5") as data:
        u0, u, config = data.read("u0"), data.read("u"), data.config
    assert (config["equation"], config["samples"], config["speed"]) == ("advection", 4, 2.0)
    modes = np.fft.rfft(u0.astype(float)) * np.exp(-2j * np.pi * np.arange(33) * 2 * 0.3)
    np.testing.assert_allclose(u, np.fft.irfft(modes, n=64), atol=1e-6)
    for words, line in (
        (("--speed", "fast"), "kitipde: speed 'fast' is not a number (allowed: a number, or a multiple like 2pi)"),
        (("--final-time", "0"), "kitipde: final time 0 is not a positive number"),
        (("--sped", "1"), "kitipde: No such option: --sped"),
    ):
        refused = run("generate", "advection", *words, "--out", "b.h5")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert refused.stderr.startswith(line)


def test_a_broken_equation_is_listed_and_refused_in_one_line(kitipde_with) -> None:
    run = kitipde_with("broken.py", "import nothing_of_that_name", "[kitipde.equations]\nbroken = broken:Broken\n")
    assert "from broken 1.0" in run("generate", "-h").stdout
    refused = run("generate", "broken", "--out", "b.h5")
    assert refused.returncode == 2
    assert refused.stderr == (
        "kitipde: the equation 'broken' of broken 1.0 (broken:Broken) cannot be imported: ModuleNotFoundError: "
        "No module named 'nothing_of_that_name'\n"
    )
    assert run("generate", "burgers", "-h").returncode == 0


def line(path: Path) -> Path:
    """A dataset of pairs on a periodic line."""
    x, shift = np.arange(32) / 32, np.random.default_rng(0).uniform(size=(20, 1))
    fields = {name: (("sample", "x"), np.sin(2 * np.pi * (x - shift - t))) for name, t in (("u0", 0), ("u", 0.1))}
    source = xarray.Dataset(fields, {"x": x})
    save_dataset(source, path, ArrayDescription("advection", inputs=("u0",), targets=("u",)))
    return path


def test_a_network_of_another_package_is_trained_and_judged(kitipde_with, tmp_path: Path) -> None:
    run = kitipde_with("convolutions.py", part("A network", "python"), entry_points(part("A network", "toml")))
    data = str(line(tmp_path / "line.h5"))
    assert "convolutions 1.0" in run("models").stdout
    for out, flag in (("plain", "--no-kiti"), ("kiti", "--kiti")):
        words = ("--set", "training.epochs=2", "--set", "model.width=8")
        done = run("train", "convolutions", flag, "--data", data, "--out", out, *words)
        assert done.returncode == 0, done.stderr
    judged = run("compare", "plain", "kiti")
    assert judged.returncode == 0, judged.stderr
    refused = run("train", "convolutions", "--data", data, "--set", "model.widht=8", "--out", "no")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "unknown config key 'model.widht'" in refused.stderr


def test_a_metric_of_another_package_is_measured_and_judged_by(kitipde_with, tmp_path: Path) -> None:
    run = kitipde_with("relative_max.py", part("A metric", "python"), entry_points(part("A metric", "toml")))
    data = str(line(tmp_path / "line.h5"))
    for seed in ("0", "1"):
        words = ("--set", "training.epochs=1", "--set", "model.width=8", "--set", f"training.seed={seed}")
        done = run("train", "fno", "--data", data, "--out", f"run{seed}", *words)
        assert done.returncode == 0, done.stderr
    found = json.loads(run("evaluate", "run0", "--json").stdout)
    assert 0 < found[0]["relative_max"]["mean"] < 10
    judged = run("compare", "run0", "run1", "--metric", "relative_max")
    assert judged.returncode == 0, judged.stderr
    assert "relative_max at 32" in judged.stdout
