"""Runs for tests of training: started from settings, trained in silence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kitipde.config.load import resolve_config
from kitipde.runs import Run, open_run
from kitipde.training.run import continue_run, start_run, train
from tests.conftest import TINY
from tests.evaluation.conftest import write_plane_data


class StopAfter:
    """A progress line that asks to stop, as Ctrl-C does, after a number of steps; never for -1."""

    def __init__(self, steps: int = -1) -> None:
        self.left = steps

    def __call__(self, _title: str) -> "StopAfter":
        return self

    def __enter__(self) -> Callable[[int, int, str], None]:
        return self.step

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, _done: int, _total: int, _note: str) -> None:
        import signal

        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


def new_run(data: Path, out: Path, *assignments: str) -> Run:
    """A run of tiny settings, not trained yet."""
    return start_run(resolve_config({}, [*TINY, f"data.path={data}", *assignments]), out)


def trained(data: Path, out: Path, *assignments: str) -> Run:
    """The same, trained."""
    train(new_run(data, out, *assignments), StopAfter(), lambda _text: None)
    return open_run(out)


def stopped_and_continued(data: Path, out: Path, steps: int, *assignments: str) -> Run:
    """The same, stopped after some steps and continued."""
    with pytest.raises(KeyboardInterrupt):
        train(new_run(data, out, *assignments), StopAfter(steps), lambda _text: None)
    train(continue_run(out), StopAfter(), lambda _text: None)
    return open_run(out)


@pytest.fixture(scope="session")
def plane_file(tmp_path_factory) -> Path:
    """10 samples of travelling waves on 16² points, 6 frames."""
    return write_plane_data(tmp_path_factory.mktemp("data") / "plane.h5")
