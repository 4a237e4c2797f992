"""Gaussian random fields on the torus: the initial conditions of the published datasets.

A field on [0, L)^d is w(x) = Σ_k ŵ_k e^{2πi k·x/L} with integer wave numbers k, ŵ_{−k} = conj(ŵ_k), zero mean, and
independent complex normal coefficients with E|ŵ_k|² = S(|k|). Two spectra are published:

- Navier–Stokes and heat: S = c 7³ (4π²|k|² + 49)^{−5/2}. The published FNO data have c = 2 (pointwise standard
  deviation 0.2620); a later script of the same authors gives c = 1 (0.1852); the paper's text, read literally, has
  7^{3/2} in place of 7³ (0.0430).
- Burgers: S = 625 (4π²k² + 25)^{−2}, standard deviation 0.594.

The random numbers of a sample come from a counter-based generator keyed by the sample's own seed, and its modes are
drawn from the largest scale to the smallest. So a seed means the same function on every grid, whatever else is made
beside it: a finer grid only adds finer modes.

References:
    Z. Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", ICLR 2021, appendix A.3.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Complex, Float, Int, Int64

from datagen.errors import InputError, unknown

__all__ = [
    "FIELD_CONSTANTS",
    "LARGEST_SEED",
    "burgers_spectrum",
    "gaussian_field_1d",
    "gaussian_field_2d",
    "sample_seeds",
    "vorticity_spectrum",
]

FIELD_CONSTANTS = {"published": 2 * 7.0**3, "unit": 7.0**3, "literal": 7.0**1.5}
"""The factor in front of (4π²|k|² + 49)^{−5/2}, by the name under which users choose it."""

Spectrum = Callable[[Float[np.ndarray, " modes"]], Float[np.ndarray, " modes"]]


def vorticity_spectrum(constant: str) -> Spectrum:
    """S(|k|²) of the Navier–Stokes and heat initial conditions.

    Args:
        constant: "published" (c = 2), "unit" (c = 1) or "literal" (7^{3/2}).

    Raises:
        InputError: the constant has another name.
    """
    if constant not in FIELD_CONSTANTS:
        raise unknown("field constant", constant, FIELD_CONSTANTS)
    factor = FIELD_CONSTANTS[constant]
    return lambda squared: factor * (4 * np.pi**2 * squared + 49) ** -2.5


def burgers_spectrum(squared: Float[np.ndarray, " modes"]) -> Float[np.ndarray, " modes"]:
    """S(k²) = 625 (4π²k² + 25)^{−2} of the Burgers initial condition."""
    return 625 * (4 * np.pi**2 * squared + 25) ** -2.0


LARGEST_SEED = 2**32 - 1
"""Of a dataset. numpy cuts a larger one into words of 32 bits, which can then stand for another's sample."""


def sample_seeds(base: int, indices: Sequence[int]) -> Int64[np.ndarray, " samples"]:
    """The seed of each sample: a hash of the dataset's seed and the sample's index, below 2^63.

    Args:
        base: the dataset's; new ones are at most `LARGEST_SEED`.
        indices: the samples'.

    Raises:
        InputError: the dataset's seed is negative.
    """
    if base < 0:
        raise InputError(f"seed {base} is negative (allowed: 0 or more)")
    words = [np.random.SeedSequence([base, index]).generate_state(1, np.uint64)[0] >> np.uint64(1) for index in indices]
    return np.array(words, dtype=np.int64)


def gaussian_field_1d(
    seeds: Sequence[int] | Int64[np.ndarray, " samples"], points: int, spectrum: Spectrum, finest: int = 0
) -> Float[np.ndarray, "samples {points}"]:
    """Zero-mean periodic fields at x_j = jL/points, one for each seed, in float64.

    Args:
        seeds: one a sample.
        points: of the grid.
        spectrum: S(k²).
        finest: draw only the modes that a grid of so many points resolves; 0: all that this one does.
    """
    modes = np.arange(1, ((finest or points) - 1) // 2 + 1)
    deviation = np.sqrt(spectrum(modes.astype(float) ** 2) / 2)
    coefficients = np.zeros((len(seeds), points // 2 + 1), dtype=complex)
    for row, seed in zip(coefficients, seeds, strict=True):
        row[modes] = deviation * _complex_normal(int(seed), len(modes))
    return np.fft.irfft(coefficients, n=points, norm="forward")


def gaussian_field_2d(
    seeds: Sequence[int] | Int64[np.ndarray, " samples"], points: int, spectrum: Spectrum
) -> Float[np.ndarray, "samples {points} {points}"]:
    """Zero-mean periodic fields at (x_i, y_j) = (iL/points, jL/points), one for each seed, in float64."""
    kx, ky = _half_plane((points - 1) // 2)
    deviation = np.sqrt(spectrum((kx**2 + ky**2).astype(float)) / 2)
    coefficients = np.zeros((len(seeds), points, points // 2 + 1), dtype=complex)
    edge = ky == 0
    for plane, seed in zip(coefficients, seeds, strict=True):
        values = deviation * _complex_normal(int(seed), len(kx))
        plane[kx, ky] = values
        plane[-kx[edge], 0] = values[edge].conj()
    return np.fft.irfft2(coefficients, s=(points, points), norm="forward")


def _complex_normal(seed: int, count: int) -> Complex[np.ndarray, "{count}"]:
    pairs = np.random.Generator(np.random.Philox(seed)).standard_normal((count, 2))
    return pairs[:, 0] + 1j * pairs[:, 1]


@lru_cache(maxsize=8)
def _half_plane(largest: int) -> tuple[Int[np.ndarray, " modes"], Int[np.ndarray, " modes"]]:
    """One of each pair ±k with 0 < max(|kx|, |ky|) ≤ largest, by shells of growing max(|kx|, |ky|).

    Within a shell the order does not depend on `largest`, so a smaller grid's modes are the first of a larger one's.
    """
    kx, ky = np.meshgrid(np.arange(-largest, largest + 1), np.arange(largest + 1), indexing="ij")
    chosen = (ky > 0) | (kx > 0)
    kx, ky = kx[chosen], ky[chosen]
    order = np.lexsort((ky, kx, np.maximum(np.abs(kx), ky)))
    return kx[order], ky[order]
