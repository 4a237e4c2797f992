"""Coordinate channels: the same functions of x on every grid."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.geometry import Axis, Grid, periodic_grid
from kitipde.config import FNOConfig, ResidualConfig
from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.models import build_model
from kitipde.models.coordinates import Coordinates, interpolate, resample
from kitipde.models.fno import FNO
from kitipde.problem.problem import Domain, Problem
from kitipde.runs import load

DOUBLE = torch.float64
KINDS = ("interpolated", "published", "harmonics", "none")
# One seed of a run of the first edition, as it was exported then.
CHECKPOINT = Path(__file__).parents[1] / "data" / "first-edition"

counts = st.integers(1, 40)


def periodic(grid: tuple[int, ...]) -> Domain:
    """The periodic unit line, square or rectangle of so many points."""
    return Domain.of(periodic_grid(grid, (1.0,) * len(grid)))


def bounded(points: int, first: float = 0.0, last: float = 1.0) -> Domain:
    """A line from 0 to 1 between walls, with points that are equally spaced from the first to the last."""
    wall = ("wall", "wall")
    return Domain.of(Grid((Axis("x", np.linspace(first, last, points), (0.0, 1.0), wall, "1"),)))


def problem(domain: Domain) -> Problem:
    """One frame of one field to the next."""
    return Problem(("u",), ("u",), (), (), 1, 1, domain)


def channels(kind: str, grid: tuple[int, ...], trained_on: tuple[int, ...] | None = None, **more) -> torch.Tensor:
    """All channels of one field on a grid."""
    dtype = more.pop("dtype", DOUBLE)
    coordinates = Coordinates(kind, more.pop("harmonics", 3), more.pop("endpoint", False), periodic(trained_on or grid))
    parts = coordinates.channels(torch.zeros(1, 1, *grid, dtype=dtype))
    assert sum(part.shape[1] for part in parts) == coordinates.count
    return torch.cat(parts, 1)[0]


def sum_of_waves(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The trigonometric interpolant by its definition, at places in [0, 1)."""
    given = len(values)
    result = np.zeros(len(places))
    for k in range(-((given - 1) // 2), given // 2 + 1):
        coefficient = np.mean(values * np.exp(-2j * np.pi * k * np.arange(given) / given))
        wave = np.cos(np.pi * given * places) if 2 * k == given else np.exp(2j * np.pi * k * places)
        result += (coefficient * wave).real
    return result


@settings(deadline=None)
@given(given=counts, points=counts, seed=st.integers(0, 100))
def test_the_interpolant_is_the_sum_of_its_waves_on_every_grid(given: int, points: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=given)
    found = interpolate(torch.from_numpy(values), points).numpy()
    np.testing.assert_allclose(found, sum_of_waves(values, np.arange(points) / points), atol=1e-12)


@settings(deadline=None)
@given(given=counts, times=st.integers(1, 5))
def test_the_interpolant_keeps_the_values_that_it_is_made_of(given: int, times: int) -> None:
    values = torch.randn(given, dtype=DOUBLE)
    torch.testing.assert_close(interpolate(values, times * given)[::times], values, atol=1e-13, rtol=0)


@settings(deadline=None)
@given(trained=counts, points=counts, endpoint=st.booleans())
def test_each_axis_has_the_interpolant_of_the_grid_of_the_training(trained: int, points: int, endpoint: bool) -> None:
    sawtooth = np.arange(trained) / (trained - 1 if endpoint and trained > 1 else trained)
    expected = sum_of_waves(sawtooth, np.arange(points) / points)
    line = channels("interpolated", (points,), (trained,), endpoint=endpoint)
    np.testing.assert_allclose(line[0], expected, atol=1e-12)
    plane = channels("interpolated", (6, points), (9, trained), endpoint=endpoint)
    np.testing.assert_allclose(plane[1], np.broadcast_to(expected, (6, points)), atol=1e-12)
    assert (plane[0] - plane[0, :, :1]).abs().max() < 1e-12


@settings(deadline=None)
@given(
    grid=st.lists(counts, min_size=1, max_size=2).map(tuple),
    endpoint=st.booleans(),
    dtype=st.sampled_from([torch.float32, DOUBLE]),
)
def test_the_grid_of_the_training_has_the_bits_of_the_published_channel(grid, endpoint: bool, dtype) -> None:
    found = channels("interpolated", grid, grid, endpoint=endpoint, dtype=dtype)
    assert torch.equal(found, channels("published", grid, endpoint=endpoint, dtype=dtype))
    axes = [
        torch.arange(n, dtype=dtype) / (n - 1 if endpoint and n > 1 else n) for n in grid
    ]  # what the first networks were trained with
    assert torch.equal(found, torch.stack(torch.meshgrid(*axes, indexing="ij")))


@settings(deadline=None)
@given(points=counts, number=st.integers(1, 12))
def test_harmonics_are_sines_and_cosines(points: int, number: int) -> None:
    angles = 2 * np.pi * np.outer(np.arange(1, number + 1), np.arange(points) / points)
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(channels("harmonics", (points,), harmonics=number), expected, atol=1e-12)
    single = channels("harmonics", (points,), harmonics=number, dtype=torch.float32)
    np.testing.assert_allclose(single, expected, atol=1e-7)


def network(kind: str, trained_on: tuple[int, ...], linear: bool) -> FNO:
    torch.manual_seed(0)
    config = FNOConfig(modes=(5,), width=8, layers=3, projection_width=16, coordinates=kind, harmonics=3)
    model = FNO(config, ResidualConfig(), 1, 1, periodic(trained_on)).double().eval()
    if linear:
        model.activation = torch.nn.Identity()
    return model


def smooth_field(grid: tuple[int, ...]) -> torch.Tensor:
    """A few waves, at most the third on each axis."""
    axes = torch.meshgrid(*(2 * torch.pi * torch.arange(n, dtype=DOUBLE) / n for n in grid), indexing="ij")
    return (axes[0].sin() + (2 * axes[-1] + axes[0]).cos() + 0.5 * (3 * axes[-1]).sin())[None, None]


GRIDS = [((16,), 3), ((15,), 2), ((12, 16), 2)]


@pytest.mark.parametrize(("grid", "times"), GRIDS)
@pytest.mark.parametrize("kind", ["interpolated", "harmonics", "none"])
def test_a_finer_grid_moves_the_prediction_from_the_same_field_by_aliasing_alone(kind, grid, times) -> None:
    finer = tuple(times * points for points in grid)
    every = (..., *(slice(None, None, times) for _ in grid))
    with torch.no_grad():
        model = network(kind, grid, linear=True)
        torch.testing.assert_close(model(smooth_field(finer))[every], model(smooth_field(grid)), atol=1e-12, rtol=0)
        model = network(kind, grid, linear=False)
        coarse, fine = model(smooth_field(grid)), model(smooth_field(finer))[every]
        assert (fine - coarse).norm() < 2e-3 * coarse.norm()


@pytest.mark.parametrize(("grid", "times"), GRIDS)
def test_published_coordinates_move_it(grid, times) -> None:
    finer = tuple(times * points for points in grid)
    model = network("published", grid, linear=True)
    with torch.no_grad():
        coarse, fine = model(smooth_field(grid)), model(smooth_field(finer))
    change = fine[(..., *(slice(None, None, times) for _ in grid))] - coarse
    assert change.norm() > 1e-5 * coarse.norm()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(16, 12), (24, 12)])
