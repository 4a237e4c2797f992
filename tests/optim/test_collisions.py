"""Collisions between gradients: against a double loop over pairs, the printed formula, and what they conserve."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kitipde.collisions.pairs import pairs_by_coefficient
from kitipde.collisions.rules import unit_vectors
from kitipde.optim.collisions import cosines, hard_collisions, hard_collisions_in_law, soft_collisions

sizes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 6))
seeds = st.integers(0, 2**32 - 1)


def layer(size, seed, scale=0.3):
    generator = torch.Generator().manual_seed(seed)
    w, g = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))
    return scale * w, g


def generators(replicas, seed=5):
    return [torch.Generator().manual_seed(seed + k) for k in range(replicas)]


def length(a):
    return math.sqrt(sum(float(each) ** 2 for each in a))


def double_loop(w, g, coll_coef, direction):
    """Equations (5)-(8) for one layer [N, D]; `direction[i, j]` is n_ij for i < j."""
    neurons = range(len(w))
    fastest = max((length(g[i] - g[j]) for i in neurons for j in neurons), default=0.0)
    after, count = g.clone(), 0
    for i in neurons:
        for j in neurons:
            speed = length(g[i] - g[j])
            if i == j or fastest == 0 or not speed * math.exp(-length(w[i] - w[j])) / fastest > 1 - coll_coef:
                continue
            n = direction[i, j] if i < j else -direction[j, i]
            after[i] += (g[i] + g[j]) / 2 + speed / 2 * n - g[i]
            count += 1
    return after, count / len(w)


@given(size=sizes, seed=seeds, coll_coef=st.floats(0, 1))
@settings(deadline=None)
def test_hard_collisions_are_those_of_a_double_loop(size, seed, coll_coef):
    w, g = layer(size, seed)
    after, rates = hard_collisions(w, g, coll_coef, None, generators(size[0]))
    pairs = pairs_by_coefficient(w, g, coll_coef)
    for k, generator in enumerate(generators(size[0])):
        mine = [(int(i), int(j)) for b, i, j in zip(*pairs, strict=True) if b == k]
        directions = dict(zip(mine, unit_vectors(len(mine), size[2], generator, g), strict=True))
        expected, rate = double_loop(w[k], g[k], coll_coef, directions)
        torch.testing.assert_close(after[k], expected, rtol=1e-12, atol=1e-12)
        assert float(rates[k]) == pytest.approx(rate)


@pytest.mark.parametrize("self_similarity", [False, True])
def test_soft_collisions_are_algorithm_2(self_similarity):
    w, g = layer((2, 7, 5), 0)
    after = soft_collisions(w, g, 0.3, self_similarity)
    for k in range(2):
        for i in range(7):
            expected = g[k, i].clone()
            for j in range(7):
                if i != j or self_similarity:
                    similar = torch.cosine_similarity(w[k, i], w[k, j], dim=0)
                    expected -= 0.3 * similar * torch.cosine_similarity(g[k, i], g[k, j], dim=0) * g[k, j]
            torch.testing.assert_close(after[k, i], expected)


@given(size=sizes, seed=seeds, coll_coef=st.floats(0, 1))
@settings(deadline=None)
def test_the_sum_of_the_gradients_is_conserved(size, seed, coll_coef):
    w, g = layer(size, seed)
    for after, _ in (
        hard_collisions(w, g, coll_coef, None, generators(size[0])),
        hard_collisions_in_law(w, g, coll_coef, generators(size[0])),
    ):
        torch.testing.assert_close(after.sum(1), g.sum(1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("collisions", [hard_collisions_in_law, hard_collisions])
def test_two_neurons_meet_in_their_mean_and_leave_in_all_directions(collisions):
    """Equation (6): E[g*] = g_cm for both, and |g* − g_cm| = ½ g_r: in every draw, or in the mean square."""
    w, g = torch.zeros(4000, 2, 3, dtype=torch.float64), layer((1, 2, 3), 1)[1].expand(4000, 2, 3)
    settings = (1.0, None) if collisions is hard_collisions else (1.0,)
    after, rates = collisions(w, g, *settings, generators(4000))
    middle, half = g[0].mean(0), torch.linalg.vector_norm(g[0, 0] - g[0, 1]) / 2
    apart = after - middle
    assert (rates == 1).all()
    torch.testing.assert_close(apart.mean(0), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=0.05 * float(half))
    squares = apart.square().sum(2)
    if collisions is hard_collisions:
        torch.testing.assert_close(squares, torch.full_like(squares, float(half**2)))
    else:
        assert float(squares.mean()) == pytest.approx(float(half**2), rel=0.05)


def test_the_wished_number_of_collisions_happens():
    w, g = layer((200, 10, 4), 2)
    _, rates = hard_collisions(w, g, 0.1, 0.3, generators(200))
    assert set((10 * rates).round().int().tolist()) <= {2, 4}  # 1.5 pairs: one or two, two ends each
    assert float(rates.mean()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("case", ["identical gradients", "zero gradients", "zero weights", "one neuron"])
def test_degenerate_layers_stay_finite(case):
    w, g = layer((1, 1 if case == "one neuron" else 6, 4), 3)
    if case == "identical gradients":
        g = g[:, :1].expand(1, 6, 4).clone()
    elif case == "zero gradients":
        g = torch.zeros_like(g)
    elif case == "zero weights":
        w = torch.zeros_like(w)
    for after in (
        soft_collisions(w, g, 0.5, False),
        hard_collisions(w, g, 1.0, None, generators(1))[0],
        hard_collisions(w, g, 1.0, 0.5, generators(1))[0],
        hard_collisions_in_law(w, g, 1.0, generators(1))[0],
    ):
        assert after.isfinite().all()
        if case in ("zero gradients", "one neuron"):
            torch.testing.assert_close(after, g, rtol=0, atol=0)
    if case == "identical gradients":
        assert torch.equal(hard_collisions(w, g, 1.0, None, generators(1))[0], g)


def test_cosines_of_tiny_vectors_are_right_or_zero():
    a = torch.randn(1, 5, 3, dtype=torch.float32)
    torch.testing.assert_close(cosines(a * 1e-14), cosines(a))
    assert (cosines(a * 1e-20) == 0).all()
    assert (cosines(a * 1e-30) == 0).all()


def test_colliding_needs_memory_for_pairs_not_for_their_coordinates():
    """One tensor of N×N×D would be 4 GB here."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for each in result if isinstance(result, tuple | list) else (result,):
                if isinstance(each, torch.Tensor):
                    largest = max(largest, each.untyped_storage().nbytes())
            return result

    w, g = nn.init.normal_(torch.empty(2, 1, 512, 4096), std=0.002)
    with Watch():
        hard_collisions(w, g, 1.0, 0.2, generators(1))
        hard_collisions_in_law(w, g, 1.0, generators(1))
        soft_collisions(w, g, 0.1, False)
    assert largest <= 2 * g.nbytes
