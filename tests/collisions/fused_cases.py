"""The kernels for GPUs: the same pairs and laws as the plain path.

Run by `test_fused.py` in a process of its own, because Triton decides when it is imported whether it interprets.
"""

import os

import pytest
import torch

from kitipde.collisions import fused
from kitipde.collisions.collision import Rule
from kitipde.collisions.operator import LAWS, collide, collide_adjoint
from kitipde.collisions.selection import pairs_by_coefficient

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def cloud(samples, particles, dimension, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, dimension, particles)
    x = 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64) / dimension**0.5
    v = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x.to(DEVICE, dtype).transpose(1, 2), v.to(DEVICE, dtype).transpose(1, 2)


def run(x, v, coll_coef, law, dt=1.0, update_position=True, key=11):
    threshold = torch.log1p(-torch.full((len(x),), coll_coef, device=x.device, dtype=x.dtype))
    keys = torch.tensor([key], device=x.device)
    return fused.fused_collide(x, v, keys, threshold, fused.fused_speeds(v), law, dt, update_position)


@pytest.mark.parametrize(
    ("particles", "dimension", "coll_coef"), [(5, 3, 0.0), (5, 3, 1.0), (19, 6, 0.6), (19, 6, 0.9), (33, 1, 0.9)]
)
def test_pairs_and_deterministic_part_are_those_of_the_plain_path(particles, dimension, coll_coef):
    x, v = cloud(2, particles, dimension)
    out, count, _ = run(x, v, coll_coef, "mixing", dt=0.7)
    pairs = pairs_by_coefficient(x, v, coll_coef)
    expected, statistics = collide(x, v, pairs, torch.Generator(DEVICE), LAWS["mixing"], 0.7, True)
    assert count.mean().item() == pytest.approx(statistics[0].item())
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("law", ["kiti", "kiti-published"])
def test_noise_conserves_momentum_and_changes_with_the_key(law):
    x, v = cloud(1, 14, 5)
    _, _, first = run(x, v, 0.9, law)
    _, _, again = run(x, v, 0.9, law)
    _, _, other = run(x, v, 0.9, law, key=12)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.sum(1).abs().max() < 1e-4 * first.abs().max()


def test_directions_have_the_law_of_the_unit_sphere():
    # Pairs far from one another, in which the pull vanishes with the sum of the velocities: Δv + v is V_r n / 2.
    samples, pairs = 1, 96
    x = (10.0 * torch.arange(pairs, device=DEVICE)).repeat_interleave(2).repeat(samples, 3, 1).transpose(1, 2)
    v = torch.zeros(samples, 3, 2 * pairs, device=DEVICE).transpose(1, 2)
    v[:, 0::2, 0], v[:, 1::2, 0] = 1.0, -1.0
    _, count, change = run(x, v, 0.5, "kiti")
    assert (count == 1).all()
    n = (change + v)[:, 0::2].reshape(-1, 3)
    torch.testing.assert_close(n.norm(dim=1), torch.ones(len(n), device=DEVICE), rtol=1e-5, atol=1e-5)
    # Archimedes: each coordinate is uniform on [−1, 1]; Kolmogorov-Smirnov at the level of 0.1 %.
    ordered = ((n + 1) / 2).sort(0).values
    uniform = (torch.arange(len(n), device=DEVICE) + 0.5) / len(n)
    assert (ordered - uniform[:, None]).abs().max() < 1.95 / len(n) ** 0.5
    assert (n.T @ n / len(n) - torch.eye(3, device=DEVICE) / 3).abs().max() < 4 * 0.3 / len(n) ** 0.5


