"""Names that tell runs apart in tables, verdicts and legends."""

from collections.abc import Sequence

from kitipde.runs import Run

__all__ = ["label_runs"]


def label_runs(runs: Sequence[Run]) -> tuple[str, ...]:
    """One name a run: that of its folder where this tells them apart, else its whole path."""
    names = tuple(run.name for run in runs)
    return names if len(set(names)) == len(names) else tuple(str(run.path) for run in runs)