def test_channels_compile_in_one_graph(kind: str, grid: tuple[int, ...]) -> None:
    domain = periodic((16, 12))

    def beside(a: torch.Tensor) -> torch.Tensor:
        return torch.cat([a, *Coordinates(kind, 3, True, domain).channels(a)], 1)

    a = torch.randn(2, 1, *grid)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(beside, fullgraph=True, backend="aot_eager")(a), beside(a))


def test_a_network_exports_on_another_grid_than_that_of_its_training() -> None:
    model, a = network("interpolated", (16,), linear=False), torch.randn(2, 1, 24, dtype=DOUBLE)
    torch.testing.assert_close(torch.export.export(model, (a,)).module()(a), model(a))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_built_from_settings_knows_the_grid_of_its_training(kind: str) -> None:
    chosen = ["model.modes=3", "model.width=4", "model.layers=1", f"model.coordinates={kind}"]
    model = build_model(resolve_config({}, chosen), problem(periodic((12, 10)))).network
    assert isinstance(model, FNO)
    assert model.coordinates.domain.shape == (12, 10)
    assert model.lifting.fcs[0].weight.shape[1] == 1 + model.coordinates.count


@settings(max_examples=30, deadline=None)
@given(points=st.integers(8, 40), number=st.integers(1, 24))
def test_harmonics_beyond_the_grid_of_the_training_are_refused(points: int, number: int) -> None:
    config = FNOConfig(modes=(2,), coordinates="harmonics", harmonics=number)
    waves = channels("harmonics", (points,), harmonics=number)
    independent = torch.linalg.matrix_rank(waves, rtol=1e-9) == 2 * number
    if independent:
        config.check(problem(periodic((points,))))
    else:
        with pytest.raises(InputError, match=f"give model.harmonics={(points - 1) // 2} or less"):
            config.check(problem(periodic((points,))))


def test_weights_of_the_first_edition_predict_what_they_did_on_the_grid_of_their_training() -> None:
    x = 2 * torch.pi * torch.arange(64) / 64
    field = (0.5 * x.sin() + 0.2 * (3 * x).cos())[None, None, None]
    with torch.no_grad():
        found = load(CHECKPOINT, seed=0)(field)[0, 0, 0, ::16]
    expected = torch.tensor([0.07010740786790848, 0.34994590282440186, -0.07405345141887665, -0.4945138692855835])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["interpolated", "published", "harmonics"])
def test_a_bounded_axis_has_the_place_itself_on_every_grid(kind: str) -> None:
    coordinates = Coordinates(kind, 2, False, bounded(9))
    for points in (9, 17, 4):
        (found,) = coordinates.channels(torch.zeros(1, 1, points, dtype=DOUBLE))
        np.testing.assert_allclose(found[0, 0], np.linspace(0, 1, points), atol=1e-14)
    cells = Coordinates(kind, 2, False, bounded(8, 1 / 16, 15 / 16))
    np.testing.assert_allclose(cells.channels(torch.zeros(1, 1, 4, dtype=DOUBLE))[0][0, 0], np.arange(4) / 4 + 1 / 8)


@pytest.mark.parametrize("points", [4, 7, 8, 19])
def test_linear_functions_are_resampled_exactly_between_walls(points: int) -> None:
    x = torch.linspace(0, 1, 8, dtype=DOUBLE)
    found = resample((3 * x - 1)[None, None], (points,), bounded(8))
    torch.testing.assert_close(found[0, 0], 3 * torch.linspace(0, 1, points, dtype=DOUBLE) - 1, atol=1e-13, rtol=0)
