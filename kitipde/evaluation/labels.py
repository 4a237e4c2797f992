"""Short names that tell runs apart in tables, verdicts and legends."""

from collections.abc import Sequence

from kitipde.runs import Run

__all__ = ["folder_labels", "label_runs"]

_KINDS = {"plain": "vanilla", "kiti": "KITI", "kiti-published": "KITI (published)"}


def label_runs(runs: Sequence[Run]) -> tuple[str, ...]:
    """One name a run: that of its residual where this tells them apart, else its folder's, else its whole path."""
    residuals = tuple(_KINDS.get(run.config.residual.kind, run.config.residual.kind) for run in runs)
    return residuals if len(set(residuals)) == len(residuals) else folder_labels(runs)


def folder_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """One name a run: that of its folder where this tells them apart, else its whole path."""
    names = tuple(run.name for run in runs)
    return names if len(set(names)) == len(names) else tuple(str(run.path) for run in runs)
