"""The spectral convolution against its definition and against neuraloperator's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitipde.memory import has_points_first
from kitipde.models import transforms
from kitipde.models.spectral import SpectralConv

DOUBLE = torch.float64


def dense_spectral_map(layer: SpectralConv, v: np.ndarray) -> np.ndarray:
    """The definition in complex arithmetic: full FFT, one matrix a wavenumber, hermitian completion, inverse."""
    weight = torch.view_as_complex(layer.weight.detach().double()).numpy()
    modes, grid = layer.modes, v.shape[2:]
    spectrum = np.fft.fftn(v, axes=range(2, v.ndim), norm="forward")
    result = np.zeros((v.shape[0], weight.shape[1], *grid), dtype=complex)
    last = grid[-1]
    for k in np.ndindex(*grid):
        signed = [index if index < (points + 1) // 2 else index - points for index, points in zip(k, grid, strict=True)]
        if k[-1] > last // 2:
            continue
        signed[-1] = k[-1]
        if signed[-1] >= modes[-1] or any(not -m <= s < m for m, s in zip(modes[:-1], signed[:-1], strict=True)):
            continue
        matrix = weight[
            (slice(None), slice(None), *(s + m for m, s in zip(modes[:-1], signed[:-1], strict=True)), signed[-1])
        ]
        result[(slice(None), slice(None), *k)] = spectrum[(slice(None), slice(None), *k)] @ matrix
    # A real field's other half follows from this one; on the columns without a partner only the hermitian part is real.
    axes = tuple(range(2, v.ndim - 1))
    columns = np.fft.ifftn(result, axes=axes, norm="forward") if axes else result
    half = columns[..., : last // 2 + 1].copy()
    half[..., 0] = half[..., 0].real
    if last % 2 == 0:
        half[..., -1] = half[..., -1].real
    x = np.arange(last)
    field = np.zeros(columns.shape)
    for k in range(half.shape[-1]):
        twice = 1.0 if k == 0 or 2 * k == last else 2.0
        field += twice * (half[..., k : k + 1] * np.exp(2j * np.pi * k * x / last)).real
    return field


@pytest.mark.parametrize("grid", [(16,), (17,), (9,), (4,), (12, 10), (11, 13), (12, 9), (5, 8), (3, 3)])
def test_equals_its_definition_on_every_grid_parity(grid: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = SpectralConv(2, 3, modes=(4,) * len(grid), initialisation="library").double()
    v = torch.randn(2, 2, *grid, dtype=DOUBLE)
    np.testing.assert_allclose(layer(v).detach().numpy(), dense_spectral_map(layer, v.numpy()), atol=1e-13)


@pytest.mark.parametrize(
    ("grid", "modes"), [((12, 20), (2, 7)), ((20, 9), (6, 3)), ((6, 5, 8), (2, 1, 3)), ((4, 7, 6), (3, 2, 4))]
)
def test_equals_its_definition_with_other_modes_on_each_axis(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = SpectralConv(2, 3, modes, initialisation="library").double()
    v = torch.randn(2, 2, *grid, dtype=DOUBLE)
    expected = dense_spectral_map(layer, v.numpy())
    np.testing.assert_allclose(layer(v).detach().numpy(), expected, atol=1e-13)
    with transforms.fast_transforms():
        np.testing.assert_allclose(layer(v).detach().numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("grid", [(16,), (17,), (4,), (12, 10), (11, 13), (5, 8), (3, 3), (6, 5, 8)])
def test_sums_and_fast_transforms_give_the_same_modes_and_fields(grid: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    modes = transforms.kept_modes(grid, (4,) * len(grid))
    v = torch.randn(2, 3, *grid, dtype=DOUBLE)
    spectrum = transforms.sum_to_modes(v, modes)
    torch.testing.assert_close(spectrum, transforms._transform_to_modes(v, modes), atol=1e-14, rtol=0)
    # Whatever the spectrum, also one that belongs to no real field.
    spectrum = torch.randn_like(spectrum)
    field = transforms._transform_to_grid(spectrum, modes)
    torch.testing.assert_close(transforms.sum_of_squares(spectrum, modes), field.square().sum())
    for points_first in (False, True):
        summed = transforms._sum_to_grid(spectrum, modes, points_first)
        assert has_points_first(summed) == points_first
        torch.testing.assert_close(summed, field, atol=1e-12, rtol=0)
        torch.testing.assert_close(transforms.sum_to_modes(summed, modes), transforms.sum_to_modes(field, modes))


@given(points=st.integers(20, 64), factor=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_band_limited_fields_are_mapped_alike_on_every_grid(points: int, factor: int) -> None:
    layer = SpectralConv(1, 1, modes=(6,)).double()

    def field(n: int) -> torch.Tensor:
        x = torch.arange(n, dtype=DOUBLE) / n
        return (torch.sin(2 * torch.pi * 3 * x) + 0.3 * torch.cos(2 * torch.pi * 5 * x) + 0.7)[None, None]

    coarse, fine = layer(field(points)), layer(field(points * factor))
    torch.testing.assert_close(fine[..., ::factor], coarse, atol=1e-13, rtol=0)


def test_commutes_with_translations() -> None:
    layer = SpectralConv(2, 2, modes=(5, 5)).double()
    v = torch.randn(1, 2, 16, 15, dtype=DOUBLE)
    shift = (3, 7)
    torch.testing.assert_close(layer(v.roll(shift, (2, 3))), layer(v).roll(shift, (2, 3)), atol=1e-13, rtol=0)


@pytest.mark.parametrize(("grid", "modes"), [((32,), (15,)), ((24, 20), (12, 11))])
def test_equals_neuraloperator_with_its_weights(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    from neuralop.layers.spectral_convolution import SpectralConv as Library

    theirs = Library(3, 5, modes, bias=False)
    ours = SpectralConv(3, 5, modes=(modes[-1] // 2 + 1,) * len(grid))
    with torch.no_grad():
        ours.weight.copy_(
            torch.view_as_real(theirs.weight.tensor if hasattr(theirs.weight, "tensor") else theirs.weight)
        )
    v = torch.randn(2, 3, *grid)
    torch.testing.assert_close(ours(v), theirs(v), atol=2e-6, rtol=1e-5)


def test_gradients_are_exact() -> None:
    layer = SpectralConv(2, 2, modes=(3, 3)).double()
    v = torch.randn(1, 2, 6, 5, dtype=DOUBLE, requires_grad=True)
    torch.autograd.gradcheck(lambda v, w: torch.func.functional_call(layer, {"weight": w}, (v,)), (v, layer.weight))


def test_stacked_replicas_equal_each_alone() -> None:
    layers = [SpectralConv(2, 2, modes=(3,)) for _ in range(3)]
    weights, _ = torch.func.stack_module_state(layers)
    v = torch.randn(3, 4, 2, 16)
    together = torch.func.vmap(lambda w, v: torch.func.functional_call(layers[0], w, (v,)))(weights, v)
    torch.testing.assert_close(together, torch.stack([layer(x) for layer, x in zip(layers, v, strict=True)]))


def test_autocast_keeps_the_transform_in_float32() -> None:
    layer = SpectralConv(2, 2, modes=(3,))
    v = torch.randn(1, 2, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(v.bfloat16())
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), layer(v.bfloat16().float()), atol=1e-3, rtol=1e-2)
