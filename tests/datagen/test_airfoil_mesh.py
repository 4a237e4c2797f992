"""O-grids: the nodes lie on the section, the control volumes fill the plane between, and the triangles are a mesh."""

import numpy as np
import pytest
import torch

from datagen.equations.airfoil.euler import Duals
from datagen.equations.airfoil.o_grid import naca_contour, o_grid, triangulated
from datagen.errors import InputError

SECTIONS = ("0012", "0006", "2424", "4412", "6409")


def test_the_contour_has_the_thickness_and_camber_that_its_digits_say() -> None:
    contour, angle = naca_contour("0012", 2001)
    assert np.ptp(contour.imag) == pytest.approx(0.12, rel=2e-3)
    assert contour.real[np.argmax(contour.imag)] == pytest.approx(0.30, abs=0.005)
    assert angle == pytest.approx(
        2 * np.arctan((contour[1] - contour[0]).imag / -(contour[1] - contour[0]).real), rel=1e-3
    )
    upper, lower = naca_contour("4412", 2001)[0][:2001], naca_contour("4412", 2001)[0][:1999:-1]
    assert (0.5 * (upper + lower)).imag.max() == pytest.approx(0.04, rel=1e-6)


@pytest.mark.parametrize("code", SECTIONS)
def test_the_first_layer_lies_on_the_section(code: str) -> None:
    contour, _ = naca_contour(code, 4001)
    wall = o_grid(code, 160, 32, 60.0).z[0]
    # Distance to the nearest segment of a much finer polygon.
    ends, edges = contour[:-1], np.diff(contour)
    share = np.clip(((wall[:, None] - ends) / edges).real, 0, 1)
    assert np.abs(wall[:, None] - ends - share * edges).min(1).max() < 2e-5
    assert abs(wall[0] - 1.0) < 1e-12


@pytest.mark.parametrize("code", SECTIONS)
def test_triangles_are_counter_clockwise_and_fill_the_plane_between(code: str) -> None:
    grid = o_grid(code, 160, 32, 60.0)
    mesh = triangulated(grid)
    places = mesh.x + 1j * mesh.y
    a, b, c = places[mesh.cells.T]
    areas = 0.5 * ((b - a).conj() * (c - a)).imag
    assert (areas > 0).all()
    ring = [0.5 * (layer.conj() * np.roll(layer, -1)).imag.sum() for layer in (grid.z[0], grid.z[-1])]
    assert areas.sum() == pytest.approx(ring[1] - ring[0], rel=1e-12)
    assert (len(mesh.x), len(mesh.cells)) == (5120, 9920)
    assert np.abs(places[mesh.node_type == 4]).min() > 50
    assert (mesh.node_type == 2).sum() == (mesh.node_type == 4).sum() == 160
    # Each edge belongs to two triangles, but for those of both rims.
    edges = np.sort(np.concatenate([mesh.cells[:, [0, 1]], mesh.cells[:, [1, 2]], mesh.cells[:, [2, 0]]]), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    assert (np.bincount(counts)[1:] == [320, (3 * 9920 - 320) // 2]).all()


def test_control_volumes_are_closed_and_fill_the_plane_between() -> None:
    grid = o_grid("2412", 64, 20, 50.0)
    duals = Duals.of(grid.z)
    assert (duals.volume > 0).all()
    ring = [0.5 * (layer.conj() * np.roll(layer, -1)).imag.sum() for layer in (grid.z[0], grid.z[-1])]
    assert float(duals.volume.sum()) == pytest.approx(ring[1] - ring[0], rel=1e-12)
    total = duals.along - duals.along.roll(1, -1)
    total[:, :-1] += duals.across
    total[:, 1:] -= duals.across
    total[:, 0] += 0.5 * (duals.inner + duals.inner.roll(1, -1))
    total[:, -1] += 0.5 * (duals.outer + duals.outer.roll(1, -1))
    assert float(torch.hypot(*total).max()) < 1e-14 * 50


@pytest.mark.parametrize("code", ["012", "00120", "NACA", "0002", "0512", "4012", "0040"])
def test_what_is_no_section_is_refused(code: str) -> None:
    with pytest.raises(InputError, match=f"airfoil '{code}'"):
        o_grid(code, 64, 20, 50.0)


@pytest.mark.parametrize("code", ["9120", "9904", "9912"])
def test_sections_that_no_mesh_goes_round_are_told(code: str) -> None:
    with pytest.raises(InputError, match=f"airfoil {code}: "):
        o_grid(code, 64, 20, 50.0)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ((8, 20, 50.0), "nodes around 8"),
        ((64, 4, 50.0), "layers 4"),
        ((64, 20, 1.0), "far field 1 is too near"),
        ((4000, 8, 50.0), "8 layers of 4000 nodes do not reach"),
    ],
)
def test_grids_too_small_are_refused(sizes: tuple[int, int, float], line: str) -> None:
    with pytest.raises(InputError, match=line):
        o_grid("0012", *sizes)
