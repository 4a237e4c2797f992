"""Navier–Stokes against closed forms, invariants and balances."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.equations.navier_stokes import NavierStokes
from datagen.errors import InputError
from datagen.solvers.navier_stokes import VorticityEquation, published_forcing, solve
from datagen.solvers.random_fields import gaussian_field_2d, vorticity_spectrum
from tests.datagen.closed_forms import forced_from_rest, one_shell


def _error(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _random(points: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(gaussian_field_2d([seed], points, vorticity_spectrum("published")))


def _energy(equation: VorticityEquation, modes: Tensor) -> float:
    return 0.5 * float(equation.velocity(modes).square().sum(0).mean())


def _enstrophy(equation: VorticityEquation, modes: Tensor) -> float:
    return 0.5 * float(equation.to_grid(modes).square().mean())


@pytest.mark.parametrize("length", [1.0, 2 * math.pi])
@pytest.mark.parametrize("points", [32, 33])
def test_forcing_from_rest_gives_the_closed_form(points: int, length: float) -> None:
    forcing = published_forcing(points)
    equation = VorticityEquation(points, 1e-2, length, forcing)
    rest = torch.zeros(1, points, points, dtype=torch.float64)
    for frame, time in zip(solve(equation, rest, [1.0, 5.0]), [1.0, 5.0], strict=True):
        assert _error(frame.vorticity[0], forced_from_rest(forcing, time, 1e-2, length)) < 1e-12


@pytest.mark.parametrize(
    "modes",
    [
        [(3, 4, 1.0, 0.3), (5, 0, -0.7, 1.1), (4, -3, 0.4, 2.0), (0, 5, 0.9, 0.1)],
        [(1, 1, 1.0, 0.0), (1, -1, -1.0, 0.0)],
    ],
    ids=["mixture", "Taylor-Green"],
)
@pytest.mark.parametrize("length", [1.0, 2 * math.pi])
def test_modes_of_one_shell_decay_without_meeting(modes: list, length: float) -> None:
    equation = VorticityEquation(32, 1e-3, length)
    start = one_shell(32, modes, 0.0, 1e-3, length)[None]
    (frame,) = solve(equation, start, [2.0])
    assert _error(frame.vorticity[0], one_shell(32, modes, 2.0, 1e-3, length)) < 1e-12


def test_the_advective_term_is_that_of_its_definition() -> None:
    equation = VorticityEquation(48, 1e-3)
    modes = equation.to_modes(_random(48))
    kx = 2j * math.pi * torch.fft.fftfreq(48, 1 / 48, dtype=torch.float64)
    ky = 2j * math.pi * torch.arange(16, dtype=torch.float64)[:, None]
    u, v = equation.velocity(modes)
    plain = u * equation.to_grid(kx * modes) + v * equation.to_grid(ky * modes)
    assert _error(equation.explicit(modes), -equation.to_modes(plain)) < 1e-13


def test_velocity_is_free_of_divergence_and_its_curl_is_the_vorticity() -> None:
    equation = VorticityEquation(48, 1e-3)
    field = equation.to_grid(equation.to_modes(_random(48)))
    u, v = (equation.to_modes(part) for part in equation.velocity(equation.to_modes(field)))
    kx = 2j * math.pi * torch.fft.fftfreq(48, 1 / 48, dtype=torch.float64)
    ky = 2j * math.pi * torch.arange(16, dtype=torch.float64)[:, None]
    assert float((kx * u + ky * v).abs().max()) < 1e-15
    assert _error(equation.to_grid(kx * v - ky * u), field) < 1e-13


def test_without_viscosity_energy_and_enstrophy_are_kept() -> None:
    equation = VorticityEquation(64, 0.0)
    start = equation.to_modes(4 * _random(64))
    drifts = []
    for steps in (20, 40):
        later = equation.advance(start, 1.0, steps)
        drifts.append(
            (
                abs(_energy(equation, later) / _energy(equation, start) - 1),
                abs(_enstrophy(equation, later) / _enstrophy(equation, start) - 1),
            )
        )
    # The scheme's own dissipation falls with the fifth power of the step: 32 times on halving it.
    for coarse, fine in zip(*drifts, strict=True):
        assert fine < 1e-6
        assert 20 < coarse / fine < 45


def test_the_scheme_is_of_fourth_order() -> None:
    equation = VorticityEquation(32, 1e-3, forcing=published_forcing(32))
    start = equation.to_modes(4 * _random(32))
    reference = equation.advance(start, 1.0, 320)
    errors = [_error(equation.advance(start, 1.0, steps), reference) for steps in (10, 20, 40)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert all(3.7 < order < 4.5 for order in orders), orders


def test_energy_changes_by_what_forcing_gives_and_viscosity_takes() -> None:
    forcing = published_forcing(64)
    equation = VorticityEquation(64, 1e-3, forcing=forcing)
    state = equation.advance(equation.to_modes(_random(64)), 1.0, 20)
    step = 1e-3
    before, after = equation.advance(state, step, 1), equation.advance(state, 2 * step, 2)
    rate = (_energy(equation, after) - _energy(equation, state)) / (2 * step)
    # dE/dt = −2νZ + <ψ, f>, ψ̂ = ω̂/κ².
    stream = equation.to_grid(torch.where(equation.squared > 0, before / equation.squared.clamp(min=1e-9), 0))
    balance = -2 * 1e-3 * _enstrophy(equation, before) + float((stream * forcing).mean())
    assert rate == pytest.approx(balance, rel=1e-6)


def test_a_shifted_start_gives_the_shifted_flow() -> None:
    equation = VorticityEquation(32, 1e-3)
    start = equation.to_modes(4 * _random(32))
    moved = equation.to_modes(equation.to_grid(start).roll((5, -9), (-2, -1)))
    flow = equation.to_grid(equation.advance(start, 1.0, 10)).roll((5, -9), (-2, -1))
    assert _error(equation.to_grid(equation.advance(moved, 1.0, 10)), flow) < 1e-12


def test_the_error_of_each_frame_stays_below_the_tolerance() -> None:
    equation = VorticityEquation(64, 1e-4, forcing=published_forcing(64))
    start = _random(64)
    times = [1.0, 2.0, 3.0, 4.0]
    reference = [frame.vorticity for frame in solve(equation, start, times, step=1 / 160)]
    errors = {}
    for tolerance in (1e-5, 1e-7):
        frames = list(solve(equation, start, times, tolerance))
        errors[tolerance] = [_error(frame.vorticity, exact) for frame, exact in zip(frames, reference, strict=True)]
        # Errors of earlier frames are carried on, so the fourth may have four times the tolerance.
        assert max(errors[tolerance]) < 4 * tolerance
    assert max(errors[1e-5]) > 1e-7, "a loose tolerance should take fewer steps"


def test_a_flow_that_speeds_up_within_a_frame_gets_more_steps() -> None:
    points = 32
    equation = VorticityEquation(points, 1e-4, forcing=500 * published_forcing(points))
    start = 1e-3 * _random(points)
    (frame,) = solve(equation, start, [1.0], tolerance=1e-2)
    assert torch.isfinite(frame.vorticity).all()
    assert frame.steps > 50


def test_too_large_a_step_is_refused_with_one_that_is_stable() -> None:
    equation = VorticityEquation(64, 1e-5)
    with pytest.raises(InputError, match=r"blown up at time \d+: dt 1 is too large for it \(stable up to about 0\.0"):
        list(solve(equation, 20 * _random(64), [10.0, 20.0, 30.0, 40.0], step=1.0))


@pytest.mark.slow
def test_statistics_of_the_published_setting_are_those_of_the_published_data() -> None:
    made = NavierStokes(samples=48, resolution=64, frames=2, interval=10.0).solve(range(48), "cpu")["vorticity"]
    assert np.std(made[:, 0]) == pytest.approx(0.689, rel=0.03)
    assert np.std(made[:, 1]) == pytest.approx(0.958, rel=0.03)


def test_stored_samples_are_those_of_the_fine_grid() -> None:
    coarse = NavierStokes(samples=1, resolution=16, solve_resolution=32, frames=2).solve([0], "cpu")
    fine = NavierStokes(samples=1, resolution=32, frames=2).solve([0], "cpu")
    assert (coarse["vorticity"] == fine["vorticity"][:, :, ::2, ::2]).all()


def test_the_tail_tells_a_grid_that_is_too_coarse() -> None:
    coarse = NavierStokes(resolution=32, viscosity=1e-5, frames=8).solve([0], "cpu")["tail"]
    fine = NavierStokes(resolution=64, viscosity=1e-3, frames=8).solve([0], "cpu")["tail"]
    assert coarse.max() > 1e-4
    assert fine[:, 1:].max() < 1e-9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples 0"),
        ({"viscosity": -1e-3}, "nu -0.001 is not a positive number"),
        ({"field": "unitt"}, "did you mean 'unit'"),
        ({"step": -0.1}, "dt -0.1"),
        ({"tolerance": 0.0}, "tolerance 0"),
        ({"resolution": 64, "solve_resolution": 100}, "100 is not a multiple of resolution 64"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NavierStokes(**settings)
