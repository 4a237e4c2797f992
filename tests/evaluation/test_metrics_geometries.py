"""Metrics on rectangles, bounded grids and meshes, and of vectors, against independent formulas."""

import math

import numpy as np
import pytest
import torch

from datagen.geometry import Axis, Geometry, Grid, Mesh, periodic_grid
from kitipde.evaluation.metrics import (
    Compared,
    applicable,
    grouped,
    measured,
    metric,
    with_spread,
)
from tests.evaluation.metric_cases import (
    TAU,
    compared,
    measure,
    quantities,
    random_fields,
)


def test_relative_h1_of_a_rectangle_has_the_wavenumbers_of_each_axis():
    """Twice as long along x as along y, and other points along each: k = 2πm/L of each axis."""
    lengths, shape = (2.0, 1.0), (24, 20)
    truth, guess = random_fields(3, 1, *shape), random_fields(3, 1, *shape, seed=1)
    errors, _ = measure(guess, truth, lengths)
    k = np.meshgrid(
        *(TAU * np.fft.fftfreq(n, length / n) for n, length in zip(shape, lengths, strict=True)), indexing="ij"
    )
    weight = 1 + k[0] ** 2 + k[1] ** 2

    def squared_norm(field: np.ndarray) -> np.ndarray:
        return (weight * np.abs(np.fft.fft2(field)) ** 2).sum((1, 2))

    expected = np.sqrt(squared_norm((guess - truth)[:, 0].numpy()) / squared_norm(truth[:, 0].numpy()))
    np.testing.assert_allclose(errors.relative_h1[:, 0], expected, rtol=1e-12)


def nodes(points: np.ndarray, name: str = "x", boundary: str = "wall", end: float = 1.0) -> Axis:
    return Axis(name, points, (0.0, end), (boundary, boundary))


# Closer to each other at the ends, both of which are points.
_CLUSTERED = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2


def test_means_over_bounded_nodes_are_those_of_the_trapezoidal_rule():
    """Of a linear function it is exact, where a mean over the nodes is not."""
    x = torch.from_numpy(_CLUSTERED**2)
    geometry, zero = Grid((nodes(_CLUSTERED**2),)), torch.zeros(1, 1, 33, dtype=torch.float64)
    fields = compared(zero + 3 + 2 * x, zero, geometry)
    found = quantities(fields)
    assert float(found["mean_drift"]) == pytest.approx(4.0, rel=1e-12)
    assert float((3 + 2 * x).mean()) < 3.9
    assert float(found["mse"]) == pytest.approx(np.trapezoid((3 + 2 * x.numpy()) ** 2, x.numpy()), rel=1e-12)
    assert float(found["max_error"]) == 5.0


@pytest.mark.parametrize("order", [1, 2])
def test_h1_on_bounded_nodes_is_that_of_differences(order: int):
    """A polynomial up to the square has the slope that differences of second order give, at the ends too."""
    walls, period = nodes(_CLUSTERED), nodes(2 * np.arange(64) / 64, "y", "periodic", 2.0)
    x, y = (torch.from_numpy(axis.coordinates) for axis in (walls, period))
    truth = (x**order)[:, None] * torch.ones(64) + 0.1 * torch.sin(TAU * y / 2)
    fields = compared((1.5 * truth)[None, None], truth[None, None], Grid((walls, period)))
    found = quantities(fields)
    step = 2 / 64
    slopes = order * x[:, None] ** (order - 1), 0.1 * torch.cos(TAU * y / 2) * math.sin(math.pi * step) / step
    squares = truth**2 + slopes[0] ** 2 + slopes[1] ** 2
    expected = np.trapezoid(squares.mean(1).numpy(), walls.coordinates)
    assert float(found["target_h1"]) == pytest.approx(expected, rel=1e-12)
    assert float(metric("relative_h1").rollout(found)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("geometry", "absent"),
    [
        (periodic_grid((8, 8), (1.0, 2.0)), {"momentum_rmse", "lift_rmse"}),
        (Grid((nodes(_CLUSTERED),)), {"band_low", "band_middle", "band_high", "momentum_rmse"}),
        (Grid((nodes(np.array([0.0, 0.1, 0.5]), boundary="periodic"),)), {"band_low", "lift_rmse"}),
        (
            Mesh(np.zeros(1), np.zeros(1), np.zeros((0, 3), np.int32), np.zeros(1, np.int8)),
            {"relative_h1", "band_low", "momentum_rmse", "lift_rmse", "table4_momentum_rmse"},
        ),
    ],
)
def test_metrics_are_absent_where_they_are_not_defined(geometry: Geometry, absent: set[str]):
    here = {each.name for each in applicable(geometry, ("u",))}
    assert not here & absent
    assert {"mse", "rmse", "nrmse", "relative_l2", "max_error", "mean_drift"} <= here
    assert ("relative_h1" in here) == isinstance(geometry, Grid)


def test_flow_metrics_need_the_fields_of_a_flow_on_a_mesh():
    mesh = Mesh(np.zeros(1), np.zeros(1), np.zeros((0, 3), np.int32), np.zeros(1, np.int8))
    flow = ("velocity_x", "velocity_y", "density", "pressure")
    names = [{each.name for each in applicable(mesh, fields)} for fields in (flow, flow[:3])]
    assert names[0] - names[1] == {"lift_rmse", "drag_rmse"}
    assert {"momentum_rmse", "table4_momentum_rmse"} <= names[1]


def test_components_of_a_vector_share_one_norm_and_other_fields_have_their_own():
    truth, guess = random_fields(4, 2, 3, 16), random_fields(4, 2, 3, 16, seed=1)
    grid, names = periodic_grid((16,), (1.0,)), ("vx", "vy", "p")
    found = with_spread(measured(Compared(guess, truth, truth, grid, names), applicable(grid, names)))
    together = grouped(found, ((0, 1), (2,)))

    def relative(e: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.linalg.norm(e.reshape(4, -1), axis=1) / np.linalg.norm(t.reshape(4, -1), axis=1)

    e, t = (guess - truth).numpy(), truth.numpy()
    expected = [relative(e[:, :, part], t[:, :, part]) for part in (slice(0, 2), slice(2, 3))]
    np.testing.assert_allclose(metric("relative_l2").rollout(together), np.stack(expected, axis=1))
    each = [relative(e[:, :, [field]], t[:, :, [field]]) for field in range(3)]
    np.testing.assert_allclose(metric("relative_l2").rollout(found), np.stack(each, axis=1))
    largest = np.abs(e).max((1, 3))
    expected = np.stack([largest[:, :2].max(1), largest[:, 2]], axis=1)
    np.testing.assert_allclose(metric("max_error").rollout(together), expected)
