"""Random initial fields: their spectra against the formulas, within confidence bounds; what a seed fixes."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from datagen.errors import InputError
from datagen.solvers.random_fields import (
    burgers_spectrum,
    gaussian_field_1d,
    gaussian_field_2d,
    sample_seeds,
    vorticity_spectrum,
)


def _within_bounds(power: np.ndarray, expected: np.ndarray, samples: int) -> np.ndarray:
    """Whether mean |ŵ|² of each mode lies where Σ|ŵ|²/(S/2) ~ χ²(2·samples) puts it 99.99 % of the time."""
    statistic = 2 * samples * power / expected
    low, high = chi2.ppf([5e-5, 1 - 5e-5], 2 * samples)
    return (statistic > low) & (statistic < high)


def test_every_mode_of_the_burgers_field_has_the_published_power() -> None:
    fields = gaussian_field_1d(range(2000), 256, burgers_spectrum)
    power = (np.abs(np.fft.rfft(fields, norm="forward")) ** 2).mean(axis=0)
    modes = np.arange(1, 128)
    assert _within_bounds(power[1:128], 625 / (4 * np.pi**2 * modes**2 + 25) ** 2, 2000).all()
    assert power[0] < 1e-30


@pytest.mark.parametrize(("constant", "factor"), [("published", 2 * 7**3), ("unit", 7**3), ("literal", 7**1.5)])
def test_every_mode_of_the_vorticity_field_has_the_published_power(constant: str, factor: float) -> None:
    fields = gaussian_field_2d(range(500), 32, vorticity_spectrum(constant))
    power = (np.abs(np.fft.fft2(fields, norm="forward")) ** 2).mean(axis=0)
    k = np.fft.fftfreq(32, 1 / 32)
    squared = k[:, None] ** 2 + k**2
    inside = (np.abs(k)[:, None] < 16) & (np.abs(k) < 16) & (squared > 0)
    expected = factor / (4 * np.pi**2 * squared + 49) ** 2.5
    inside_bounds = _within_bounds(power[inside], expected[inside], 500)
    # 960 modes, pairwise equal, at 99.99 % each: none should fall out, two of them together just might.
    assert (~inside_bounds).sum() <= 2
    assert power[0, 0] < 1e-30


@pytest.mark.parametrize(("constant", "deviation"), [("published", 0.2620), ("unit", 0.1852), ("literal", 0.0430)])
def test_the_pointwise_deviation_is_that_of_the_published_data(constant: str, deviation: float) -> None:
    fields = gaussian_field_2d(range(400), 64, vorticity_spectrum(constant))
    assert fields.std() == pytest.approx(deviation, rel=0.02)


def test_the_burgers_field_has_the_published_deviation() -> None:
    assert gaussian_field_1d(range(2000), 512, burgers_spectrum).std() == pytest.approx(0.594, rel=0.02)


def test_phases_are_uniform_and_modes_uncorrelated() -> None:
    modes = np.fft.rfft(gaussian_field_1d(range(4000), 64, burgers_spectrum), norm="forward")[:, 1:9]
    scaled = modes / np.sqrt(burgers_spectrum(np.arange(1.0, 9.0) ** 2))
    # E ŵ_k ŵ_l* is the identity, E ŵ_k ŵ_l vanishes; each entry is a mean of 4000, with deviation 1/√4000 or less.
    tolerance = 5 / math.sqrt(4000)
    assert np.abs(scaled.conj().T @ scaled / 4000 - np.eye(8)).max() < tolerance
    assert np.abs(scaled.T @ scaled / 4000).max() < tolerance


def test_a_seed_is_the_same_function_on_every_grid() -> None:
    coarse = np.fft.rfft(gaussian_field_1d([7], 64, burgers_spectrum)[0], norm="forward")
    fine = np.fft.rfft(gaussian_field_1d([7], 256, burgers_spectrum)[0], norm="forward")
    np.testing.assert_allclose(fine[:32], coarse[:32], atol=1e-15)

    coarse = np.fft.rfft2(gaussian_field_2d([7], 32, vorticity_spectrum("unit"))[0], norm="forward")
    fine = np.fft.rfft2(gaussian_field_2d([7], 128, vorticity_spectrum("unit"))[0], norm="forward")
    np.testing.assert_allclose(fine[:16, :16], coarse[:16, :16], atol=1e-15)


@pytest.mark.parametrize("points", [31, 32])
def test_the_field_is_real_for_odd_and_even_grids(points: int) -> None:
    modes = np.fft.fft2(gaussian_field_2d([3], points, vorticity_spectrum("unit"))[0], norm="forward")
    mirrored = np.roll(modes[::-1, ::-1], (1, 1), (0, 1)).conj()
    np.testing.assert_allclose(modes, mirrored, atol=1e-16)
    assert (np.abs(modes) > 1e-9).sum() == (2 * ((points - 1) // 2) + 1) ** 2 - 1


def test_sample_seeds_depend_on_the_index_alone_and_differ() -> None:
    seeds = sample_seeds(5, range(1000))
    assert len(set(seeds.tolist())) == 1000
    assert sample_seeds(5, [17, 400]).tolist() == [seeds[17], seeds[400]]
    assert not set(seeds.tolist()) & set(sample_seeds(6, range(1000)).tolist())


def test_an_unknown_constant_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'published'"):
        vorticity_spectrum("publishd")
