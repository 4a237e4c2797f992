"""Collisions by matrix products: the same pairs, the same deterministic part, noise of the same mean and covariance."""

import math
from itertools import pairwise

import pytest
import torch

from kitipde.collisions import collect, make_residual
from kitipde.collisions.backends.gaussian import acceptance, collided_by_matrices, laplacian_noise
from kitipde.collisions.pairs import pairs_at_rate, pairs_by_coefficient
from kitipde.collisions.rules import LAWS, Pairs, collide, collide_adjoint
from kitipde.config import ResidualConfig

KEY = torch.tensor(7)


def listed(accepted):
    return Pairs(*torch.triu(accepted).nonzero(as_tuple=True))


def same(pairs, others):
    return all(torch.equal(*columns) for columns in zip(pairs, others, strict=True))


@pytest.mark.parametrize("coll_coef", [0.0, 0.5, 0.9, 1.0])
def test_acceptance_matrix_marks_the_selected_pairs(cloud, coll_coef):
    x, v = cloud(4, 12, 3)
    v[1, 5] = v[1, 2]
    accepted, sound = acceptance(x, v, KEY, torch.tensor(coll_coef), False, 0)
    assert sound.all()
    chosen = pairs_by_coefficient(x, v, coll_coef)
    order = sorted(zip(*(column.tolist() for column in chosen), strict=True))
    assert order == sorted(zip(*(column.tolist() for column in listed(accepted)), strict=True))


def test_acceptance_by_rate_marks_the_pairs_of_highest_score(cloud):
    x, v = cloud(4, 12, 3)
    accepted, _ = acceptance(x, v, KEY, torch.tensor(0.5), True, 4)
    best = sorted(zip(*(column.tolist() for column in pairs_at_rate(x, v, torch.full((4,), 3))), strict=True))
    assert sorted(zip(*(column.tolist() for column in listed(accepted)), strict=True)) == best


@pytest.mark.parametrize("update_position", [True, False])
def test_without_noise_matrix_products_equal_the_sums_over_pairs(cloud, update_position, monkeypatch):
    monkeypatch.setitem(LAWS, "kiti", LAWS["mixing"])
    x, v = cloud(3, 12, 4)
    out, statistics = collided_by_matrices(x, v, KEY, torch.tensor(0.9), "kiti", False, 0.7, update_position, 0)
    pairs = pairs_by_coefficient(x, v, 0.9)
    expected, counted = collide(x, v, pairs, torch.Generator(), LAWS["mixing"], 0.7, update_position)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(statistics, counted, rtol=1e-10, atol=1e-12)


def graph(particles, parts):
    """Acceptance matrix of disjoint chains and a triangle in the first; the last particle is alone."""
    accepted = torch.zeros(particles, particles, dtype=torch.float64)
    for part in parts:
        for i, j in pairwise(part):
            accepted[i, j] = accepted[j, i] = 1
    accepted[parts[0][0], parts[0][2]] = accepted[parts[0][2], parts[0][0]] = 1
    return accepted


