"""The heat equation against its modes."""

import math

import pytest
import torch

from datagen.errors import InputError
from datagen.exact import heat_mode
from datagen.fields import gaussian_field_2d, vorticity_spectrum
from datagen.heat import Heat, boundary_source, solve


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
