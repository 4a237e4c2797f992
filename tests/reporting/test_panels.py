"""A panel shows values where they are: true extents, middle planes, triangles near the airfoil."""

from types import SimpleNamespace

import numpy as np
import pytest

from datagen.geometry import Grid, periodic_grid
from kitipde.reporting.panels import Scale, draw, label_outer, proportions, shown
from kitipde.reporting.style import new_figure
from tests.data.mesh_files import RECIPE


def panel(geometry, values: np.ndarray):
    axes = new_figure(4, 3).subplots()
    draw(axes, geometry, values, Scale.of(values))
    label_outer(axes, geometry, below=True, left=True)
    return axes


def test_a_rectangle_is_drawn_in_its_proportions_with_its_ends_and_units(rectangle: Grid):
    axes = panel(rectangle, rectangle.positions[..., 0])
    assert proportions(rectangle) == pytest.approx(0.5)
    assert axes.get_aspect() == 1.0
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.0, 2.0), (0.0, 1.0))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x [m]", "y [m]")


def value_at(axes, x: float, y: float) -> float:
    """What a map has at a place."""
    return float(np.ravel(axes.images[0].get_cursor_data(SimpleNamespace(xdata=x, ydata=y)))[0])


def test_a_map_has_x_to_the_right_and_y_upwards(rectangle: Grid):
    values = np.arange(float(rectangle.points)).reshape(rectangle.shape)
    axes = panel(rectangle, values)
    assert value_at(axes, 1.99, 0.01) == values[-1, 0]
    assert value_at(axes, 0.01, 0.99) == values[0, -1]


def test_points_on_walls_have_half_a_cell(rectangle: Grid):
    values = np.arange(float(rectangle.points)).reshape(rectangle.shape)
    axes = panel(rectangle, values)
    assert [value_at(axes, 0.01, y) for y in (0.06, 0.065, 0.18, 0.19)] == values[0, [0, 1, 1, 2]].tolist()


def test_sides_too_different_for_one_picture_are_not_drawn_to_scale():
    channel = periodic_grid((8, 8), (100.0, 1.0))
    assert proportions(channel) == 1.0
    assert panel(channel, channel.positions[..., 0]).get_aspect() == "auto"


def test_a_box_shows_the_planes_through_its_middle():
    box = periodic_grid((4, 6, 8), (1.0, 1.0, 0.5))
    values = np.arange(box.points, dtype=float).reshape(box.shape)
    images = panel(box, values).images
    expected = values[:, :, 4].T, values[:, 3].T, values[2]
    for image, plane in zip(images, expected, strict=True):
        np.testing.assert_allclose(np.asarray(image.get_array()), plane)
    np.testing.assert_allclose(
        shown(box, values), np.concatenate([values[2].ravel(), values[:, 3].ravel(), values[:, :, 4].ravel()])
    )


def test_an_airfoil_is_shown_with_its_surroundings_only():
    mesh = RECIPE.layout().geometry
    axes = panel(mesh, mesh.x)
    assert axes.get_xlim() == pytest.approx((-0.25, 1.5), abs=0.05)
    assert axes.get_aspect() == 1.0
    near = shown(mesh, mesh.x)
    assert 0 < len(near) < mesh.points
    assert near.min() >= axes.get_xlim()[0]


@pytest.mark.parametrize(("truth", "signed"), [((-1.0, 2.0), True), ((299.0, 301.0), False), ((-1e-6, 5.0), False)])
def test_colours_part_at_zero_only_for_fields_of_both_signs(truth: tuple[float, float], signed: bool):
    scale = Scale.of(np.array(truth))
    assert (scale.colours == "RdBu_r") == signed
    assert scale.ends == pytest.approx((-2.0, 2.0) if signed else truth)
    errors = scale.of_errors(np.array([0.0, 0.5, np.inf]))
    assert errors.ends == (0.0, 0.5)
    assert errors.colours != scale.colours
