"""The kernels for GPUs: the same pairs and laws as the plain path.

Run by `test_fused.py` in a process of its own, because Triton decides when it is imported whether it interprets.
"""

import os

import pytest
import torch

from kitipde.collisions.backends import triton_kernel as fused
from kitipde.collisions.backends.eager import Rule, collided
from kitipde.collisions.layouts import to_particles
from kitipde.collisions.pairs import pairs_by_coefficient
from kitipde.collisions.rules import LAWS, collide, collide_adjoint

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


def strided(tensor, how):
    """The same numbers in another place of memory: [samples, N, d] with strides of every kind."""
    if how == "expanded":
        return tensor[:1].expand(tensor.shape)
    if how == "expanded to all particles":
        return tensor[:, :1].expand(tensor.shape)
    if how == "sliced":
        wider = torch.full([2 * size + 1 for size in tensor.shape], 1e9, dtype=tensor.dtype, device=DEVICE)
        part = wider[1::2, : 2 * tensor.shape[1] : 2, 2 : 2 + tensor.shape[2]]
        return part.copy_(tensor)
    order = {"transposed": (0, 2, 1), "permuted": (2, 0, 1), "contiguous": (0, 1, 2)}[how]
    return tensor.permute(order).contiguous().permute([order.index(axis) for axis in range(3)])


def collide_and_differentiate(x, v, gradient, law, strength=0.9, by_rate=False):
    x, v = (each.detach().requires_grad_() for each in (x, v))
    rule, key = Rule(law, by_rate, 0.7, True), torch.tensor(5, device=DEVICE)
    strength = torch.tensor(strength, device=DEVICE, dtype=torch.float64)
    out, statistics = fused.fused_collided(x, v, key, strength, rule, 9)
    return out.detach(), *torch.autograd.grad(out, (x, v), gradient), statistics


@pytest.mark.parametrize(
    ("shape", "x_is", "v_is", "gradient_is"),
    [
        ((2, 15, 2), "expanded", "transposed", "contiguous"),
        ((1, 16, 1), "sliced", "sliced", "sliced"),
        ((1, 17, 3), "permuted", "transposed", "transposed"),
        ((3, 2, 5), "transposed", "expanded", "expanded"),
        ((1, 4, 8), "contiguous", "sliced", "expanded to all particles"),
        ((2, 3, 4), "expanded to all particles", "permuted", "permuted"),
    ],
)
def test_strides_change_nothing_and_results_are_those_of_a_double_loop(reference, shape, x_is, v_is, gradient_is):
    generator = torch.Generator().manual_seed(0)
    x, v, gradient = (torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE) for _ in range(3))
    x, v, gradient = strided(0.3 * x, x_is), strided(v, v_is), strided(gradient, gradient_is)
    together = [each.clone(memory_format=torch.contiguous_format) for each in (x, v, gradient)]
    for one, other in zip(
        collide_and_differentiate(x, v, gradient, "kiti"), collide_and_differentiate(*together, "kiti"), strict=True
    ):
        # Sums over views may take their terms in another order.
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    out, on_x, on_v, _ = collide_and_differentiate(x, v, gradient, "mixing")
    position, velocity = (each.cpu().requires_grad_() for each in together[:2])
    none = dict.fromkeys(((i, j) for i in range(shape[1]) for j in range(i + 1, shape[1])), 0.0)
    expected = torch.stack(
        [
            reference.collide(p, u, reference.colliding_pairs(p.detach(), u.detach(), 0.9), none, 1.0, 0.0, 0.7)[0]
            for p, u in zip(position, velocity, strict=True)
        ]
    )
    assert not torch.equal(expected, position + 0.7 * velocity)
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-6, atol=1e-6)
    for found, of in zip(
        (on_x, on_v), torch.autograd.grad(expected, (position, velocity), together[2].cpu()), strict=True
    ):
        torch.testing.assert_close(found.cpu(), of, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "heads", "expanded"),
    [("flat", 4, True), ("flat", 6, False), ("flat", 12, True), ("token", 2, True), ("channel", 1, True)],
)
def test_feature_maps_of_every_layout_collide_as_on_the_plain_path(layout, heads, expanded):
    # As a cross-attention block has them: the queries are the same for all samples, the channels of a point neighbours.
    generator = torch.Generator().manual_seed(1)
    x, v, gradient = (torch.randn(2, 3, 4, generator=generator).to(DEVICE).transpose(1, 2) for _ in range(3))
    x = 0.2 * (x[:1].expand_as(x) if expanded else x)
    x, v, gradient = (to_particles(each, layout, heads).flatten(2) for each in (x, v, gradient))
    *found, statistics = collide_and_differentiate(x, v, gradient, "mixing", 1.0, by_rate=layout == "channel")
    position, velocity = (each.detach().requires_grad_() for each in (x, v))
    strength = torch.tensor(1.0, device=DEVICE, dtype=torch.float64)
    rule = Rule("mixing", layout == "channel", 0.7, True)
    out, counted = collided(position, velocity, torch.tensor(5, device=DEVICE), strength, rule)
    if x.shape[1] > 1:
        assert counted[0] > 0
    torch.testing.assert_close(statistics, counted, rtol=1e-4, atol=1e-5)
    for one, other in zip(found, (out, *torch.autograd.grad(out, (position, velocity), gradient)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", ["x", "key"])
def test_a_seed_collides_alone_as_in_a_stack(shared):
    parts = [cloud(2, 3, 2, seed=k) for k in range(2)]
    stacked = {
        "x": torch.stack([part[0] for part in parts]),
        "v": torch.stack([part[1] for part in parts]),
        "key": torch.tensor([3, 4], device=DEVICE),
    }
    if shared in stacked:
        stacked[shared] = stacked[shared][0]
    in_dims = tuple(None if name == shared else 0 for name in stacked)
    strength = torch.tensor(0.9, device=DEVICE, dtype=torch.float64)

    def call(x, v, key):
        out, statistics = fused.fused_collided(x, v, key, strength, Rule("kiti", False, 1.0, True), 0)
        return out.square().sum(), (out, statistics)

    def both(x, v, key):
        return torch.func.grad(call, (0, 1), has_aux=True)(x, v, key)

    together = torch.utils._pytree.tree_leaves(torch.vmap(both, in_dims)(*stacked.values()))
    for k in range(2):
        own = [each if name == shared else each[k] for name, each in stacked.items()]
        alone = torch.utils._pytree.tree_leaves(both(*own))
        assert alone[3][0] > 0
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[k], other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_velocities_of_any_size_collide(scale):
    _, v = cloud(1, 5, 3)
    x, gradient = torch.zeros_like(v), torch.randn_like(v)
    one, other = (collide_and_differentiate(x, factor * v, gradient, "kiti", 0.6) for factor in (1.0, scale))
    assert one[3][0] > 0
    torch.testing.assert_close(other[0] / scale, one[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other[2], one[2], rtol=1e-5, atol=1e-6)


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
