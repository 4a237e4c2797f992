"""Commands of this program side by side, each in a process of its own with its share of the processors.

A network that is too small for many threads leaves some of them idle, as many networks with a thread each do not
(docs/studies.md has what that makes of a study's time on two processors).
"""

import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from types import FrameType

import typer

from kitipde.cli.console import SAME_COMMAND, remark
from kitipde.errors import Terminated
from kitipde.training.interrupt import STUDY

__all__ = ["Job", "run_side_by_side"]


@dataclass(frozen=True)
class Job:
    """A command that can run beside others.

    Attributes:
        label: stands before each line that it prints.
        words: after `kitipde`.
    """

    label: str
    words: tuple[str, ...]


def run_side_by_side(jobs: Sequence[Job], at_once: int, processors: int) -> None:
    """Run commands, so many at a time; what they say on stderr is passed on line by line, their results are not.

    The first that fails ends the others as Ctrl-C does: they save their state. So do signals, which are passed on.

    Args:
        jobs: in the order in which they begin.
        at_once: how many.
        processors: that they share.

    Raises:
        typer.Exit: with the code of the first that failed.
        KeyboardInterrupt: when asked to stop, after all have ended; `Terminated` if by SIGTERM or SIGHUP.
    """
    waiting = deque(jobs)
    running: list[subprocess.Popen[str]] = []
    code, asked = 0, 0
    # A child that has ended, or the number of a signal: this queue may be filled by a handler, too.
    events: SimpleQueue[subprocess.Popen[str] | int] = SimpleQueue()
    threads = max(1, processors // at_once)
    with _signals_to(events):
        while True:
            while waiting and len(running) < at_once:
                running.append(_start(waiting.popleft(), threads, events))
            if not running:
                break
            event = events.get()
            if isinstance(event, int):
                asked = event
                _tell(running, event)
            else:
                running.remove(event)
                if event.returncode and not code and not asked:
                    code = event.returncode if event.returncode > 0 else 1
                    _tell(running, signal.SIGTERM)
            if asked or code:
                waiting.clear()
    if asked:
        remark(SAME_COMMAND)
        raise KeyboardInterrupt if asked == signal.SIGINT else Terminated
    if code:
        raise typer.Exit(code)


def _start(job: Job, threads: int, events: "SimpleQueue[subprocess.Popen[str] | int]") -> subprocess.Popen[str]:
    remark(f"\n$ kitipde {shlex.join(job.words)}")
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "kitipde", *job.words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), STUDY: str(os.getpid())},
        text=True,
        errors="replace",
        # A terminal's Ctrl-C goes to its whole group: the second time a training hears it, it does not save.
        process_group=0,
    )
    Thread(target=_listen, args=(child, job.label, events), daemon=True).start()
    return child


def _listen(child: subprocess.Popen[str], label: str, events: "SimpleQueue[subprocess.Popen[str] | int]") -> None:
    assert child.stderr is not None
    try:
        with child.stderr:
            for line in child.stderr:
                remark(f"{label}: {line.rstrip()}")
        if child.wait() < 0:
            remark(f"{label}: ended by a signal ({signal.strsignal(-child.returncode)})")
    finally:
        child.wait()
        events.put(child)


def _tell(running: Sequence[subprocess.Popen[str]], number: int) -> None:
    for child in running:
        child.send_signal(number)


@contextmanager
def _signals_to(events: "SimpleQueue[subprocess.Popen[str] | int]") -> Iterator[None]:
    """Within this block what would end this process goes into a queue; what is ignored (`nohup`) stays so."""

    def put(number: int, _frame: FrameType | None) -> None:
        events.put(signal.SIGTERM if number == signal.SIGHUP else number)

    numbers = [
        each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN
    ]
    previous = {number: signal.signal(number, put) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
