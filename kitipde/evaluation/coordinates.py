"""Which coordinates a network is given on grids other than that of its training."""

from dataclasses import replace

from kitipde.config import FNOConfig
from kitipde.errors import InputError, unknown
from kitipde.runs import Run

__all__ = ["coordinates_of", "with_coordinates"]

_CHOICES = ("interpolated", "published")


def with_coordinates(run: Run, coordinates: str) -> Run:
    """The same run, whose networks are given interpolated or published coordinates (`kitipde.models.coordinates`).

    On the grid of the training the two are the same.

    Raises:
        InputError: if there are no such coordinates, or the run's networks have none that could be interpolated.
    """
    if coordinates not in _CHOICES:
        raise unknown("value of --coordinates", coordinates, _CHOICES)
    model = run.config.model
    if not isinstance(model, FNOConfig):
        raise InputError(
            f"--coordinates {coordinates}: {run.path} is of {model.name}, which has no coordinate channels"
        )
    if model.coordinates not in _CHOICES:
        raise InputError(
            f"--coordinates {coordinates}: {run.path} was trained with model.coordinates={model.coordinates}, which "
            "are the same on all grids; leave the option out"
        )
    changed = model.model_copy(update={"coordinates": coordinates})
    return replace(run, config=run.config.model_copy(update={"model": changed}))


def coordinates_of(run: Run) -> str | None:
    """What a run's networks are given of the place; None for a model without the setting."""
    return run.config.model.coordinates if isinstance(run.config.model, FNOConfig) else None
