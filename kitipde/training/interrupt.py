"""Ctrl-C and SIGTERM asked for politely: the step that runs is finished, the state saved, then the run stops.

So it does when the study ends that it is a part of, which a kill leaves no time to say.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kitipde.errors import Terminated

__all__ = ["STUDY", "Interrupt", "interruptible"]

# Number of the process that a training started by it does not outlive.
STUDY = "KITIPDE_STUDY_PROCESS"


class Interrupt:
    """Whether somebody has asked to stop.

    Attributes:
        terminated: whether it was SIGTERM that asked.
    """

    def __init__(self) -> None:
        self._told = False
        self.terminated = False
        # Not if this process was started by one that the study has started.
        self._study = os.getppid() if os.environ.get(STUDY) == str(os.getppid()) else None

    @property
    def requested(self) -> bool:
        """Whether this step is to be the last one."""
        return self._told or self._study not in (None, os.getppid())

    def request(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler; the second Ctrl-C does not wait."""
        if self._told and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._told = True
        self.terminated = number == signal.SIGTERM


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within this block signals only raise a flag. In a thread other than the main one signals are left alone.

    Raises:
        Terminated: for a `KeyboardInterrupt` that leaves the block because of SIGTERM.
    """
    interrupt = Interrupt()
    try:
        previous = {number: signal.signal(number, interrupt.request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        previous = {}
    try:
        yield interrupt
    except KeyboardInterrupt as error:
        if interrupt.terminated:
            raise Terminated from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
