"""The tiny runs of the evaluation's tests."""

from tests.evaluation.conftest import (
    kiti_run,
    line_data,
    plane_data,
    plane_run,
    train_run,
    vanilla_run,
    workshop,
)

__all__ = ["kiti_run", "line_data", "plane_data", "plane_run", "train_run", "vanilla_run", "workshop"]
