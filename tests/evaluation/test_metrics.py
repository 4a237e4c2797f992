"""Each metric against an independent formula, on fields whose answer is known."""

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.geometry import Axis, Geometry, Grid, Mesh, periodic_grid
from kitipde.evaluation.metrics import (
    Compared,
    Quantities,
    applicable,
    correlation_time,
    grouped,
    joined,
    measured,
    metric,
    with_spread,
)
from kitipde.evaluation.metrics.spectral import Spectra, join_spectra, power_above, spectra

TAU = 2 * math.pi


def compared(
    prediction: torch.Tensor, truth: torch.Tensor, geometry: Geometry | Sequence[float], mean: float = math.nan
) -> Compared:
    """Fields [sample, frame, *space] of one target "u", on a periodic grid of some lengths or any other geometry."""
    if not isinstance(geometry, Grid | Mesh):
        geometry = periodic_grid(truth.shape[2:], geometry)
    fields = (field.unsqueeze(2) for field in (prediction, truth, truth[:, :1]))
    return Compared(*fields, geometry, ("u",), ("u",), (mean,))


def quantities(fields: Compared) -> Quantities:
    """What all metrics of a single field are computed from."""
    return with_spread(measured(fields, applicable(fields.geometry, fields.fields)))


def measure(
    prediction: torch.Tensor, truth: torch.Tensor, geometry: Geometry | Sequence[float], mean: float = math.nan
) -> tuple[SimpleNamespace, Spectra]:
    """Errors of each sample and frame, of which there is one field, by name; and spectra [frame, shell]."""
    fields = compared(prediction, truth, geometry, mean)
    found, here = quantities(fields), applicable(fields.geometry, fields.fields)
    errors = {name: values[..., 0] for name, values in found.items()}
    errors |= {each.name: each.frame(found)[..., 0] for each in here if each.frame is not None}
    all_spectra = spectra(fields)
    sums = (each[:, 0] for each in (all_spectra.target, all_spectra.prediction, all_spectra.error))
    return SimpleNamespace(**errors, quantities=found), Spectra(all_spectra.samples, *sums)


def over_rollout(errors: SimpleNamespace) -> SimpleNamespace:
    """Errors of each whole rollout, by name."""
    here = applicable(periodic_grid((8,), (1.0,)), ("u",))
    return SimpleNamespace(**{each.name: each.rollout(errors.quantities)[..., 0] for each in here})


def grid_1d(points: int, length: float = 1.0) -> torch.Tensor:
    return torch.arange(points, dtype=torch.float64) * length / points


def mode_1d(m: int, points: int = 64, length: float = 1.0) -> torch.Tensor:
    return torch.sin(TAU * m * grid_1d(points, length) / length)[None, None]


def mode_2d(m: int, n: int, points: int = 32) -> torch.Tensor:
    x = grid_1d(points)
    return torch.cos(TAU * (m * x[:, None] + n * x[None, :]))[None, None]


