"""What commands say and where: results on stdout, progress and remarks on stderr."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from datagen.words import duration_text

__all__ = ["SAME_COMMAND", "is_step", "progress", "remark", "show_json", "show_table", "type_command"]

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
        code = app(arguments, standalone_mode=False)
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


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A result for people, on stdout: the first column left, the others right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # What stands in brackets in a name or an attribute is no markup.
    table = Table(box=box.SIMPLE_HEAD)
    for column, name in enumerate(header):
        table.add_column(Text(name), justify="left" if column == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    print(title)
    # A pipe has no width of its own: give the table as much as it needs rather than rich's 80 columns.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


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
        task = bar.add_task(title, total=None, rate="", note="")

        def update(done: int, total: int, note: str = "") -> None:
            speed = bar.tasks[task].speed
            bar.update(task, completed=done, total=total, note=note, rate=f"{speed:.3g} {unit}/s" if speed else "")

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
