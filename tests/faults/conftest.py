"""The fault campaign: a count of what was tried and of what went wrong, printed at the end and written as a table."""

import datetime
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import kitipde as package

TABLE = pytest.StashKey[list["Row"]]()


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    unit: str
    tried: int
    failures: int
    note: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-table", type=Path, help="Markdown file for the counts of the fault campaign.")


@pytest.fixture
def tally(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Count cases of the campaign, then fail if one of them did.

    The function takes what was tried, the unit, how many, descriptions of the failures, and a note for the table.
    """

    def add(what: str, unit: str, tried: int, failures: list[str], note: str = "") -> None:
        pytestconfig.stash.setdefault(TABLE, []).append(Row(what, unit, tried, len(failures), note))
        assert not failures, f"{len(failures)} of {tried}:\n" + "\n".join(failures[:10])

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(TABLE, [])
    if not rows:
        return
    terminalreporter.section("faults")
    for row in rows:
        terminalreporter.line(f"{row.what}: {row.tried} {row.unit}, {row.failures} failures {row.note}".rstrip())
    path = config.getoption("faults_table", None)
    if path is not None:
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        path.write_text(_table(rows, before), encoding="utf-8")


def _table(rows: list[Row], before: list[str]) -> str:
    """The counts as Markdown; lines of parts of the campaign that were not run this time stay as they were."""
    import torch

    today = datetime.date.today()
    new = {row.what: f"| {row.what} | {row.tried} {row.unit} | {row.failures} | {row.note} | {today} |" for row in rows}
    old = {line.split(" | ")[0].removeprefix("| "): line for line in before if line.startswith("| ")}
    old.pop("what", None)
    lines = [
        "# Faults: what was tried, what failed",
        "",
        f"`make faults`, version {package.__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} thread of {os.cpu_count()} cores of a shared {platform.machine()} server, no GPU.",
        "",
        "| what | tried | failures | what is asked | date |",
        "|---|---|---|---|---|",
        *{**old, **new}.values(),
        "",
    ]
    return "\n".join(lines)


# --- command lines in processes of their own, which can be killed


def _command_line(words: list[str], log: str, prepare: str) -> None:
    """What a child does: the user's command, with its output in a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["kitipde", *words]
    exec(prepare)
    from kitipde.cli import main

    main()


class Commands:
    """Starts command lines in processes that are forked from one with the libraries loaded: real ones, but at once."""

    def __init__(self) -> None:
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        heavy = ["torch", "h5py", "optuna", "neuralop", "lightning_fabric", "kitipde.training.run", "kitipde.cli"]
        self.context.set_forkserver_preload(heavy)

    def start(self, *words: object, log: Path, prepare: str = "") -> BaseProcess:
        """Begin a command line; `prepare` is run in its process before."""
        process = self.context.Process(target=_command_line, args=([str(word) for word in words], str(log), prepare))
        process.start()
        return process


@pytest.fixture(scope="session")
def commands() -> Commands:
    return Commands()