def random_fields(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


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


def test_relative_h1_of_a_rectangle_has_the_wavenumbers_of_each_axis():
    """Twice as long along x as along y, and other points along each: k = 2πm/L of each axis."""
    lengths, shape = (2.0, 1.0), (24, 20)
    truth, guess = random_fields(3, 1, *shape), random_fields(3, 1, *shape, seed=1)
    errors, _ = measure(guess, truth, lengths)
    k = np.meshgrid(
        *(TAU * np.fft.fftfreq(n, length / n) for n, length in zip(shape, lengths, strict=True)), indexing="ij"
    )
    weight = 1 + k[0] ** 2 + k[1] ** 2

    def squared_norm(field: np.ndarray) -> np.ndarray:
        return (weight * np.abs(np.fft.fft2(field)) ** 2).sum((1, 2))

    expected = np.sqrt(squared_norm((guess - truth)[:, 0].numpy()) / squared_norm(truth[:, 0].numpy()))
    np.testing.assert_allclose(errors.relative_h1[:, 0], expected, rtol=1e-12)


def nodes(points: np.ndarray, name: str = "x", boundary: str = "wall", end: float = 1.0) -> Axis:
    return Axis(name, points, (0.0, end), (boundary, boundary))


# Closer to each other at the ends, both of which are points.
_CLUSTERED = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2


def test_means_over_bounded_nodes_are_those_of_the_trapezoidal_rule():
    """Of a linear function it is exact, where a mean over the nodes is not."""
    x = torch.from_numpy(_CLUSTERED**2)
    geometry, zero = Grid((nodes(_CLUSTERED**2),)), torch.zeros(1, 1, 33, dtype=torch.float64)
    fields = compared(zero + 3 + 2 * x, zero, geometry)
    found = quantities(fields)
    assert float(found["mean_drift"]) == pytest.approx(4.0, rel=1e-12)
    assert float((3 + 2 * x).mean()) < 3.9
    assert float(found["mse"]) == pytest.approx(np.trapezoid((3 + 2 * x.numpy()) ** 2, x.numpy()), rel=1e-12)
    assert float(found["max_error"]) == 5.0


@pytest.mark.parametrize("order", [1, 2])
def test_h1_on_bounded_nodes_is_that_of_differences(order: int):
    """A polynomial up to the square has the slope that differences of second order give, at the ends too."""
    walls, period = nodes(_CLUSTERED), nodes(2 * np.arange(64) / 64, "y", "periodic", 2.0)
    x, y = (torch.from_numpy(axis.coordinates) for axis in (walls, period))
    truth = (x**order)[:, None] * torch.ones(64) + 0.1 * torch.sin(TAU * y / 2)
    fields = compared((1.5 * truth)[None, None], truth[None, None], Grid((walls, period)))
    found = quantities(fields)
    step = 2 / 64
    slopes = order * x[:, None] ** (order - 1), 0.1 * torch.cos(TAU * y / 2) * math.sin(math.pi * step) / step
    squares = truth**2 + slopes[0] ** 2 + slopes[1] ** 2
    expected = np.trapezoid(squares.mean(1).numpy(), walls.coordinates)
    assert float(found["target_h1"]) == pytest.approx(expected, rel=1e-12)
    assert float(metric("relative_h1").rollout(found)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("geometry", "absent"),
    [
        (periodic_grid((8, 8), (1.0, 2.0)), {"momentum_rmse", "lift_rmse"}),
        (Grid((nodes(_CLUSTERED),)), {"band_low", "band_middle", "band_high", "momentum_rmse"}),
        (Grid((nodes(np.array([0.0, 0.1, 0.5]), boundary="periodic"),)), {"band_low", "lift_rmse"}),
        (
            Mesh(np.zeros(1), np.zeros(1), np.zeros((0, 3), np.int32), np.zeros(1, np.int8)),
            {"relative_h1", "band_low", "momentum_rmse", "lift_rmse", "table4_momentum_rmse"},
        ),
    ],
)
def test_metrics_are_absent_where_they_are_not_defined(geometry: Geometry, absent: set[str]):
    here = {each.name for each in applicable(geometry, ("u",))}
    assert not here & absent
    assert {"mse", "rmse", "nrmse", "relative_l2", "max_error", "mean_drift"} <= here
    assert ("relative_h1" in here) == isinstance(geometry, Grid)


def test_flow_metrics_need_the_fields_of_a_flow_on_a_mesh():
    mesh = Mesh(np.zeros(1), np.zeros(1), np.zeros((0, 3), np.int32), np.zeros(1, np.int8))
    flow = ("velocity_x", "velocity_y", "density", "pressure")
    names = [{each.name for each in applicable(mesh, fields)} for fields in (flow, flow[:3])]
    assert names[0] - names[1] == {"lift_rmse", "drag_rmse"}
    assert {"momentum_rmse", "table4_momentum_rmse"} <= names[1]


def test_components_of_a_vector_share_one_norm_and_other_fields_have_their_own():
    truth, guess = random_fields(4, 2, 3, 16), random_fields(4, 2, 3, 16, seed=1)
    grid, names = periodic_grid((16,), (1.0,)), ("vx", "vy", "p")
    found = with_spread(measured(Compared(guess, truth, truth, grid, names), applicable(grid, names)))
    together = grouped(found, ((0, 1), (2,)))

    def relative(e: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.linalg.norm(e.reshape(4, -1), axis=1) / np.linalg.norm(t.reshape(4, -1), axis=1)

    e, t = (guess - truth).numpy(), truth.numpy()
    expected = [relative(e[:, :, part], t[:, :, part]) for part in (slice(0, 2), slice(2, 3))]
    np.testing.assert_allclose(metric("relative_l2").rollout(together), np.stack(expected, axis=1))
    each = [relative(e[:, :, [field]], t[:, :, [field]]) for field in range(3)]
    np.testing.assert_allclose(metric("relative_l2").rollout(found), np.stack(each, axis=1))
    largest = np.abs(e).max((1, 3))
    expected = np.stack([largest[:, :2].max(1), largest[:, 2]], axis=1)
    np.testing.assert_allclose(metric("max_error").rollout(together), expected)
