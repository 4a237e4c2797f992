"""Short names that tell runs apart in tables, verdicts and legends."""

from collections.abc import Sequence

from kitipde.runs import Run

__all__ = ["label_runs"]

_KINDS = {"plain": "vanilla", "kiti": "KITI", "kiti-published": "KITI (published)"}


def label_runs(runs: Sequence[Run]) -> tuple[str, ...]:
    """One name a run: that of its residual where this tells them apart, else its folder's, else its whole path."""
    residuals = [_KINDS.get(run.config.residual.kind, run.config.residual.kind) for run in runs]
    for names in (residuals, [run.name for run in runs]):
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(str(run.path) for run in runs)
