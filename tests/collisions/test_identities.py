"""The identities of the collision operator on feature maps: every layout, single and double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitipde.collisions.layouts import to_features, to_particles
from kitipde.collisions.residual import make_residual
from kitipde.collisions.statistics import collect
from kitipde.config import ResidualConfig

LAYOUTS = ("flat", "token", "channel")
DTYPES = (torch.float32, torch.float64)
CHANNELS, HEADS, GRID = 8, 4, (3, 2)

over_layouts_and_dtypes = pytest.mark.parametrize(
    ("layout", "dtype"), [(layout, dtype) for layout in LAYOUTS for dtype in DTYPES]
)
seeds = st.integers(0, 2**31)
coefficients = st.floats(0.05, 1.0)
scales = st.sampled_from([0.1, 1.0, 30.0])


def tolerance(dtype: torch.dtype) -> float:
    return 2e-4 if dtype == torch.float32 else 1e-11


def residual(layout: str, **options) -> torch.nn.Module:
    return make_residual(ResidualConfig(layout=layout, collision_heads=HEADS, **{"kind": "kiti", **options}), 0, 1)


def features(seed: int, dtype: torch.dtype, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions close enough to collide, and velocities."""
    generator = torch.Generator().manual_seed(seed)
    x, v = torch.randn(2, 3, CHANNELS, *GRID, generator=generator, dtype=torch.float64)
    return (0.3 * x).to(dtype), (scale * v).to(dtype)


def velocities_after(layout: str, x: torch.Tensor, v: torch.Tensor, seed: int, **options) -> torch.Tensor:
    """Particles' v': with x* = x and dt = 1 the result is x + v'."""
    torch.manual_seed(seed)
    moved = residual(layout, update_position=False, **options)(x, v)
    return to_particles(moved - x, layout, HEADS)


@over_layouts_and_dtypes
@given(seed=seeds, coefficient=coefficients, scale=scales)
@settings(max_examples=25, deadline=None)
def test_total_momentum_is_conserved_in_each_sample(layout, dtype, seed, coefficient, scale) -> None:
    x, v = features(seed, dtype, scale)
    before = to_particles(v, layout, HEADS)
    after = velocities_after(layout, x, v, seed, coll_coef=coefficient)
    torch.testing.assert_close(after.sum(1), before.sum(1), rtol=0, atol=tolerance(dtype) * max(scale, 1) * 10)


@over_layouts_and_dtypes
@given(seed=seeds, scale=scales)
@settings(max_examples=25, deadline=None)
def test_kinetic_energy_is_conserved_when_no_particle_collides_twice(layout, dtype, seed, scale) -> None:
    x, v = features(seed, dtype, scale)
    before = to_particles(v, layout, HEADS)
    particles = before.shape[1]
    # One pair in each sample.
    after = velocities_after(layout, x, v, seed, target_rate=2 / particles)
    energy = before.square().sum((1, 2))
    assert (after - before).abs().max() > 0
    torch.testing.assert_close(after.square().sum((1, 2)), energy, rtol=tolerance(dtype) * 10, atol=0)


@over_layouts_and_dtypes
@given(seed=seeds, coefficient=coefficients)
@settings(max_examples=25, deadline=None)
def test_particles_have_no_order(layout, dtype, seed, coefficient) -> None:
    x, v = features(seed, dtype)
    # Without noise, whose directions are drawn pair by pair.
    mixing = residual(layout, kind="mixing", coll_coef=coefficient)
    particles = to_particles(x, layout, HEADS).shape[1]
    order = torch.randperm(particles, generator=torch.Generator().manual_seed(seed))

    def permuted(map_: torch.Tensor) -> torch.Tensor:
        return to_features(to_particles(map_, layout, HEADS)[:, order], map_, layout)

    together = mixing(permuted(x), permuted(v))
    torch.testing.assert_close(together, permuted(mixing(x, v)), rtol=0, atol=tolerance(dtype))


@over_layouts_and_dtypes
@given(seed=seeds, coefficient=coefficients)
@settings(max_examples=25, deadline=None)
def test_shifts_of_positions_and_velocities_shift_the_result(layout, dtype, seed, coefficient) -> None:
    x, v = features(seed, torch.float64)
    d = to_particles(x, layout, HEADS).shape[2]
    # Eighths, so that the shifted numbers are exact in either precision and the same pairs collide.
    x, v = (8 * x).round() / 8, (8 * v).round() / 8
    shift, boost = torch.randint(-16, 16, (2, d), generator=torch.Generator().manual_seed(seed)).double() / 8

    def shifted(map_: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return to_features(to_particles(map_, layout, HEADS) + by, map_, layout)

    results = []
    for start, speed in ((x, v), (shifted(x, shift), shifted(v, boost))):
        torch.manual_seed(seed)
        results.append(residual(layout, coll_coef=coefficient)(start.to(dtype), speed.to(dtype)))
    expected = shifted(results[0].double(), shift + boost).to(dtype)
    torch.testing.assert_close(results[1], expected, rtol=0, atol=tolerance(dtype) * 10)


@over_layouts_and_dtypes
@given(seed=seeds, scale=scales)
@settings(max_examples=10, deadline=None)
def test_without_a_chance_to_collide_the_residual_is_the_addition(layout, dtype, seed, scale) -> None:
    x, v = features(seed, dtype, scale)
    assert torch.equal(residual(layout, coll_coef=0.0)(x, v), x + v)
    one = {"flat": x[:, :HEADS, :1, :1], "token": x[:, :HEADS], "channel": x[:, :1]}[layout]
    assert torch.equal(residual(layout, coll_coef=1.0)(one, 2 * one), one + 2 * one)


@over_layouts_and_dtypes
def test_the_statistics_count_what_happened(layout, dtype) -> None:
    x, v = features(0, dtype)
    module = residual(layout, coll_coef=0.7)
    module(x, v)
    statistics = collect(module)[0]
    position, velocity = to_particles(x, layout, HEADS).double(), to_particles(v, layout, HEADS).double()
    distance, speed = torch.cdist(position, position), torch.cdist(velocity, velocity)
    accepted = speed * torch.exp(-distance) / speed.amax((1, 2), keepdim=True) > 0.3
    count = accepted.sum(-1).double()
    assert statistics.collisions_per_particle == pytest.approx(count.mean().item(), rel=1e-6)
    assert statistics.colliding_share == pytest.approx((count > 0).double().mean().item(), rel=1e-6)
