"""What commands say and where: results on stdout, progress and remarks on stderr."""

import json
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from datagen.words import duration_text, size_text

__all__ = [
    "SAME_COMMAND",
    "as_number",
    "is_step",
    "progress",
    "remark",
    "show_json",
    "show_labelled",
    "show_table",
    "show_text",
    "terminal_width",
    "type_command",
    "wrote",
]

SAME_COMMAND = "what is finished is kept: the same command continues from here"
"""For who stops a command that runs others."""

_STEP = ContextVar("step", default=False)


def remark(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)


def type_command(*words: object) -> None:
    """Run one command of this program in this process and show it as the user would type it.

    Raises:
        typer.Exit: with its code, if it ended with another than 0; so does whatever it is a part of.
    """
    import typer

    from kitipde.cli import app

    arguments = [str(word) for word in words]
    remark(f"\n$ kitipde {shlex.join(arguments)}")
    token = _STEP.set(True)
    try:
        code = app(arguments, prog_name="kitipde", standalone_mode=False)
    except KeyboardInterrupt:
        remark(SAME_COMMAND)
        raise
    finally:
        _STEP.reset(token)
    if isinstance(code, int) and code:
        raise typer.Exit(code)


def is_step() -> bool:
    """Whether the command that runs is a step of another one, in this process or in one that a study has started."""
    from kitipde.training.interrupt import STUDY

    return _STEP.get() or STUDY in os.environ


def show_json(document: Any) -> None:
    """A result for programs, on stdout. NaN and infinities are refused: they are not JSON."""
    print(json.dumps(document, indent=2, allow_nan=False))


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = (0,)) -> None:
    """A result for people, on stdout, no wider than the terminal: see `kitipde.cli.tables`.

    Args:
        title: what the table shows.
        header: names of the columns.
        rows: cells.
        texts: columns of words, which are on the left and may be broken; numbers are on the right and never broken.
    """
    from kitipde.cli.tables import table_lines

    print(*_wrapped(title), "", sep="\n")
    print(*table_lines(header, rows, texts, terminal_width()), sep="\n")


def show_labelled(label: str, text: str, indent: int = 15) -> None:
    """A line of a result: what it is, then the text, broken to the width of the terminal beside it."""
    print(*_wrapped(f"{label:<{indent}} {text}", " " * (indent + 1)), sep="\n")


def show_text(text: str) -> None:
    """A sentence of a result, broken to the width of the terminal."""
    print(*_wrapped(text), sep="\n")


def terminal_width() -> int:
    """Columns of the terminal that stdout goes to, or of the variable COLUMNS; a pipe or a file has no end."""
    return shutil.get_terminal_size((10_000, 24)).columns


def _wrapped(text: str, indent: str = "") -> list[str]:
    # Lines for people in a file are as those in a terminal.
    width = max(min(terminal_width(), 100), 40)
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def wrote(path: Path) -> None:
    """Say that a file, or a folder, has been written, and how large it is."""
    remark(f"wrote {path} ({size_text(_size(path))})")


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size


@contextmanager
def progress(title: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress line on stderr: done, rate, time left and a note.

    Yields a function of (done, total, note). On a terminal it drives a bar; in a log it prints a plain line at the
    start, the end and each tenth between, and of long work another after a minute and whenever ten went without one.
    """
    if not sys.stderr.isatty():
        yield _LogLines(title, unit).update
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        # Where there is nothing to do there is no bar.
        task = bar.add_task(title, total=None, visible=False, rate="", note="")

        def update(done: int, total: int, note: str = "") -> None:
            speed = bar.tasks[task].speed
            rate = f"{speed:.3g} {unit}/s" if speed else ""
            bar.update(task, completed=done, total=total, visible=True, note=note, rate=rate)

        yield update


class _LogLines:
    """Progress as lines of a log: state is when the first line was printed, and when the next is due at the latest."""

    def __init__(self, title: str, unit: str) -> None:
        import time

        self.title, self.unit, self.clock = title, unit, time.monotonic
        self.first, self.tenth, self.due = None, -1, 0.0

    def update(self, done: int, total: int, note: str = "") -> None:
        now, tenth = self.clock(), 10 * done // max(total, 1)
        if tenth == self.tenth and now < self.due:
            return
        self.due = now + (60 if self.first is None else 600)
        if self.first is None:
            self.first = (now, done)
        self.tenth = tenth
        elapsed, made = now - self.first[0], done - self.first[1]
        rate = made / elapsed if made and elapsed > 0 else 0.0
        left = f", {rate:.3g} {self.unit}/s, {duration_text((total - done) / rate)} left" if rate else ""
        remark(f"{self.title}: {done}/{total} {self.unit}{left}{'  ' + note if note else ''}")


def as_number(resolution: Sequence[int]) -> int | str:
    """A resolution in JSON: a number where all axes have as many points, else a text such as 64x128."""
    from datagen.geometry import resolution_text

    text = resolution_text(resolution)
    return int(text) if text.isdecimal() else text