@pytest.mark.parametrize("parts", [[(0, 1, 2, 3, 4, 5, 6)], [(0, 1, 2), (3, 4), (5, 6)]])
def test_noise_has_the_covariance_of_the_sum_over_pairs(cloud, parts):
    accepted = graph(8, parts)
    _, v = cloud(1, 8, 3)
    samples = 40_000
    normal = torch.randn(samples, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = laplacian_noise(v.expand(samples, -1, -1), accepted.expand(samples, -1, -1), normal, 0.5)
    weights = accepted * (0.5 * torch.cdist(v[0], v[0])) ** 2
    laplacian = torch.diag(weights.sum(1)) - weights
    measured = torch.einsum("sic,sjc->ij", noise, noise) / samples
    assert (measured - laplacian).abs().max() < 0.03 * laplacian.max()
    assert noise.sum(1).abs().max() < 1e-6
    assert noise[:, 7].abs().max() == 0


def test_gradient_of_the_noise_is_that_of_pairs_in_the_mean(cloud):
    # Both are unbiased for the same gradient; a quadratic loss makes it differ from zero.
    x, v = cloud(1, 6, 3)
    accepted = graph(6, [(0, 1, 2, 3, 4)])
    pairs = listed(accepted[None])
    samples = 20_000
    generator = torch.Generator().manual_seed(1)
    many = Pairs(*(column.repeat(samples) for column in pairs))
    many = many._replace(sample=torch.arange(samples).repeat_interleave(len(pairs.first)))
    wide_x, wide_v = (each.expand(samples, -1, -1) for each in (x, v))
    law = LAWS["kiti"]._replace(drift=0.0)
    out, _ = collide(wide_x, wide_v, many, generator.manual_seed(2), law, 1.0, False)
    pull = torch.arange(18, dtype=torch.float64).reshape(6, 3).sin()
    cotangent = 2 * (out - x) * pull
    _, by_pairs = collide_adjoint(cotangent, wide_v, many, generator.manual_seed(2), law, 1.0, False)
    leaf = wide_v.clone().requires_grad_()
    normal = torch.randn(samples, 6, 3, generator=generator, dtype=torch.float64)
    moved = leaf + laplacian_noise(leaf, accepted.expand(samples, -1, -1), normal, 0.5)
    (moved.square() * pull).sum().backward()
    spread = 5 * (leaf.grad.std(0) + by_pairs.std(0)) / samples**0.5
    assert ((leaf.grad.mean(0) - by_pairs.mean(0)).abs() <= spread).all()
    assert leaf.grad.std() < by_pairs.std()


@pytest.mark.parametrize("dimension", [16, 64, 256])
def test_coordinates_follow_the_exact_law_from_dimension_64_on(dimension):
    # One collision is the worst case: more collisions of a particle make its sum more normal.
    generator = torch.Generator().manual_seed(0)
    samples = 10_000
    v = torch.zeros(1, 2, dimension, dtype=torch.float64)
    v[0, 0, 0] = 2.0
    wide = v.expand(samples, -1, -1)
    pairs = Pairs(torch.arange(samples), torch.zeros(samples).long(), torch.ones(samples).long())
    law = LAWS["kiti"]._replace(drift=0.0)
    exact = (collide(wide, wide, pairs, generator, law, 1.0, False)[0] - 2 * wide)[:, 0, 1]
    normal = torch.randn(samples, 2, dimension, generator=generator, dtype=torch.float64)
    accepted = (1 - torch.eye(2, dtype=torch.float64)).expand(samples, -1, -1)
    limit = laplacian_noise(wide, accepted, normal, 0.5)[:, 0, 1]
    both = torch.cat([exact, limit]).sort().values
    steps = torch.searchsorted(exact.sort().values, both, right=True) - torch.searchsorted(
        limit.sort().values, both, right=True
    )
    # Kolmogorov-Smirnov, two samples, level 0.1 %.
    assert (steps.abs().max() / samples < 1.95 * math.sqrt(2 / samples)) or dimension < 64
    assert exact.var().item() == pytest.approx(1 / dimension, rel=0.06)
    assert limit.var().item() == pytest.approx(1 / dimension, rel=0.06)


@pytest.mark.parametrize("settings", [{"coll_coef": 0.9}, {"target_rate": 0.3}, {"kind": "kiti-published"}])
def test_residual_with_normal_noise_trains_and_counts_like_the_exact_one(settings):
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(4, 8, 32, generator=generator) for _ in range(2))
    counts = []
    for noise in ("exact", "gaussian"):
        module = make_residual(
            ResidualConfig(**{"kind": "kiti", "collision_heads": 4, "noise": noise, **settings}), 0, 1
        )
        a, b = x.clone().requires_grad_(), v.clone().requires_grad_()
        for _ in range(50):
            module(a, b).square().sum().backward()
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()
        counts.append(collect(module)[0])
    assert counts[1].collisions_per_particle == pytest.approx(counts[0].collisions_per_particle, rel=0.05)
    assert counts[1].energy_drift == pytest.approx(counts[0].energy_drift, rel=0.2)
    assert counts[1].momentum_drift < 1e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_normal_noise_leaves_samples_with_bad_values_alone(bad):
    x, v = (torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(k)) for k in range(2))
    v[1, 0, 0] = bad
    module = make_residual(ResidualConfig(kind="kiti", collision_heads=4, noise="gaussian", layout="flat"), 0, 1)
    out = module(x, v)
    assert torch.equal(out[1].isnan(), (x + v)[1].isnan())
    assert out[0].isfinite().all()
    single = module(x[:, :, :1], v[:, :, :1])
    torch.testing.assert_close(single, x[:, :, :1] + v[:, :, :1], rtol=0, atol=0, equal_nan=True)


def test_normal_noise_works_under_vmap_and_compile():
    module = make_residual(ResidualConfig(kind="kiti", collision_heads=4, noise="gaussian"), 0, 1)
    x, v = (torch.randn(3, 2, 4, 10, generator=torch.Generator().manual_seed(k)) for k in range(2))
    buffers = {name: torch.stack([buffer] * 3) for name, buffer in module.named_buffers()}

    def loss(x, v, buffers):
        return torch.func.functional_call(module, buffers, (x, v)).square().sum()

    gradient = torch.vmap(torch.func.grad(loss), randomness="different")(x, v, buffers)
    assert gradient.isfinite().all()
    assert gradient.abs().min() > 0
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    eager = module(x[0], v[0])
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(x[0], v[0]), eager)
