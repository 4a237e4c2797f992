"""Documentation is held to the program: its commands, code, settings, links and quoted messages."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer
import yaml

from kitipde.cli import app
from kitipde.config.load import read_config, resolve_config, shipped_configs
from kitipde.errors import InputError
from kitipde.evaluation import METRICS
from kitipde.studies.pooled import pooled_results

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))
GENERATED = {DOCS / "reference" / "commands.md", *(path.with_suffix(".md") for path in NOTEBOOKS)}
PAGES = [path for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))) if path not in GENERATED]

GIVEN = {
    "ko.md": "import torch\nfrom torch import nn\nmodel = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))\n",
}
"""What a page's reader has already, in Python."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path | str, language: str) -> list[str]:
    """The fenced blocks of a language in a page or a text, in their order."""
    text = page if isinstance(page, str) else page.read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def commands(path: Path) -> Iterator[list[str]]:
    """Every `kitipde …` of a page, from fenced and indented blocks, as the words that the shell would give."""
    text = path.read_text().replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M))
    indented = "\n".join(re.findall(r"^ {4}(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M))
    for line in (fenced + "\n" + indented).splitlines():
        # Brackets hold what may be left out; variables and launchers stand before the program's name.
        words = shlex.split(re.sub(r"\[(--[^]]*)\]", r"\1", line.strip()), comments=True) if "kitipde" in line else []
        launched = words[:1] and (words[0] in ("kitipde", "srun", "torchrun") or "=" in words[0])
        if launched and "kitipde" in words:
            yield words[words.index("kitipde") + 1 :]


# The commands of this page need the packages that it makes: `test_extending.py` runs them with those.
ALL_COMMANDS = [(page, words) for page in PAGES if page.name != "extending.md" for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), ALL_COMMANDS, ids=[f"{name(page)}: {' '.join(words)}" for page, words in ALL_COMMANDS]
)
def test_every_command_is_one_that_the_program_takes(page: Path, words: list[str]) -> None:
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands"):
        assert rest, f"{name(page)}: which command?"
        assert rest[0] in command.commands, f"{name(page)}: no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    context = command.make_context("kitipde", rest)  # raises what the user would read
    assignments = context.params.get("assignments")
    if words[0] == "train" and assignments:
        check_settings(context.params["model"], context.params["config"], assignments)


def check_settings(model: str, config: str | None, assignments: list[str]) -> None:
    """Whether the settings exist in the named configuration, or in one of those shipped for the model."""
    known = [config] if config in shipped_configs() else [each for each in shipped_configs() if each.startswith(model)]
    problems = []
    for each in known:
        try:
            resolve_config(read_config(each), assignments)
        except InputError as error:
            problems.append(str(error))
        else:
            return
    raise AssertionError(problems)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    (tmp_path / "runs").mkdir()
    for run in ("vanilla", "kiti"):
        (tmp_path / "runs" / run).symlink_to(ROOT / "checkpoints" / f"burgers-{run}")
    program = GIVEN.get(page.name, "") + "\n".join(blocks(page, "python"))
    exec(compile(program, name(page), "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=name)
def test_the_settings_of_a_page_are_valid(page: Path) -> None:
    for block in blocks(page, "yaml"):
        resolve_config(yaml.safe_load(block))


SMALL = {
    "generate": ["--samples", "40", "--solve-resolution", "256"],
    "train": [
        "--set",
        "training.epochs=2",
        "--set",
        "data.train=24",
        "--set",
        "data.validation=8",
        "--set",
        "data.test=8",
    ],
}
"""What makes the tour's commands small: a later option replaces an earlier one."""


def test_the_tour_can_be_walked(kitipde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    walked = []
    for words in commands(DOCS / "tour.md"):
        result = kitipde(*words, *SMALL.get(words[0], []))
        assert result.code == 0, f"{words}: {result.err}"
        walked.append(words[0])
    assert walked == ["generate", "info", "train", "train", "evaluate", "compare", "report"]
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_own_data_go_from_arrays_to_errors(kitipde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / "own-data.md"
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec("\n".join(blocks(page, "python")), found)
    found["source"].rename(sample="batch", x="lon").to_netcdf("mine.nc", engine="h5netcdf")
    with h5py.File("1D_Advection.hdf5", "w") as file:
        file["tensor"] = np.random.default_rng(0).standard_normal((10, 4, 16))
        file["x-coordinate"], file["t-coordinate"] = (np.arange(16) + 0.5) / 16, np.arange(5.0)
    small = {"train": ["--set", "training.epochs=1", "--set", "model.width=16"]}
    for words in commands(page):
        result = kitipde(*words, *small.get(words[0], []))
        assert result.code == 0, f"{words}: {result.err}"


def test_every_page_is_in_the_navigation_and_nothing_else() -> None:
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {str(path.relative_to(DOCS)) for path in {*PAGES, *GENERATED} if path.is_relative_to(DOCS)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        path = (page.parent / target).resolve()
        assert "://" in target or path.exists() or path in GENERATED, f"{name(page)}: {target}"


def messages() -> str:
    """Every text in the source, with … for what is put in; adjacent pieces are one text."""
    found = []
    for path in (*(ROOT / "kitipde").rglob("*.py"), *(ROOT / "datagen").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                pieces = (str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values)
                found.append("".join(pieces))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_quoted_messages_are_those_of_the_program() -> None:
    source = messages()
    quoted = re.findall(r"\*\*`([^`]+)`\*\*", (DOCS / "errors.md").read_text())
    assert len(quoted) > 25
    for message in quoted:
        for piece in re.split(r"…", message):
            assert len(piece.strip(" ,;:'().")) < 5 or piece.strip() in source, f"{message}: {piece}"


def test_every_metric_is_explained() -> None:
    text = (DOCS / "metrics.md").read_text() + (DOCS / "airfoil.md").read_text()
    assert not [each for each in METRICS if f"`{each}`" not in text]


KEPT = sorted((DOCS / "results" / "data").glob("*.json"))


@pytest.mark.parametrize("file", KEPT, ids=name)
def test_tables_follow_from_the_errors_that_are_kept(file: Path) -> None:
    page = (DOCS / "results" / f"{file.stem}.md").read_text()
    assert f"data/{file.name}" in page
    for row in pooled_results([file]).rows:
        numbers = [str(row.error), *(f"{each:.3f}" for each in (row.ratio, row.low, row.high) if each is not None)]
        assert not [each for each in numbers if each not in page], f"{row.problem}, {row.name}"


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(notebook)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-2000:]
