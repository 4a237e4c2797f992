"""Each metric against an independent formula, on fields whose answer is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitipde.evaluation.metrics import (
    applicable,
    correlation_time,
    joined,
    measured,
)
from kitipde.evaluation.metrics.spectral import join_spectra, power_above, spectra
from tests.evaluation.metric_cases import (
    TAU,
    compared,
    grid_1d,
    measure,
    mode_1d,
    mode_2d,
    over_rollout,
    random_fields,
)


def test_a_perfect_prediction_has_no_error_and_full_correlation():
    truth = random_fields(3, 2, 33)
    errors, _ = measure(truth, truth, (1.0,))
    for name in ("mse", "rmse", "relative_l2", "relative_h1", "max_error", "band_low", "band_middle", "band_high"):
        assert float(getattr(errors, name).abs().max()) == 0.0, name
    torch.testing.assert_close(errors.correlation, torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(errors.power_drift, torch.zeros(3, 2, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3, 2, 33), (2, 3, 16, 16), (2, 1, 15, 9)])
def test_a_scaled_prediction_errs_by_the_scale(shape: tuple[int, ...]):
    truth = random_fields(*shape)
    errors, _ = measure(1.1 * truth, truth, (1.0,) * (len(shape) - 2))
    expected = torch.full(shape[:2], 0.1, dtype=torch.float64)
    torch.testing.assert_close(errors.relative_l2, expected)
    torch.testing.assert_close(errors.relative_h1, expected)
    torch.testing.assert_close(errors.power_drift, expected * 0 + 0.21)
    torch.testing.assert_close(errors.correlation, expected * 0 + 1.0)
    torch.testing.assert_close(errors.max_error, 0.1 * truth.abs().flatten(2).amax(-1))


def test_a_shifted_prediction_errs_in_the_mean_and_in_the_low_band_only():
    truth = random_fields(4, 2, 40)
    errors, _ = measure(truth + 0.3, truth, (1.0,))
    expected = torch.full((4, 2), 0.3, dtype=torch.float64)
    torch.testing.assert_close(errors.rmse, expected)
    torch.testing.assert_close(errors.band_low, expected)
    torch.testing.assert_close(errors.mean_drift, expected)
    torch.testing.assert_close(errors.max_error, expected)
    assert float(errors.band_high.max()) < 1e-12


@pytest.mark.parametrize(
    ("m", "band"), [(0, "low"), (4, "low"), (5, "middle"), (12, "middle"), (13, "high"), (32, "high")]
)
def test_a_single_mode_of_error_falls_into_its_band(m: int, band: str):
    truth = random_fields(1, 1, 64)
    wave = torch.cos(TAU * m * grid_1d(64))[None, None]
    errors, _ = measure(truth + 0.2 * wave, truth, (1.0,))
    # ⟨cos²⟩ is ½, except for the constant and for the Nyquist mode, which is ±1 on the grid.
    expected = 0.2 * (1.0 if m in (0, 32) else math.sqrt(0.5))
    for name in ("low", "middle", "high"):
        assert float(getattr(errors, f"band_{name}")) == pytest.approx(expected if name == band else 0.0, abs=1e-12)


@pytest.mark.parametrize(("m", "n", "band"), [(3, 2, "low"), (0, 8, "middle"), (-7, 6, "middle"), (10, -9, "high")])
def test_bands_of_a_2d_field_go_by_the_length_of_the_wave_vector(m: int, n: int, band: str):
    truth = random_fields(1, 1, 32, 32)
    errors, _ = measure(truth + mode_2d(m, n), truth, (1.0, 1.0))
    for name in ("low", "middle", "high"):
        expected = math.sqrt(0.5) if name == band else 0.0
        assert float(getattr(errors, f"band_{name}")) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 64), (2, 3, 63), (2, 2, 16, 16), (2, 2, 15, 17)])
def test_squares_of_the_band_errors_sum_to_the_mse(shape: tuple[int, ...]):
    truth, guess = random_fields(*shape), random_fields(*shape, seed=1)
    errors, spectra = measure(guess, truth, (1.0,) * (len(shape) - 2))
    bands = torch.stack([errors.band_low, errors.band_middle, errors.band_high])
    torch.testing.assert_close(bands.square().nansum(0), errors.mse)
    torch.testing.assert_close(spectra.error.sum(1), errors.mse.sum(0))
    torch.testing.assert_close(spectra.target.sum(1), errors.target_power.sum(0))


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("points", [4, 8, 9, 10, 16, 17, 18, 24, 25, 26, 64])
def test_a_band_is_undefined_where_the_grid_has_none_of_its_modes(points: int, dimension: int):
    truth = random_fields(1, 1, *(points,) * dimension)
    errors, spectra = measure(truth + 0.1 * random_fields(*truth.shape, seed=1), truth, (1.0,) * dimension)
    shells = spectra.error.shape[1]
    bands = (errors.band_low, errors.band_middle, errors.band_high)
    assert [bool(band.isnan().all()) for band in bands] == [shells <= first for first in (0, 5, 13)]


@pytest.mark.parametrize("length", [1.0, TAU])
def test_relative_h1_weighs_a_mode_by_its_physical_wavenumber(length: float):
    truth, wrong = mode_1d(2, length=length), mode_1d(9, length=length)
    errors, _ = measure(truth + 0.1 * wrong, truth, (length,))
    k_truth, k_wrong = TAU * 2 / length, TAU * 9 / length
    expected = 0.1 * math.sqrt((1 + k_wrong**2) / (1 + k_truth**2))
    assert float(errors.relative_h1) == pytest.approx(expected, rel=1e-12)


def test_relative_h1_agrees_with_norms_of_analytic_gradients_in_2d():
    x = grid_1d(48)[:, None]
    y = grid_1d(48)[None, :] * 2.0
    truth = torch.sin(TAU * 3 * x) * torch.cos(TAU * y / 2.0)
    wrong = torch.cos(TAU * 5 * x) * torch.sin(TAU * 2 * y / 2.0)

    def squared_h1(value: torch.Tensor, d_x: torch.Tensor, d_y: torch.Tensor) -> float:
        return float((value**2 + d_x**2 + d_y**2).mean())

    truth_norm = squared_h1(
        truth,
        TAU * 3 * torch.cos(TAU * 3 * x) * torch.cos(TAU * y / 2.0),
        -TAU / 2.0 * torch.sin(TAU * 3 * x) * torch.sin(TAU * y / 2.0),
    )
    wrong_norm = squared_h1(
        wrong,
        -TAU * 5 * torch.sin(TAU * 5 * x) * torch.sin(TAU * 2 * y / 2.0),
        TAU * torch.cos(TAU * 5 * x) * torch.cos(TAU * 2 * y / 2.0),
    )
    errors, _ = measure((truth + wrong)[None, None], truth[None, None], (1.0, 2.0))
    assert float(errors.relative_h1) == pytest.approx(math.sqrt(wrong_norm / truth_norm), rel=1e-12)


def test_relative_errors_of_a_zero_truth_are_undefined_and_the_absolute_ones_are_not():
    truth = torch.zeros(2, 1, 16)
    errors, _ = measure(truth + 0.5, truth, (1.0,))
    rollout = over_rollout(errors)
    assert errors.relative_l2.isnan().all()
    assert errors.relative_h1.isnan().all()
    assert errors.power_drift.isnan().all()
    assert rollout.relative_l2.isnan().all()
    assert rollout.nrmse.isnan().all()
    torch.testing.assert_close(rollout.rmse, torch.full((2,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_prediction_that_is_not_finite_has_infinite_errors_in_its_sample_only(value: float):
    truth = random_fields(2, 3, 40)
    guess = truth + 0.1
    guess[0, 1, 5] = value
    rollout = over_rollout(measure(guess, truth, (1.0,))[0])
    for name in ("mse", "rmse", "nrmse", "relative_l2", "relative_h1", "max_error", "band_high"):
        assert getattr(rollout, name)[0] == math.inf, name
        assert getattr(rollout, name)[1].isfinite(), name


def test_correlation_is_numpys_and_blind_to_scale_and_shift():
    truth, guess = random_fields(2, 2, 30), random_fields(2, 2, 30, seed=3)
    errors, _ = measure(guess, truth, (1.0,))
    for sample in range(2):
        for frame in range(2):
            expected = np.corrcoef(guess[sample, frame], truth[sample, frame])[0, 1]
            assert float(errors.correlation[sample, frame]) == pytest.approx(expected, abs=1e-12)
    transformed, _ = measure(5.0 * truth + 7.0, truth, (1.0,))
    torch.testing.assert_close(transformed.correlation, torch.ones(2, 2, dtype=torch.float64))


def test_a_constant_prediction_has_no_correlation():
    truth = random_fields(1, 1, 30)
    errors, _ = measure(torch.full_like(truth, 1.7), truth, (1.0,))
    assert errors.correlation.isnan().all()


def test_rollout_errors_are_norms_of_the_whole_rollout():
    truth, guess = random_fields(5, 4, 12, 10), random_fields(5, 4, 12, 10, seed=1)
    errors, _ = measure(guess, truth, (1.0, 1.0))
    rollout = over_rollout(errors)
    p, t = guess.numpy().reshape(5, -1), truth.numpy().reshape(5, -1)
    np.testing.assert_allclose(rollout.mse, ((p - t) ** 2).mean(1))
    np.testing.assert_allclose(rollout.rmse, np.sqrt(((p - t) ** 2).mean(1)))
    np.testing.assert_allclose(rollout.nrmse, np.sqrt(((p - t) ** 2).mean(1)) / t.std())
    np.testing.assert_allclose(rollout.relative_l2, np.linalg.norm(p - t, axis=1) / np.linalg.norm(t, axis=1))
    np.testing.assert_allclose(rollout.max_error, np.abs(p - t).max(1))
    np.testing.assert_allclose(rollout.mean_drift, (guess - truth)[:, -1].mean((1, 2)))


def test_predicting_the_overall_mean_has_a_normalised_rmse_of_one():
    truth = random_fields(50, 1, 64) + 3.0
    errors, _ = measure(torch.full_like(truth, float(truth.mean())), truth, (1.0,))
    assert float(over_rollout(errors).mse.mean().sqrt() / truth.std(correction=0)) == pytest.approx(1.0)
    torch.testing.assert_close(over_rollout(errors).nrmse.square().mean(), torch.tensor(1.0, dtype=torch.float64))


def test_float32_fields_are_measured_in_float64():
    truth = torch.full((1, 1, 4096), 1000.0)
    errors, _ = measure(truth + 1e-3, truth, (1.0,))
    stored = float((truth + 1e-3)[0, 0, 0].double() - 1000.0)
    assert float(errors.rmse) == pytest.approx(stored, rel=1e-12)


def test_batches_join_to_the_errors_of_the_whole():
    whole = compared(random_fields(5, 2, 20, seed=1), random_fields(5, 2, 20), (1.0,), 0.3)
    parts, metrics = [whole.part(part) for part in (slice(0, 2), slice(2, 5))], applicable(whole.geometry, ("u",))
    found = joined([measured(part, metrics) for part in parts])
    for name, expected in measured(whole, metrics).items():
        torch.testing.assert_close(found[name], expected, equal_nan=True)
    together, expected = join_spectra(list(map(spectra, parts))), spectra(whole)
    torch.testing.assert_close(together.prediction, expected.prediction)
    assert together.samples == expected.samples == 5


def test_spectrum_of_a_single_mode_is_one_shell_of_half_its_squared_amplitude():
    truth = 3.0 * mode_2d(3, 4)
    _, spectra = measure(truth, truth, (1.0, 1.0))
    expected = torch.zeros_like(spectra.target)
    expected[0, 5] = 4.5
    torch.testing.assert_close(spectra.target, expected)


def test_correlation_time_is_interpolated_between_frames():
    times = torch.tensor([1.0, 2.0, 3.0, 4.0])
    correlation = torch.tensor([[1.0, 0.9, 0.7, 0.2], [0.99, 0.98, 0.97, 0.96], [0.5, 0.9, 0.9, 0.9]])
    torch.testing.assert_close(correlation_time(correlation, times), torch.tensor([2.5, 4.0, 1.0], dtype=torch.float64))


def test_power_above_counts_the_modes_at_and_beyond_the_coarse_nyquist():
    # Powers: mode 3 has ½, mode 8 has 2; a grid of 16 points holds modes up to 7.
    truth = mode_1d(3) + 2.0 * mode_1d(8)
    assert power_above(truth[:, :, None], (16,)) == pytest.approx(0.8)
    assert power_above(truth[:, :, None], (18,)) == pytest.approx(0.0, abs=1e-12)
    assert power_above(mode_2d(1, 9)[:, :, None], (16, 16)) == pytest.approx(1.0)
    assert power_above(torch.zeros(1, 1, 1, 8), (4,)) == 0.0
    # Each axis has its own Nyquist index.
    assert power_above(mode_2d(3, 9)[:, :, None], (8, 20)) == pytest.approx(0.0, abs=1e-12)
    assert power_above(mode_2d(9, 3)[:, :, None], (8, 20)) == pytest.approx(1.0)
    both = torch.stack([truth, torch.zeros_like(truth)], dim=2)
    assert power_above(both, (16,)) == pytest.approx(0.4), "the mean over fields"


@settings(max_examples=25, deadline=None)
@given(st.floats(-30, 30), st.floats(-1e6, 1e6))
def test_errors_of_deviations_are_the_same_in_every_unit(exponent: float, offset: float):
    truth, amplitude = random_fields(4, 3, 32), 10.0**exponent
    guess = truth + 0.01 * random_fields(4, 3, 32, seed=1)
    unit = over_rollout(measure(guess, truth, (1.0,), 0.2)[0])
    errors, _ = measure(amplitude * (guess + offset), amplitude * (truth + offset), (1.0,), amplitude * (0.2 + offset))
    scaled = over_rollout(errors)
    for name in ("nrmse", "relative_l2_deviation"):
        torch.testing.assert_close(getattr(scaled, name), getattr(unit, name), rtol=1e-6, atol=0)
    torch.testing.assert_close(errors.correlation, measure(guess, truth, (1.0,))[0].correlation, rtol=1e-6, atol=0)
    torch.testing.assert_close(scaled.rmse, amplitude * unit.rmse, rtol=1e-6, atol=0)


def test_the_relative_error_of_deviations_is_its_formula():
    truth, guess = random_fields(4, 3, 32) + 5.0, random_fields(4, 3, 32, seed=1)
    errors, _ = measure(guess, truth, (1.0,), 4.5)
    squares = (guess - truth).square().sum(2), (truth - 4.5).square().sum(2)
    torch.testing.assert_close(errors.relative_l2_deviation, (squares[0] / squares[1]).sqrt())
    whole = (squares[0].sum(1) / squares[1].sum(1)).sqrt()
    torch.testing.assert_close(over_rollout(errors).relative_l2_deviation, whole)
    assert over_rollout(measure(guess, truth, (1.0,))[0]).relative_l2_deviation.isnan().all(), "the mean is not known"
