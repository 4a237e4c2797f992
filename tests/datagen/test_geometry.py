"""Axes and grids: weights integrate, coarser grids keep what they must."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datagen.errors import InputError
from datagen.geometry import Axis, Boundary, Grid, parse_resolution, periodic_grid, resolution_text

PERIOD: tuple[Boundary, Boundary] = ("periodic", "periodic")
WALLS: tuple[Boundary, Boundary] = ("wall", "wall")

PLACES = {
    "both ends": lambda n: np.arange(n) / (n - 1),
    "lower end": lambda n: np.arange(n) / n,
    "upper end": lambda n: np.arange(1, n + 1) / n,
    "cells": lambda n: (np.arange(n) + 0.5) / n,
    "neither": lambda n: np.arange(1, n + 1) / (n + 1),
}
"""Shares of the extent where n points are, by the ends that are among them."""

extents = st.tuples(st.floats(-100, 100), st.floats(0.01, 100)).map(lambda pair: (pair[0], pair[0] + pair[1]))
sizes = st.integers(2, 40)


def bounded(placement: str, points: int, extent: tuple[float, float] = (0.0, 1.0)) -> Axis:
    low, high = extent
    places = low + (high - low) * PLACES[placement](points)
    return Axis("x", np.clip(places, low, high), extent, WALLS)


def period(points: int, length: float = 1.0, start: float = 0.0) -> Axis:
    return Axis("x", start + length * np.arange(points) / points, (start, start + length), PERIOD)


def uneven(seed: int, points: int) -> Axis:
    places = np.sort(np.random.default_rng(seed).uniform(0, 1, points))
    assume((np.diff(places) > 1e-4).all())
    return Axis("x", places, (0.0, 1.0), WALLS)


@given(st.sampled_from(sorted(PLACES)), sizes, extents)
def test_weights_sum_to_the_length(placement: str, points: int, extent: tuple[float, float]) -> None:
    axis = bounded(placement, points, extent)
    assert axis.uniform
    np.testing.assert_allclose(axis.weights.sum(), axis.length, rtol=1e-9)
    assert (axis.weights > 0).all()


@given(st.sampled_from(["both ends", "cells", "neither"]), sizes, extents)
def test_weights_integrate_linear_functions_exactly(placement: str, points: int, extent: tuple[float, float]) -> None:
    axis = bounded(placement, points, extent)
    low, high = extent
    scale = max(abs(low), abs(high)) * axis.length
    np.testing.assert_allclose(axis.weights @ axis.coordinates, (high**2 - low**2) / 2, rtol=0, atol=1e-9 * scale)


@given(st.integers(0, 2**31), st.integers(3, 20))
def test_uneven_points_count_by_the_part_that_is_nearest(seed: int, points: int) -> None:
    axis = uneven(seed, points)
    np.testing.assert_allclose(axis.weights.sum(), 1)
    # Counted: of very many places, how many are nearest to each.
    many = (np.arange(200_000) + 0.5) / 200_000
    nearest = np.searchsorted((axis.coordinates[1:] + axis.coordinates[:-1]) / 2, many)
    np.testing.assert_allclose(axis.weights, np.bincount(nearest, minlength=points) / len(many), atol=1e-5)


@given(st.integers(0, 2**31), st.integers(3, 20), st.floats(0, 1))
def test_weights_of_an_uneven_period_do_not_depend_on_where_it_begins(seed: int, points: int, shift: float) -> None:
    places = np.sort(np.random.default_rng(seed).uniform(0, 1, points))
    assume((np.diff(places) > 1e-4).all() and places[-1] - places[0] < 1 - 1e-4)
    moved = (places + shift) % 1
    order = np.argsort(moved)
    assume((np.diff(moved[order]) > 1e-4).all() and moved.max() < 1 - 1e-5)
    weights = [Axis("x", each, (0.0, 1.0), PERIOD).weights for each in (places, moved[order])]
    np.testing.assert_allclose(weights[1], weights[0][order], atol=1e-12)


@given(st.sampled_from(sorted(PLACES)), st.integers(2, 12), st.integers(2, 5), extents)
def test_coarser_points_are_of_the_same_kind(
    placement: str, fewer: int, step: int, extent: tuple[float, float]
) -> None:
    points = {"both ends": (fewer - 1) * step + 1, "neither": (fewer + 1) * step - 1}.get(placement, fewer * step)
    fine = bounded(placement, points, extent)
    coarse, expected = fine.coarsened(fewer), bounded(placement, fewer, extent)
    np.testing.assert_allclose(coarse.coordinates, expected.coordinates, rtol=0, atol=1e-9 * max(map(abs, extent)))
    assert coarse.has_ends == expected.has_ends == fine.has_ends
    assert (coarse.extent, coarse.boundary) == (fine.extent, fine.boundary)
    assert coarse.placement == fine.placement


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(2, 4))
def test_strides_of_uneven_points_take_points_and_keep_both_ends(seed: int, fewer: int, step: int) -> None:
    inner = np.sort(np.random.default_rng(seed).uniform(0.01, 0.99, (fewer - 1) * step - 1))
    assume((np.diff(inner) > 1e-4).all())
    fine = Axis("x", np.concatenate([[0.0], inner, [1.0]]), (0.0, 1.0), WALLS)
    coarse = fine.coarsened(fewer)
    np.testing.assert_array_equal(coarse.coordinates, fine.coordinates[::step])
    assert coarse.has_ends == (True, True)


def test_cells_average_what_they_join() -> None:
    axis = bounded("cells", 6)
    values = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(
        axis.reduction(3).apply(values[:, axis.reduction(3).stored], 1), [[0.5, 2.5, 4.5], [6.5, 8.5, 10.5]]
    )
    assert axis.weights @ values[0] == pytest.approx(axis.coarsened(3).weights @ [0.5, 2.5, 4.5])


def test_points_that_are_possible_are_listed() -> None:
    for axis, listed in (
        (bounded("both ends", 9), "1, 2, 3, 5, 9"),
        (bounded("neither", 7), "1, 3, 7"),
        (bounded("cells", 6), "1, 2, 3, 6"),
        (period(6), "1, 2, 3, 6"),
    ):
        with pytest.raises(InputError, match=f"those that do: {listed}"):
            axis.reduction(4)


@given(st.integers(5, 40), st.integers(1, 20), st.floats(0.1, 10))
def test_truncated_spectra_keep_waves_that_fit_and_lose_the_others(points: int, fewer: int, length: float) -> None:
    assume(fewer < points)
    axis = period(points, length, start=-1.0)
    coarse = axis.coarsened(fewer, "spectral")
    for mode in range((points + 1) // 2):
        wave = [np.cos(2 * np.pi * mode * (each.coordinates + 1) / length + 0.3) for each in (axis, coarse)]
        expected = wave[1] if 2 * mode < fewer else 0 * wave[1]
        np.testing.assert_allclose(axis.reduction(fewer, "spectral").apply(wave[0], 0), expected, atol=1e-12)


@pytest.mark.parametrize(
    "axis",
    [bounded("lower end", 8), bounded("both ends", 9), Axis("x", np.array([0, 0.1, 0.3, 0.7]), (0.0, 1.0), PERIOD)],
)
def test_spectra_are_of_uniform_periods_only(axis: Axis) -> None:
    with pytest.raises(InputError, match="downsample=spectral needs equally spaced points of a period"):
        axis.reduction(2, "spectral")


@pytest.mark.parametrize(
    ("points", "extent", "boundary", "told"),
    [
        ([0.0, 0.5], (0, 1), ("periodic", "wall"), "periodic at one end"),
        ([0.0, 0.5], (0, 1), ("wall", "inflow"), "boundary of x 'inflow'"),
        ([0.0, 0.0], (0, 1), WALLS, "do not rise"),
        ([0.0, 2.0], (0, 1), WALLS, "outside its extent"),
        ([0.0, 0.0], (1, 0), WALLS, "do not rise"),
        ([0.0, np.nan], (0, 1), WALLS, "finite numbers"),
        ([], (0, 1), WALLS, "one or more points"),
        ([0.0, 0.5, 1.0], (0, 1), PERIOD, "leave out the last"),
    ],
)
def test_what_is_no_axis_is_refused(
    points: list[float], extent: tuple[float, float], boundary: tuple[Boundary, Boundary], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        Axis("x", np.array(points, np.float64), extent, boundary)


def rectangle() -> Grid:
    """A period of 12 points and 9 nodes between walls."""
    wall = bounded("both ends", 9, (0.0, 3.0))
    return Grid((period(12, 2.0), Axis("y", wall.coordinates, wall.extent, wall.boundary)))


def test_a_grid_integrates_products_and_reduces_each_axis() -> None:
    grid = rectangle()
    assert (grid.names, grid.shape, grid.lengths, grid.points) == (("x", "y"), (12, 9), (2.0, 3.0), 108)
    assert (grid.periodic, grid.uniform, grid.dimension) == (False, True, 2)
    x, y = np.moveaxis(grid.positions, -1, 0)
    # The mean of (1 + cos πx)·y over the rectangle.
    assert (grid.weights * (1 + np.cos(np.pi * x)) * y).sum() == pytest.approx(1.5)
    values = np.random.default_rng(0).standard_normal((4, 12, 9))
    stored = tuple(each.stored for each in grid.reductions((6, 3)))
    np.testing.assert_array_equal(values[(slice(None), *stored)], values[:, ::2, ::4])
    assert grid.coarsened((6, 3)).shape == (6, 3)
    assert grid.possible([(3,), (6,), (12, 5), (4, 9)]) == ((3, 3), (4, 9), (12, 5))
    with pytest.raises(InputError, match="resolution 6x3x2 has 3 axes, the grid 12 × 9 has 2"):
        grid.reductions((6, 3, 2))


def test_grids_have_one_to_three_axes_of_different_names() -> None:
    axis = period(4)
    for axes in ((), (axis, axis)):
        with pytest.raises(InputError, match="one to three axes of different names"):
            Grid(axes)
    assert periodic_grid((4, 6, 8), (1.0, 2.0, 3.0)).names == ("x", "y", "z")


def test_resolutions_are_a_number_or_one_for_each_axis() -> None:
    assert [parse_resolution(text) for text in ("64", 64, "64x128", "8×4×2")] == [(64,), (64,), (64, 128), (8, 4, 2)]
    assert [resolution_text(each) for each in ((64,), (64, 64), (64, 128))] == ["64", "64", "64x128"]
    for text in ("", "0", "64x", "-4", "64,128"):
        with pytest.raises(InputError, match="allowed: a number such as 64"):
            parse_resolution(text)
