"""The heat equation against its modes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.equations.heat import Heat
from datagen.errors import InputError
from datagen.solvers.heat import boundary_source, solve, stored_source
from datagen.solvers.random_fields import gaussian_field_2d, vorticity_spectrum
from tests.datagen.closed_forms import heat_mode


@pytest.mark.parametrize("wavevector", [(0, 0), (1, 0), (3, -5), (7, 7), (16, 3)])
@pytest.mark.parametrize("length", [1.0, 2 * math.pi])
def test_each_mode_follows_its_closed_form(wavevector: tuple[int, int], length: float) -> None:
    start = heat_mode(32, wavevector, 0.0, 1e-2, length, 1.0, 0.0)[None]
    source = heat_mode(32, wavevector, 0.0, 1e-2, length, 0.3, 0.0)
    times = [0.0, 0.5, 20.0]
    frames = solve(start, source, times, 1e-2, length)[0]
    for frame, time in zip(frames, times, strict=True):
        exact = heat_mode(32, wavevector, time, 1e-2, length, 1.0, 0.3)
        assert float((frame - exact).abs().max()) < 1e-12


def test_small_time_differences_satisfy_the_equation() -> None:
    start = torch.from_numpy(gaussian_field_2d([3], 48, vorticity_spectrum("published")))
    source = boundary_source(48, 0.1)
    before, middle, after = solve(start, source, [1.0 - 1e-4, 1.0, 1.0 + 1e-4], 1e-3, 1.0)[0]
    k = torch.fft.fftfreq(48, 1 / 48, dtype=torch.float64)
    laplacian = torch.fft.ifft2(-4 * math.pi**2 * (k[:, None] ** 2 + k**2) * torch.fft.fft2(middle)).real
    residual = (after - before) / 2e-4 - 1e-3 * laplacian - source
    assert float(residual.abs().max()) < 1e-7


def test_mean_temperature_rises_by_the_heat_supplied() -> None:
    start = torch.from_numpy(gaussian_field_2d([3], 32, vorticity_spectrum("published")))
    source = boundary_source(32, 0.1)
    frames = solve(start, source, [5.0, 20.0], 1e-4, 1.0)[0]
    torch.testing.assert_close(frames.mean((-1, -2)), float(source.mean()) * torch.tensor([5.0, 20.0]).double())


def test_the_source_is_on_the_boundary_only() -> None:
    source = boundary_source(8, 0.1)
    assert int((source == 0.1).sum()) == 4 * 7
    assert (source[1:-1, 1:-1] == 0).all()


def test_a_step_more_makes_no_difference() -> None:
    start = torch.from_numpy(gaussian_field_2d([4], 32, vorticity_spectrum("unit")))
    source = boundary_source(32, 0.1)
    once = solve(start, source, [3.0], 1e-3, 1.0)[:, 0]
    twice = solve(solve(start, source, [1.0], 1e-3, 1.0)[:, 0], source, [2.0], 1e-3, 1.0)[:, 0]
    torch.testing.assert_close(once, twice, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"diffusivity": 0.0}, "alpha 0"), ({"source": math.inf}, "source inf"), ({"frames": 0}, "frames")],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Heat(**settings)


@settings(deadline=None, max_examples=30)
@given(stored=st.integers(4, 24), stride=st.integers(1, 9))
def test_the_source_that_is_stored_is_the_one_applied(stored: int, stride: int) -> None:
    points = stored * stride
    applied, kept = boundary_source(points, 0.3), stored_source(points, stride, 0.3)
    assert kept.shape == (stored, stored)
    torch.testing.assert_close(kept.mean(), applied.mean())
    torch.testing.assert_close(kept, kept.T)
    # The same place, half a point of the fine grid before 0: positions beyond the middle count from the other side.
    middles = []
    for field, apart in ((applied, 1), (kept, stride)):
        places = apart * torch.fft.fftfreq(len(field), 1 / len(field), dtype=torch.float64)
        line = field[:, len(field) // 2]
        near = places.abs() <= stride
        middles.append(float((places * line)[near].sum() / line[near].sum()))
    assert middles[1] == pytest.approx(middles[0], abs=1e-9)


def test_what_is_stored_solves_to_what_is_stored() -> None:
    recipe = Heat(samples=1, resolution=32, frames=2, interval=5.0, diffusivity=1e-3, solve_resolution=96)
    source = torch.from_numpy(recipe.layout().shared["source"])
    start = torch.from_numpy(recipe.initial([0])[:, ::3, ::3].copy())
    again = solve(start, source, recipe.times.tolist(), recipe.diffusivity, recipe.length)
    stored = torch.from_numpy(recipe.solve([0], "cpu")["temperature"]).double()
    # Strided, the source would be half as strong again and the error 0.27.
    assert float((again - stored).norm() / stored.norm()) < 0.02
