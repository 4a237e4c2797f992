"""Burgers' equation against closed forms and of its two solvers against each other."""

import math
from itertools import pairwise

import pytest
import torch

from datagen.equations.burgers import Burgers
from datagen.errors import InputError
from datagen.solvers.burgers import COLE_HOPF_LIMIT, cole_hopf, cole_hopf_exponent, etdrk4, solve
from datagen.solvers.random_fields import burgers_spectrum, gaussian_field_1d
from tests.datagen.closed_forms import burgers_wave


def _error(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("length", [1.0, 2 * math.pi])
@pytest.mark.parametrize("points", [255, 256])
def test_cole_hopf_gives_the_closed_form(length: float, points: int) -> None:
    start = burgers_wave(points, 0.0, 0.1, length, 0.6)[None]
    solution = cole_hopf(start, [0.0, 0.3, 1.0], 0.1, length)[0]
    for row, time in zip(solution, [0.0, 0.3, 1.0], strict=True):
        exact = burgers_wave(points, time, 0.1, length, 0.6)
        assert float((row - exact).abs().max()) < 1e-12


def test_etdrk4_gives_the_closed_form() -> None:
    start = burgers_wave(256, 0.0, 0.05, 2 * math.pi, 0.9)[None]
    solution = etdrk4(start, [1.0, 2.0], 0.05, 2 * math.pi)[0]
    for row, time in zip(solution, [1.0, 2.0], strict=True):
        assert _error(row, burgers_wave(256, time, 0.05, 2 * math.pi, 0.9)) < 3e-9


def test_the_two_solvers_agree_on_random_fields() -> None:
    start = torch.from_numpy(gaussian_field_1d(range(3), 1024, burgers_spectrum))
    # What the 2/3 rule would cut off must not be there, or the two solve different problems.
    modes = torch.fft.rfft(start)
    modes[:, 200:] = 0
    start = torch.fft.irfft(modes, n=1024)
    exact = cole_hopf(start, [1.0], 0.1, 2 * math.pi)
    assert _error(etdrk4(start, [1.0], 0.1, 2 * math.pi), exact) < 3e-8
    assert _error(etdrk4(start, [1.0], 0.1, 2 * math.pi, largest_step=1e-3), exact) < 1e-10


def test_etdrk4_is_of_fourth_order() -> None:
    start = burgers_wave(256, 0.0, 0.05, 2 * math.pi, 0.9)[None]
    exact = burgers_wave(256, 1.0, 0.05, 2 * math.pi, 0.9)[None, None]
    errors = [_error(etdrk4(start, [1.0], 0.05, 2 * math.pi, largest_step=step), exact) for step in (0.1, 0.05, 0.025)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert all(3.7 < order < 4.6 for order in orders), orders


def test_mean_stays_zero_and_energy_falls() -> None:
    start = torch.from_numpy(gaussian_field_1d([1], 2048, burgers_spectrum))
    solution = cole_hopf(start, [0.1, 0.5, 1.0, 2.0], 0.1, 2 * math.pi)[0]
    assert float(solution.mean(-1).abs().max()) < 1e-12
    energy = [float(start.square().mean()), *solution.square().mean(-1).tolist()]
    assert energy == sorted(energy, reverse=True)


def test_a_shifted_start_gives_the_shifted_solution() -> None:
    start = torch.from_numpy(gaussian_field_1d([2], 1024, burgers_spectrum))
    moved = cole_hopf(start.roll(100, -1), [1.0], 0.1, 2 * math.pi)
    assert _error(moved, cole_hopf(start, [1.0], 0.1, 2 * math.pi).roll(100, -1)) < 1e-12


def test_the_solver_that_is_accurate_is_chosen_for_each_sample() -> None:
    phase = 2 * math.pi * torch.arange(512).double() / 512
    start = torch.stack([burgers_wave(512, 0.0, 0.01, 1.0, 0.5), 4 * torch.sin(phase)])
    exponent = cole_hopf_exponent(start, 0.01, 1.0)
    assert exponent[0] < COLE_HOPF_LIMIT < exponent[1]
    # A sine's range of ∫u₀ is 2·4/(2π).
    assert float(exponent[1]) == pytest.approx(8 / (2 * math.pi) / 0.02, rel=1e-12)
    solution, methods = solve(start, [0.1], 0.01, 1.0)
    assert methods == ["cole_hopf", "etdrk4"]
    assert torch.isfinite(solution).all()


def test_published_norm_ratio_tells_the_length_of_the_domain() -> None:
    start = torch.from_numpy(gaussian_field_1d(range(50), 2048, burgers_spectrum))
    for length, ratio in ((2 * math.pi, 0.82), (1.0, 0.016)):
        later = cole_hopf(start, [1.0], 0.1, length)[:, 0]
        assert float((later.norm(dim=1) / start.norm(dim=1)).mean()) == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize("resolution", [128, 1024])
def test_what_is_stored_of_the_start_determines_the_solution(resolution: int) -> None:
    made = Burgers(samples=4, resolution=resolution).solve(range(4), "cpu")
    modes = torch.fft.rfft(torch.from_numpy(made["u0"]), norm="forward")[:, : resolution // 2]
    start = torch.fft.irfft(modes, n=8192, norm="forward")
    exact = cole_hopf(start, [1.0], 0.1, 2 * math.pi)[:, 0, :: 8192 // resolution]
    assert _error(torch.from_numpy(made["u"]), exact) < 1e-10
    # Not even a finer grid is needed for six digits.
    coarse = cole_hopf(torch.from_numpy(made["u0"]), [1.0], 0.1, 2 * math.pi)[:, 0]
    assert _error(coarse, exact) < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples 0 is too small"),
        ({"resolution": 2}, "resolution 2 is too small"),
        ({"viscosity": 0.0}, "nu 0 is not a positive number"),
        ({"viscosity": math.nan}, "nu nan is not a positive number"),
        ({"length": -1.0}, "length -1 is not"),
        ({"frames": 0}, "frames 0"),
        ({"resolution": 100, "solve_resolution": 150}, "150 is not a multiple of resolution 100"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Burgers(**settings)
