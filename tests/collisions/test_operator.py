"""Equations (2)-(5): against a double loop over pairs, and their conservation laws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitipde.collisions.pairs import pairs_at_rate, pairs_by_coefficient
from kitipde.collisions.rules import LAWS, Pairs, collide, collide_adjoint, unit_vectors

sizes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 6))
seeds = st.integers(0, 2**32 - 1)
coefficients = st.floats(0.0, 1.0)
laws = st.sampled_from(sorted(LAWS))


def make(size, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x, v = (torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return x, v


def generator(seed=7):
    return torch.Generator().manual_seed(seed)


def as_sets(pairs, samples):
    found = [set() for _ in range(samples)]
    for b, i, j in zip(*(column.tolist() for column in pairs), strict=True):
        found[b].add((i, j))
    return found


@given(size=sizes, seed=seeds, coll_coef=coefficients)
@settings(deadline=None)
def test_pairs_are_those_of_a_double_loop(reference, size, seed, coll_coef):
    x, v = make(size, seed)
    found = as_sets(pairs_by_coefficient(x, v, coll_coef), size[0])
    assert found == [reference.colliding_pairs(x[b], v[b], coll_coef) for b in range(size[0])]


@given(size=sizes, seed=seeds, coll_coef=coefficients, law=laws, dt=st.floats(0.1, 2.0), update=st.booleans())
@settings(deadline=None)
def test_result_is_that_of_a_double_loop(reference, size, seed, coll_coef, law, dt, update):
    x, v = make(size, seed)
    pairs = pairs_by_coefficient(x, v, coll_coef)
    out, statistics = collide(x, v, pairs, generator(), LAWS[law], dt, update)
    directions = unit_vectors(len(pairs.sample), size[2], generator(), v)
    counts, moved = [], []
    for b, chosen in enumerate(as_sets(pairs, size[0])):
        n = {
            (i, j): direction
            for c, i, j, direction in zip(*(column.tolist() for column in pairs), directions, strict=True)
            if c == b
        }
        expected, v_new, count = reference.collide(x[b], v[b], chosen, n, *LAWS[law], dt, update)
        torch.testing.assert_close(out[b], expected, rtol=1e-12, atol=1e-12)
        counts += count
        moved.append(v_new)
    energy = torch.stack(moved).square().sum() / v.square().sum() - 1
    assert statistics[0].item() == pytest.approx(sum(counts) / len(counts))
    assert statistics[1].item() == pytest.approx(sum(k > 0 for k in counts) / len(counts))
    assert statistics[2].item() == pytest.approx(0, abs=1e-13)
    assert statistics[3].item() == pytest.approx(energy.item(), abs=1e-11, rel=1e-9)


@given(size=sizes, seed=seeds, coll_coef=coefficients, law=laws)
@settings(deadline=None)
def test_total_momentum_is_conserved(size, seed, coll_coef, law):
    x, v = make(size, seed)
    out, _ = collide(x, v, pairs_by_coefficient(x, v, coll_coef), generator(), LAWS[law], 1.0, False)
    torch.testing.assert_close((out - x).sum(1), v.sum(1), rtol=0, atol=1e-11 * max(1.0, out.abs().max().item()))


@given(size=sizes, seed=seeds)
@settings(deadline=None)
def test_energy_is_conserved_when_no_particle_collides_twice(size, seed):
    x, v = make(size, seed)
    disjoint = [(b, i, i + 1) for b in range(size[0]) for i in range(0, size[1] - 1, 2)]
    pairs = Pairs(*(torch.tensor([pair[k] for pair in disjoint], dtype=torch.long) for k in range(3)))
    out, statistics = collide(x, v, pairs, generator(), LAWS["kiti"], 1.0, False)
    torch.testing.assert_close((out - x).square().sum((1, 2)), v.square().sum((1, 2)), rtol=1e-12, atol=1e-12)
    assert abs(statistics[3].item()) < 1e-13


@given(size=sizes, seed=seeds, coll_coef=coefficients)
@settings(deadline=None)
def test_selection_follows_a_permutation_of_the_particles(size, seed, coll_coef):
    x, v = make(size, seed)
    order = torch.randperm(size[1], generator=torch.Generator().manual_seed(seed))
    place = order.argsort().tolist()
    before = as_sets(pairs_by_coefficient(x, v, coll_coef), size[0])
    after = as_sets(pairs_by_coefficient(x[:, order], v[:, order], coll_coef), size[0])
    moved = [{tuple(sorted((place[i], place[j]))) for i, j in pairs} for pairs in before]
    assert moved == after


@given(size=sizes, seed=seeds, coll_coef=coefficients)
@settings(deadline=None)
def test_translation_of_x_translates_the_result(size, seed, coll_coef):
    x, v = make(size, seed)
    shift = torch.randn(size[2], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    pairs = pairs_by_coefficient(x, v, coll_coef)
    assert as_sets(pairs, size[0]) == as_sets(pairs_by_coefficient(x + shift, v, coll_coef), size[0])
    out, _ = collide(x, v, pairs, generator(), LAWS["kiti"], 1.0, True)
    moved, _ = collide(x + shift, v, pairs, generator(), LAWS["kiti"], 1.0, True)
    torch.testing.assert_close(moved, out + shift, rtol=1e-11, atol=1e-11)


@given(size=sizes, seed=seeds, coll_coef=coefficients)
@settings(deadline=None)
def test_galilean_shift_of_v_shifts_the_velocities(size, seed, coll_coef):
    x, v = make(size, seed)
    shift = torch.randn(size[2], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    pairs = pairs_by_coefficient(x, v, coll_coef)
    assert as_sets(pairs, size[0]) == as_sets(pairs_by_coefficient(x, v + shift, coll_coef), size[0])
    out, _ = collide(x, v, pairs, generator(), LAWS["kiti"], 0.5, True)
    moved, _ = collide(x, v + shift, pairs, generator(), LAWS["kiti"], 0.5, True)
    torch.testing.assert_close(moved, out + 0.5 * shift, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairs_that_rounding_of_the_gram_matrix_hides_are_still_found(reference, dtype):
    # Far from the origin and close together, |x_i|² + |x_j|² − 2 x_i·x_j has no correct digit left.
    generator = torch.Generator().manual_seed(0)
    centres = 1e3 * torch.randn(4, 1, 5, generator=generator, dtype=torch.float64)
    x = (centres + 0.5 * torch.randn(4, 6, 5, generator=generator, dtype=torch.float64)).reshape(1, 24, 5).to(dtype)
    v = torch.randn(1, 24, 5, generator=generator, dtype=torch.float64).to(dtype)
    found = as_sets(pairs_by_coefficient(x, v, 0.9), 1)
    assert found == [reference.colliding_pairs(x[0], v[0], 0.9)]
    assert found[0]


@given(size=sizes, seed=seeds, number=st.integers(0, 40))
@settings(deadline=None)
def test_rate_chooses_the_pairs_of_highest_score(reference, size, seed, number):
    x, v = make(size, seed)
    wished = torch.full((size[0],), number)
    for b, found in enumerate(as_sets(pairs_at_rate(x, v, wished), size[0])):
        scores = reference.pair_scores(x[b], v[b])
        best = sorted(scores, key=lambda pair: -scores[pair])[:number]
        assert found == {(j, i) for i, j in best}


@pytest.mark.parametrize("law", sorted(LAWS))
@pytest.mark.parametrize("update_position", [True, False])
@pytest.mark.parametrize("partners", ["several", "one"])
def test_adjoint_is_the_gradient_of_the_collision(cloud, law, update_position, partners):
    x, v = cloud(2, 7, 3)
    pairs = pairs_by_coefficient(x, v, 0.9)
    assert len(pairs.sample) > 14
    if partners == "one":
        pairs = Pairs(*map(torch.tensor, ([0, 0, 1], [0, 1, 2], [5, 3, 4])))

    class Collision(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, v):
            ctx.save_for_backward(v)
            return collide(x, v, pairs, generator(), LAWS[law], 0.7, update_position)[0]

        @staticmethod
        def backward(ctx, gradient):
            return collide_adjoint(gradient, *ctx.saved_tensors, pairs, generator(), LAWS[law], 0.7, update_position)

    assert torch.autograd.gradcheck(Collision.apply, (x.requires_grad_(), v.requires_grad_()))


@pytest.mark.parametrize("dimension", [1, 2, 3, 16])
def test_directions_are_uniform_on_the_sphere(dimension):
    n = unit_vectors(40_000, dimension, generator(3), torch.empty(0, dtype=torch.float64))
    torch.testing.assert_close(n.square().sum(1), torch.ones(40_000, dtype=torch.float64))
    assert n.mean(0).abs().max() < 5 / math.sqrt(40_000 * dimension)
    second_moments = n.T @ n / len(n)
    assert (second_moments - torch.eye(dimension, dtype=torch.float64) / dimension).abs().max() < 0.015
    # E n_1⁴ = 3 / (d (d + 2)) distinguishes the uniform law from others of the same covariance.
    assert n[:, 0].pow(4).mean().item() == pytest.approx(3 / (dimension * (dimension + 2)), rel=0.06)
    if dimension == 3:  # Archimedes: each coordinate is uniform on [−1, 1]
        ordered = ((n[:, 0] + 1) / 2).sort().values
        uniform = torch.arange(1, len(n) + 1, dtype=torch.float64) / len(n)
        assert (ordered - uniform).abs().max() < 1.63 / math.sqrt(len(n))


@pytest.mark.parametrize("partners", ["several", "one"])
def test_pairs_in_many_chunks_give_the_same_as_in_one(cloud, monkeypatch, partners):
    x, v = cloud(2, 12, 4)
    pairs = pairs_by_coefficient(x, v, 0.9)
    if partners == "one":
        pairs = Pairs(torch.arange(2).repeat_interleave(5), torch.arange(5).repeat(2), torch.arange(5, 10).repeat(2))
    whole, _ = collide(x, v, pairs, generator(), LAWS["mixing"], 1.0, True)
    monkeypatch.setattr("kitipde.collisions.rules.CHUNK", 12)
    parts, _ = collide(x, v, pairs, generator(), LAWS["mixing"], 1.0, True)
    torch.testing.assert_close(whole, parts, rtol=1e-13, atol=1e-13)
