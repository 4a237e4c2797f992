"""The tiny runs of the evaluation's tests, and examples of fields on every kind of geometry."""

from collections.abc import Callable

import numpy as np
import pytest

from datagen.geometry import Axis, Geometry, Grid
from kitipde.evaluation.records import Examples
from kitipde.reporting.fields import Predicted
from tests.evaluation.conftest import (
    kiti_run,
    line_data,
    plane_data,
    plane_run,
    train_run,
    vanilla_run,
    workshop,
)

__all__ = [
    "kiti_run",
    "line_data",
    "make_examples",
    "plane_data",
    "plane_run",
    "rectangle",
    "train_run",
    "vanilla_run",
    "workshop",
]


@pytest.fixture
def rectangle() -> Grid:
    """Twice as long as high; a period along x, walls below and above."""
    return Grid(
        (
            Axis("x", 2 * np.arange(16) / 16, (0.0, 2.0), ("periodic", "periodic"), "m"),
            Axis("y", np.linspace(0, 1, 9), (0.0, 1.0), ("wall", "wall"), "m"),
        )
    )


Make = Callable[..., tuple[list[Predicted], Examples]]


@pytest.fixture
def make_examples() -> Make:
    """Three frames of fields of different sizes; the second of two models is wrong by a tenth."""

    def make(
        geometry: Geometry, fields: tuple[str, ...] = ("u",), given: tuple[str, ...] | None = None, frames: int = 3
    ) -> tuple[list[Predicted], Examples]:
        names = fields if given is None else given
        places = geometry.positions[..., 0] / np.ptp(geometry.positions[..., 0])
        waves = np.sin(2 * np.pi * (places - 0.1 * np.arange(frames).reshape(-1, *(1,) * places.ndim)))
        truth = np.stack([10.0**number * waves for number in range(len(fields))], axis=1)
        inputs = np.stack([10.0**number * waves[:1] for number in range(len(names))], axis=1)
        times = np.arange(1.0, frames + 1) if frames > 1 else None
        units = ("m",) * len(fields)
        examples = Examples(
            0, (4,), inputs[None], truth[None], 0.9 * truth[None], geometry, times, names, fields, units
        )
        return [Predicted("A", truth, truth, 0), Predicted("B", truth, 0.9 * truth, 0)], examples

    return make
