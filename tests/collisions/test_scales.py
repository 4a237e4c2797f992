"""Collisions do not depend on the unit of velocity, from 10⁻³⁰ to 10³⁰ in float32."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kitipde.collisions import collect, make_residual
from kitipde.collisions.backends.eager import Rule, collided
from kitipde.collisions.backends.gaussian import acceptance, collided_by_matrices
from kitipde.collisions.backends.scales import norm, unit_of
from kitipde.collisions.pairs import pairs_at_rate, pairs_by_coefficient
from kitipde.config import ResidualConfig
from kitipde.optim.collisions import hard_collisions, hard_collisions_in_law

# Powers of two, which scale without rounding: 2¹⁰⁰ is 1.3·10³⁰.
powers = st.integers(-100, 100).map(lambda exponent: 2.0**exponent)
over_powers = given(scale=powers)
KEY = torch.tensor(5)


def few(test):
    return settings(max_examples=12, deadline=None)(example(scale=1e-30)(example(scale=1e30)(test)))


def cloud(samples=3, particles=10, dimension=4):
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(samples, particles, dimension, generator=generator) for _ in range(2))
    return 0.4 * x, v


def as_sets(pairs):
    return set(zip(*(column.tolist() for column in pairs), strict=True))


@over_powers
@few
def test_the_same_pairs_collide(scale):
    x, v = cloud()
    number = torch.tensor([3, 0, 7])
    for select in (lambda v: pairs_by_coefficient(x, v, 0.6), lambda v: pairs_at_rate(x, v, number)):
        assert as_sets(select(scale * v)) == as_sets(select(v)) != set()
    for by_rate, strength in ((False, 0.6), (True, 0.5)):
        found = [acceptance(x, each, KEY, torch.tensor(strength), by_rate, 5)[0] for each in (v, scale * v)]
        assert torch.equal(*found)
        assert found[0].any()


@pytest.mark.parametrize(
    ("particles", "by_rate", "backend"),
    [(10, False, "pairs"), (10, True, "pairs"), (2, True, "pairs"), (10, False, "matrices"), (10, True, "matrices")],
)
@over_powers
@few
def test_velocities_and_gradients_scale_along(particles, by_rate, backend, scale):
    _, v = cloud(particles=particles)
    # All in one place: a velocity would be lost beside a position.
    x, strength, rule = torch.zeros_like(v), torch.tensor(0.6, dtype=torch.float64), ("kiti", by_rate, 1.0, False)
    results = []
    for factor in (1.0, scale):
        velocity = (factor * v).requires_grad_()
        if backend == "pairs":
            out, statistics = collided(x, velocity, KEY, strength, Rule(*rule))
        else:
            out, statistics = collided_by_matrices(x, velocity, KEY, strength, *rule, 5)
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        assert statistics.isfinite().all()
        assert velocity.grad is not None
        results.append((out.detach() / factor, velocity.grad))
    assert not torch.equal(results[0][0], v)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)


@over_powers
@few
def test_collisions_of_gradients_scale_along(scale):
    w, g = cloud(samples=2)
    for function in (
        lambda g: hard_collisions(w, g, 0.6, None, [torch.Generator().manual_seed(k) for k in range(2)]),
        lambda g: hard_collisions(w, g, None, 0.5, [torch.Generator().manual_seed(k) for k in range(2)]),
        lambda g: hard_collisions_in_law(w, g, 0.6, [torch.Generator().manual_seed(k) for k in range(2)]),
    ):
        (one, rate), (other, same) = function(g), function(scale * g)
        assert torch.equal(rate, same)
        assert rate.max() > 0
        torch.testing.assert_close(one, other / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["kiti", "gaussian"])
def test_one_sample_of_another_size_collides_as_the_others_do(kind):
    x, v = torch.zeros(3, 8, 12), torch.randn(1, 8, 12, generator=torch.Generator().manual_seed(1)).expand(3, 8, 12)
    scales = torch.tensor([1.0, 1e-30, 1e30])[:, None, None]
    module = make_residual(ResidualConfig(kind=kind, collision_heads=4, coll_coef=0.5), 0, 1)
    change = (module(x, scales * v) - scales * v) / scales
    sizes = [math.sqrt(float(each.double().square().sum())) for each in change]
    assert min(sizes) > 0.2 * max(sizes)
    if kind == "kiti":
        assert collect(module)[0].colliding_share > 0.5


def test_ordinary_velocities_are_used_as_they_are():
    v = torch.tensor([1e-11, 1.0, 1e11, 0.0])[:, None, None]
    assert (unit_of(v)[:3] == 1).all()
    a = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norm(a), torch.linalg.vector_norm(a, dim=1))
    assert torch.equal(norm(2.0**100 * a), 2.0**100 * norm(a))
    assert torch.equal(norm(2.0**-100 * a), 2.0**-100 * norm(a))
    assert norm(torch.zeros(2, 3)).tolist() == [0, 0]
