"""The first things that a stranger types: help, its panels and widths, completion, exit codes."""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from kitipde.cli import app
from kitipde.cli.completion import complete_metric
from kitipde.cli.verbs import Root

COMMAND = [sys.executable, "-m", "kitipde"]
GROUPS = ("generate", "import", "export")


def every_verb() -> list[tuple[str, ...]]:
    root = typer.main.get_command(app)
    groups = [(name, below) for name, command in root.commands.items() for below in getattr(command, "commands", ())]
    return [(), *((name,) for name in root.commands), *groups]


@pytest.fixture(autouse=True)
def _a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("words", [(), *((name,) for name in GROUPS)], ids=" ".join)
def test_without_a_verb_the_help_is_the_answer(kitipde, words: tuple[str, ...]) -> None:
    bare, asked = kitipde(*words), kitipde(*words, "-h")
    assert (bare.code, bare.err) == (0, "")
    assert bare.out == asked.out == kitipde(*words, "--help").out
    assert bare.out.startswith("Usage: kitipde")


@pytest.mark.parametrize("words", every_verb(), ids=" ".join)
def test_every_help_fits_80_columns_and_is_not_cut_short(kitipde, words: tuple[str, ...]) -> None:
    result = kitipde(*words, "-h")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80
    # Where something may be repeated dots say so; behind words they would say that some are missing.
    assert not re.search(r"[a-z]\.\.\.", result.out)


def test_verbs_stand_in_panels_in_the_order_in_which_one_meets_them(kitipde) -> None:
    text = kitipde().out
    listed = re.findall(r"^  ([a-z]+) +[A-Z]", text, re.M)
    assert listed == [name for names in Root.panels.values() for name in names]
    places = [text.index(f"\n{panel}:\n") for panel in Root.panels]
    assert places == sorted(places)
    # One line each: the whole list is seen at once.
    assert len(re.findall(r"^ {8,}\S", text.partition("Start here:")[2], re.M)) == 0


@pytest.mark.parametrize("words", every_verb()[1:], ids=" ".join)
def test_every_option_that_takes_a_value_says_what_to_type(words: tuple[str, ...]) -> None:
    if words[0] == "import":
        return
    command = typer.main.get_command(app)
    for name in words:
        command = command.commands[name]
    for option in getattr(command, "params", ()):
        assert option.metavar or getattr(option, "is_flag", False), f"{words}: {option.name}"
        assert option.help, f"{words}: {option.name}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(shell: str) -> None:
    environment = {**os.environ, "_KITIPDE_COMPLETE": f"source_{shell}"}
    code = "import sys; sys.argv = ['kitipde']; from kitipde.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "_KITIPDE_COMPLETE" in result.stdout


def test_metrics_that_tab_offers_exist() -> None:
    from kitipde.evaluation import METRICS

    assert set(complete_metric("")) <= METRICS.keys()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kitipde ge", {"generate"}),
        ("kitipde generate ", {"burgers", "navier-stokes", "heat", "airfoil", "recipe"}),
        ("kitipde train ", {"fno", "oformer"}),
        ("kitipde train --config paper-fno-h", {"paper-fno-heat"}),
        ("kitipde compare a b --metric relative_", {"relative_l2", "relative_h1"}),
    ],
)
def test_tab_offers_verbs_and_names(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    environment = {
        **os.environ,
        "_KITIPDE_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv = ['kitipde']; from kitipde.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert offered <= set(result.stdout.split()), result.stderr


def seconds_of(*words: str) -> float:
    """Processor time of a command, the least of three: others may use the machine, too."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, *words], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_answers_at_once() -> None:
    assert seconds_of("--help") < 0.5
    assert (
        max(seconds_of(*words, "-h") for words in (("train",), ("generate",), ("generate", "airfoil"), ("compare",)))
        < 0.6
    )


def test_a_training_that_is_told_to_end_exits_with_143(tmp_path: Path, burgers_file: Path) -> None:
    settings = ("--set", "training.epochs=100000", "--set", "model.width=8", "--set", "model.modes=4")
    line = [*COMMAND, "train", "fno", "--data", str(burgers_file), "--out", str(tmp_path / "run"), *settings]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for text in process.stderr:
        if "steps" in text:
            process.send_signal(signal.SIGTERM)
            break
    said = process.stderr.read()
    assert process.wait(timeout=60) == 143
    assert "kitipde train --resume --out" in said
    assert said.splitlines()[-1] == "kitipde: terminated"
