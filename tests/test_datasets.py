"""The datasets that tests share are what they say they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datagen.geometry import Grid
from datagen.store import open_dataset
from datagen.store.verify import verify
from tests import datasets


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("make", "shape", "boundaries"),
    [
        (datasets.rectangle_of_four_fields, (12, 16), ("periodic", "wall")),
        (datasets.bounded_line, (33,), ("wall",)),
        (datasets.box, (16, 16, 16), ("periodic",) * 3),
        (datasets.advection_with_speed, (64,), ("periodic",)),
    ],
)
def test_they_are_written_without_remarks(
    make: Callable[[Path], Path], shape: tuple[int, ...], boundaries: tuple[str, ...], tmp_path: Path
) -> None:
    path = make(tmp_path / "d.h5")
    verify(path)
    with open_dataset(path) as data:
        assert isinstance(data.geometry, Grid)
        assert data.geometry.shape == shape
        assert tuple(axis.boundary[0] for axis in data.geometry.axes) == boundaries


def test_the_rectangle_has_roles_a_vector_and_ends(tmp_path: Path) -> None:
    with open_dataset(datasets.rectangle_of_four_fields(tmp_path / "d.h5")) as data:
        assert isinstance(data.geometry, Grid)
        x, y = data.geometry.axes
        assert (x.extent, x.has_ends, y.extent, y.has_ends) == ((0, 2), (True, False), (0, 1), (True, True))
        assert {name: data.role(name) for name in ("density", "mask_height", "viscosity")} == {
            "density": "field",
            "mask_height": "static",
            "viscosity": "parameter",
        }
        assert {name for name in data.fields if data.vector(name) == "velocity"} == {"velocity_x", "velocity_y"}
        assert data.read("density").shape == (12, 8, 12, 16)
        assert np.abs(data.read("velocity_y")[..., [0, -1]]).max() < 1e-6
        assert data.problem is None


def test_walls_are_zero_and_boxes_move_with_the_speed(tmp_path: Path) -> None:
    with open_dataset(datasets.bounded_line(tmp_path / "line.h5")) as data:
        assert not data.read("u")[:, [0, -1]].any()
        assert data.problem is not None
        assert (data.problem.inputs, data.problem.targets) == (("u0",), ("u",))
    with open_dataset(datasets.advection_with_speed(tmp_path / "wave.h5", samples=3)) as data:
        modes = np.exp(-2j * np.pi * np.arange(33) * data.parameter("speed")[:, None])
        moved = np.fft.irfft(np.fft.rfft(data.read("u0")) * modes, n=64)
        np.testing.assert_allclose(data.read("u"), moved, atol=1e-5)
