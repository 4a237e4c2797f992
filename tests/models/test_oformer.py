"""OFormer: attention against its formula, symmetries, sizes, and what KITI may not change."""

import math

import numpy as np
import pytest
import torch

from datagen.geometry import Axis, Grid, periodic_grid
from kitipde.config import AirfoilOFormerConfig, OFormerConfig, ResidualConfig
from kitipde.models import Normalised, rollout
from kitipde.models.attention import CrossAttention, GaussianFeatures, SelfAttention, linear_attention, rotate
from kitipde.models.oformer import OFormer
from kitipde.models.oformer_airfoil import AirfoilOFormer
from kitipde.problem.problem import Domain, Problem

DOUBLE = torch.float64


def rotation(coordinate: float, size: int, scale: float, min_frequency: float) -> np.ndarray:
    """The rotary matrix of one coordinate, written out."""
    matrix = np.zeros((size, size))
    for j in range(size // 2):
        angle = coordinate * (scale / min_frequency) * 10000.0 ** (-2 * j / size)
        matrix[j, j] = matrix[j + size // 2, j + size // 2] = np.cos(angle)
        matrix[j + size // 2, j], matrix[j, j + size // 2] = np.sin(angle), -np.sin(angle)
    return matrix


def standardised(vector: np.ndarray) -> np.ndarray:
    return (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)


@pytest.mark.parametrize("kind", ["galerkin", "fourier"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_attention_equals_the_double_sum_over_points(kind: str, dimension: int) -> None:
    torch.manual_seed(0)
    points, heads, size, width = 7, 2, 8, 6
    layer = SelfAttention(width, heads, size, kind, scale=4.0, min_frequency=0.25).double()
    x, positions = torch.randn(1, points, width, dtype=DOUBLE), torch.rand(points, dimension, dtype=DOUBLE)
    weight = layer.qkv.weight.detach().numpy()
    expected = np.zeros((points, heads * size))
    for head in range(heads):
        q, k, v = (
            x[0].numpy() @ weight[part * heads * size + head * size : part * heads * size + (head + 1) * size].T
            for part in range(3)
        )
        for n in range(points):
            for m in range(points):
                left, key, value = q[n], standardised(k[m]), v[m]
                left, value = (left, standardised(value)) if kind == "galerkin" else (standardised(left), value)
                turned = []
                for vector, point in ((left, n), (key, m)):
                    axes = vector.reshape(dimension, -1)
                    coordinates = positions[point].numpy()
                    turned.append(
                        np.concatenate(
                            [
                                rotation(c, size // dimension, 4.0, 0.25) @ a
                                for c, a in zip(coordinates, axes, strict=True)
                            ]
                        )
                    )
                expected[n, head * size : (head + 1) * size] += turned[0] @ turned[1] * value / points
    expected = torch.from_numpy(expected) @ layer.output.weight.T + layer.output.bias
    torch.testing.assert_close(layer(x, positions)[0], expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("dimension", [1, 2])
def test_rotary_products_depend_on_coordinate_differences_only(dimension: int) -> None:
    q, k = torch.randn(2, 1, 5, 16, dtype=DOUBLE)
    positions, shift = torch.rand(5, dimension, dtype=DOUBLE), torch.rand(dimension, dtype=DOUBLE)

    def products(at: torch.Tensor) -> torch.Tensor:
        return rotate(q, at, 8.0, 1 / 64) @ rotate(k, at, 8.0, 1 / 64).transpose(-1, -2)

    torch.testing.assert_close(products(positions + shift), products(positions), atol=1e-10, rtol=0)


def test_attention_is_a_mean_over_the_sources() -> None:
    q, k, v = torch.randn(3, 1, 1, 6, 4, dtype=DOUBLE)
    twice = linear_attention(q, torch.cat([k, k], -2), torch.cat([v, v], -2))
    torch.testing.assert_close(twice, linear_attention(q, k, v))


def test_heads_start_near_the_identity() -> None:
    layer = CrossAttention(12, 3, 12, "galerkin", 1.0, 1.0)
    for block in layer.query.weight.detach().chunk(3):
        orthogonal = (block - torch.eye(12) / 12) * 12
        torch.testing.assert_close(orthogonal @ orthogonal.T, torch.eye(12), atol=1e-5, rtol=0)


FLOW = ("velocity_x", "velocity_y", "density", "pressure")


def airfoil_model(nodes: int = 12) -> AirfoilOFormer:
    """In its published sizes, on nodes at random places, of all types."""
    domain = Domain("mesh", (nodes,), 2)
    model = AirfoilOFormer(AirfoilOFormerConfig(), ResidualConfig(), Problem(FLOW, FLOW, (), (), 4, 1, domain))
    model.positions.copy_(40 * torch.rand(nodes, 2))
    model.node_type.copy_(torch.arange(nodes) % 3)
    return model


def test_the_airfoil_model_has_its_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in airfoil_model().parameters()) == 1_370_116


def test_permuting_the_nodes_permutes_the_prediction() -> None:
    model, channels, order = airfoil_model().double().eval(), torch.randn(2, 16, 12, dtype=DOUBLE), torch.randperm(12)
    expected = model(channels, 3)[..., order]
    model.positions.copy_(model.positions[order])
    model.node_type.copy_(model.node_type[order])
    torch.testing.assert_close(model(channels[..., order], 3), expected, atol=1e-9, rtol=0)


GRID_CONFIGS = {
    "burgers": OFormerConfig(
        attention="fourier",
        layer_norm=False,
        width=16,
        rope_scales=(8, 1),
        latent_width=16,
        cross_heads=2,
        marching="pointwise",
    ),
    "march": OFormerConfig(width=16, rope_scales=(8, 1), latent_width=24, cross_heads=2, marching_width=32),
}


def network(name: str, grid: tuple[int, ...], residual: ResidualConfig, channels: int = 2, fields: int = 1) -> OFormer:
    """On the periodic unit line or rectangle."""
    domain = Domain.of(periodic_grid(grid, (1.0,) * len(grid)))
    return OFormer(GRID_CONFIGS[name], residual, channels, fields, domain)


TOKENS = ResidualConfig(kind="kiti", layout="token", collision_heads=4, coll_coef=0.9)


@pytest.mark.parametrize(("name", "grid"), [("burgers", (16,)), ("march", (16,)), ("march", (8, 6))])
def test_kiti_in_evaluation_has_the_bits_of_vanilla(name: str, grid: tuple[int, ...]) -> None:
    vanilla = network(name, grid, ResidualConfig()).eval()
    kiti = network(name, grid, TOKENS).eval()
    kiti.load_state_dict(vanilla.state_dict())
    a = torch.randn(2, 2, *grid)
    assert torch.equal(kiti(a), vanilla(a))
    kiti.train()
    assert not torch.equal(kiti(a), vanilla(a))


@pytest.mark.parametrize("residual", [ResidualConfig(), TOKENS])
@pytest.mark.parametrize(("name", "grid"), [("burgers", (16,)), ("march", (8, 6))])
def test_every_parameter_gets_a_gradient(name: str, grid: tuple[int, ...], residual: ResidualConfig) -> None:
    model = network(name, grid, residual)
    model(torch.randn(2, 2, *grid)).square().sum().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max() > 0, label


def test_every_parameter_of_the_airfoil_model_gets_a_gradient() -> None:
    model = airfoil_model()
    model(torch.randn(2, 16, 12), 2).square().sum().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max() > 0, label


def smooth_field(*grid: int) -> torch.Tensor:
    """Two waves on each axis, in two frames."""
    axes = torch.meshgrid(*(2 * torch.pi * torch.arange(n, dtype=DOUBLE) / n for n in grid), indexing="ij")
    return torch.stack([axes[0].sin() + (2 * axes[-1]).cos(), (axes[0] + axes[-1]).cos()])[None]


@pytest.mark.parametrize(
    ("name", "trained_on", "grids"),
    [
        ("burgers", (16,), [(8,), (24,), (48,)]),
        ("march", (15,), [(9,), (45,), (31,)]),
        ("march", (8, 6), [(16, 6), (8, 18), (12, 9)]),
    ],
)
def test_a_band_limited_field_is_predicted_the_same_on_every_grid(name: str, trained_on, grids) -> None:
    torch.manual_seed(0)
    model = network(name, trained_on, ResidualConfig()).double().eval()
    with torch.no_grad():
        expected = model(smooth_field(*trained_on))
        for grid in grids:
            found = model(smooth_field(*grid))
            own = network(name, grid, ResidualConfig()).double().eval()
            own.load_state_dict(model.state_dict())
            # Points that both grids have: every n-th of n / gcd.
            common = [math.gcd(n, m) for n, m in zip(grid, trained_on, strict=True)]
            there = (..., *(slice(None, None, n // c) for n, c in zip(grid, common, strict=True)))
            here = (..., *(slice(None, None, n // c) for n, c in zip(trained_on, common, strict=True)))
            torch.testing.assert_close(found[there], expected[here], atol=1e-11, rtol=1e-9)
            assert not torch.allclose(own(smooth_field(*grid))[there], expected[here], rtol=1e-3)


def test_a_marching_model_gives_the_first_frames_of_a_longer_march() -> None:
    problem = Problem(("u",), ("u",), (), (), 3, 2, Domain.square(8, 2))
    model = Normalised(OFormer(GRID_CONFIGS["march"], ResidualConfig(), 3, 1, problem.domain), problem).eval()
    a = torch.randn(2, 3, 1, 8, 8)
    torch.testing.assert_close(rollout(model, a, 5)[:, :2], rollout(model, a, 2))


@pytest.mark.parametrize(("name", "steps"), [("burgers", 1), ("march", 3)])
def test_between_walls_every_field_of_every_step_is_interpolated(name: str, steps: int) -> None:
    torch.manual_seed(0)
    wall = ("wall", "open")
    domain = Domain.of(Grid((Axis("x", np.linspace(0, 2, 9), (0.0, 2.0), wall, "m"),)))
    model = OFormer(GRID_CONFIGS[name], ResidualConfig(), 2, 3, domain).double().eval()
    x = torch.linspace(0, 1, 9, dtype=DOUBLE)
    coarse, fine = (torch.stack([at, 1 - 2 * at])[None] for at in (x, torch.linspace(0, 1, 17, dtype=DOUBLE)))
    with torch.no_grad():
        expected, found = model(coarse, steps), model(fine, steps)
    assert expected.shape == (1, *((steps,) if model.marches else ()), 3, 9)
    torch.testing.assert_close(found[..., ::2], expected, atol=1e-11, rtol=0)
    torch.testing.assert_close(found[..., 1::2], (expected[..., 1:] + expected[..., :-1]) / 2, atol=1e-11, rtol=0)
    # The ends are two places, not neighbours across a period.
    assert not torch.allclose(expected[..., 0], expected[..., -1], rtol=1e-3)


def test_features_of_positions_far_from_the_origin_keep_their_digits_in_half_precision() -> None:
    torch.manual_seed(0)
    features, positions = GaussianFeatures(2, 8, 2.0), 50 + torch.rand(20, 2)
    exact = GaussianFeatures(2, 8, 2.0).double()
    exact.frequencies.copy_(features.frequencies)
    with torch.autocast("cpu", torch.bfloat16):
        found = features(positions)
    torch.testing.assert_close(found.double(), exact(positions.double()), atol=2e-3, rtol=0)