@pytest.mark.parametrize("law", ["kiti", "kiti-published", "mixing"])
@pytest.mark.parametrize("update_position", [True, False])
def test_adjoint_is_the_gradient_of_the_kernel(law, update_position):
    x, v = (each.detach() for each in cloud(1, 6, 3, torch.float64))
    threshold = torch.log1p(-torch.full((1,), 0.95, device=DEVICE, dtype=x.dtype))
    rule = Rule(law, False, 0.7, update_position)

    def forward(x, v):
        key = torch.tensor(5, device=DEVICE)
        return fused.fused_collided(x, v, key, torch.tensor(0.95, device=DEVICE, dtype=torch.float64), rule, 0)[0]

    _, count, _ = fused.fused_collide(
        x, v, torch.tensor([5], device=DEVICE), threshold, fused.fused_speeds(v), law, 0.7, update_position
    )
    assert count.sum() > 6
    x.requires_grad_()
    v.requires_grad_()
    assert torch.autograd.gradcheck(forward, (x, v), eps=1e-4, atol=1e-4, fast_mode=True)


def test_adjoint_without_noise_is_that_of_the_plain_path():
    x, v = cloud(1, 19, 6)
    gradient = torch.randn_like(x)
    pairs = pairs_by_coefficient(x, v, 0.9)
    expected = collide_adjoint(gradient, v, pairs, torch.Generator(DEVICE), LAWS["mixing"], 0.7, True)
    _, count, _ = run(x, v, 0.9, "mixing")
    threshold = torch.log1p(-torch.full((1,), 0.9, device=DEVICE))
    keys = torch.tensor([11], device=DEVICE)
    found = fused.fused_collide_adjoint(
        gradient, x, v, keys, threshold, fused.fused_speeds(v), count, "mixing", 0.7, True
    )
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each, other, rtol=1e-4, atol=1e-5)


def test_rate_selects_the_wished_number_of_pairs():
    x, v = cloud(2, 12, 5)
    rule = Rule("kiti", True, 1.0, True)
    rate = torch.tensor(0.5, device=DEVICE, dtype=torch.float64)
    _, statistics = fused.fused_collided(x, v, torch.tensor(1, device=DEVICE), rate, rule, 3)
    assert statistics[0].item() == pytest.approx(0.5, abs=1e-5)
    assert statistics[2].item() < 1e-5


def test_replicas_under_vmap_collide_as_each_would_alone():
    parts = [cloud(1, 9, 4, seed=k) for k in range(2)]
    x, v = torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts])
    keys = torch.tensor([3, 4], device=DEVICE)
    strength = torch.tensor(0.9, device=DEVICE, dtype=torch.float64)
    rule = Rule("kiti", False, 1.0, True)

    def call(x, v, key):
        return fused.fused_collided(x, v, key, strength, rule, 0)

    together, _ = torch.vmap(call)(x, v, keys)
    for k in range(2):
        alone, _ = call(x[k], v[k], keys[k])
        # The counter holds the sample's place in the whole batch: equal in law, and equal pairs.
        assert torch.equal((alone != x[k] + v[k]).any(-1), (together[k] != x[k] + v[k]).any(-1))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["x", "v"])
def test_a_sample_with_a_bad_value_has_no_new_ones(bad, where):
    x, v = (each.contiguous() for each in cloud(2, 9, 4))
    (x if where == "x" else v)[1, 2, 3] = bad
    strength = torch.tensor(0.9, device=DEVICE, dtype=torch.float64)
    out, _ = fused.fused_collided(x, v, torch.tensor(1, device=DEVICE), strength, Rule("kiti", False, 1.0, True), 0)
    assert torch.equal(out.isfinite(), (x + v).isfinite())


@pytest.mark.skipif(DEVICE == "cpu", reason="CUDA graphs need a GPU")
def test_kernels_replay_in_a_cuda_graph_with_fresh_directions():
    x, v = cloud(4, 64, 16)
    strength = torch.tensor(0.9, device=DEVICE, dtype=torch.float64)

    def step():
        key = torch.randint(1 << 62, (), device=DEVICE)
        return fused.fused_collided(x, v, key, strength, Rule("kiti", False, 1.0, True), 0)[0]

    for _ in range(3):
        step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    graph.replay()
    first = out.clone()
    graph.replay()
    assert not torch.equal(first, out)
    torch.testing.assert_close(first.sum(1), out.sum(1), rtol=1e-3, atol=1e-2)
