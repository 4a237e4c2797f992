"""The residual module: evaluation, randomness, schedules, transforms."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from kitipde.collisions import (
    CollisionStatistics,
    advance,
    check_particles,
    collect,
    gap_warning,
    make_residual,
    make_residuals,
)
from kitipde.collisions.backends.eager import collided
from kitipde.collisions.layouts import to_features, to_particles
from kitipde.collisions.residual import missing_for_kernels
from kitipde.config import ResidualConfig
from kitipde.errors import InputError
from kitipde.memory import has_points_first, points_first

KINDS = ["plain", "kiti", "kiti-published", "kiti-acceleration", "mixing", "gaussian", "dropout"]


def features(seed=0, shape=(3, 8, 16), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))


def residual(**settings):
    return make_residual(ResidualConfig(**{"kind": "kiti", "collision_heads": 4, **settings}), 0, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_evaluation_has_the_bits_of_the_plain_addition(kind, dtype):
    x, v = features(dtype=dtype)
    assert torch.equal(residual(kind=kind).eval()(x, v), x + v)
    assert torch.equal(residual(kind=kind, dt=0.5).eval()(x, v), x + 0.5 * v)


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_have_no_parameters_and_leave_nothing_in_the_state(kind):
    module = residual(kind=kind)
    assert not list(module.parameters())
    assert not module.state_dict()


@pytest.mark.parametrize("settings", [{"coll_coef": 0.0}, {"collision_heads": 128}])
def test_without_collisions_training_adds(settings):
    x, v = features()
    assert torch.equal(residual(**settings)(x, v), x + v)


@pytest.mark.parametrize("layout", ["flat", "token"])
def test_without_collisions_gradients_are_those_of_the_sum_and_nobody_shares_them(layout):
    residual = make_residual(ResidualConfig(kind="kiti", layout=layout, collision_heads=4, coll_coef=0.0), 0, 1)
    x, v = (torch.randn(3, 8, 16, requires_grad=True) for _ in range(2))
    gradient = torch.randn(3, 8, 16)
    residual(x, v).backward(gradient)
    assert x.grad is not None
    assert v.grad is not None
    assert torch.equal(x.grad, gradient)
    assert torch.equal(v.grad, gradient)
    assert x.grad.data_ptr() != v.grad.data_ptr()


def test_training_collides_and_the_seed_decides_how():
    x, v = features()
    module = residual(coll_coef=0.9)
    torch.manual_seed(1)
    first, second = module(x, v), module(x, v)
    torch.manual_seed(1)
    assert torch.equal(first, module(x, v))
    assert not torch.equal(first, second)
    assert collect(module)[0].collisions_per_particle > 0.1


def test_gradients_reach_x_and_v():
    x, v = (each.double().requires_grad_() for each in features(shape=(2, 4, 6)))
    module = residual(coll_coef=0.9)

    def forward(x, v):
        torch.manual_seed(5)
        return module(x, v)

    assert torch.autograd.gradcheck(forward, (x, v))
    assert collect(module)[0].collisions_per_particle > 0.3


@pytest.mark.parametrize(("particles", "rate"), [(32, 0.05), (32, 1.5), (8, 0.05), (5, 0.3)])
def test_target_rate_holds_the_rate(particles, rate):
    module = residual(target_rate=rate)
    for step in range(300):
        module(*features(seed=step, shape=(4, 4, particles)))
    assert collect(module)[0].collisions_per_particle == pytest.approx(rate, rel=0.1)


def test_target_rate_is_held_in_each_batch_although_a_sample_has_less_than_one_pair():
    # 16 particles: 0.4 pairs in a sample, 4 in a batch of ten, give or take one.
    module, rates = residual(target_rate=0.05), []
    for step in range(200):
        module(*features(seed=step, shape=(10, 4, 16)))
        rates.append(collect(module)[0].collisions_per_particle)
    assert rates == pytest.approx([0.05] * 200, abs=1.01 * 2 / 160)
    assert sum(rates) / 200 == pytest.approx(0.05, rel=0.03)


def test_collect_forgets_what_it_gave():
    module = residual()
    module(*features())
    assert collect(module)
    assert not collect(module)


@pytest.mark.parametrize("by_rate", [False, True])
@pytest.mark.parametrize("in_order", [False, True])
def test_replicas_under_vmap_collide_as_each_would_alone(by_rate, in_order):
    settings = {"target_rate": 0.5} if by_rate else {"coll_coef": 0.9}
    modules = [residual(collision_heads=16, **settings) for _ in range(3)]
    order = points_first if in_order else torch.clone
    x, v = (torch.stack(parts) for parts in zip(*(features(seed=k) for k in range(3)), strict=True))
    _, buffers = torch.func.stack_module_state(modules)
    base = copy.deepcopy(modules[0])

    def call(buffers, x, v):
        return torch.func.functional_call(base, buffers, (order(0.2 * x), order(v)))

    torch.manual_seed(0)
    together = torch.vmap(call, randomness="different")(buffers, x, v)
    torch.manual_seed(0)
    keys = torch.randint(1 << 62, (3,))
    for k, module in enumerate(modules):
        position, velocity = (to_particles(part, "flat", 16, in_order) for part in (0.2 * x[k], v[k]))
        alone, _ = collided(position, velocity, keys[k], module.collision_strength, module.rule)
        expected = to_features(alone, x[k], "flat", in_order)
        assert not torch.equal(expected, 0.2 * x[k] + v[k])
        torch.testing.assert_close(together[k], expected, rtol=1e-6, atol=1e-6)
        assert has_points_first(together[k]) == in_order
        module(0.2 * x[k], v[k])
    statistics = collect(base, buffers)[0]
    rates = [collect(module)[0].collisions_per_particle for module in modules]
    assert statistics.collisions_per_particle == pytest.approx(sum(rates) / 3, rel=1e-5)


def test_per_replica_gradients_work_inside_vmap():
    x, v = (torch.stack(parts) for parts in zip(*(features(seed=k) for k in range(3)), strict=True))
    module = residual(coll_coef=0.9)
    buffers = {name: torch.stack([buffer] * 3) for name, buffer in module.named_buffers()}

    def loss(x, v, buffers):
        return torch.func.functional_call(module, buffers, (x, v)).square().sum()

    torch.manual_seed(0)
    inner = torch.vmap(torch.func.grad(loss), randomness="different")(x, v, buffers)
    torch.manual_seed(0)
    x.requires_grad_()
    torch.vmap(loss, randomness="different")(x, v, buffers).sum().backward()
    torch.testing.assert_close(inner, x.grad)


def test_schedules_move_between_full_and_none():
    model = nn.Sequential(residual(coll_coef=0.8, schedule="linear", warmup=0.2))
    strengths = []
    for fraction in (0.0, 0.1, 0.2, 0.6, 1.0):
        advance(model, fraction)
        strengths.append(model[0].collision_strength.item())
    assert strengths == pytest.approx([0.0, 0.4, 0.8, 0.4, 0.0])


def test_annealed_collisions_fall_to_zero_and_with_the_learning_rate():
    model = nn.Sequential(residual(coll_coef=0.8, schedule="annealed", warmup=0.2))
    strengths = []
    for fraction, rate in ((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (0.6, 0.25), (1.0, 0.125)):
        advance(model, fraction, rate)
        strengths.append(model[0].collision_strength.item())
    assert strengths == pytest.approx([0.0, 0.4, 0.8, 0.1, 0.0])


def test_warning_names_what_to_set():
    module = residual()
    module(*features())
    statistics = collect(module)
    assert gap_warning(0.1, 0.105, statistics) is None
    rare = {0: CollisionStatistics(0.05, 0.04, 0.0, 0.0)}
    assert gap_warning(0.1, 0.15, rare) is None
    assert gap_warning(0.1, 0.25, rare) is not None
    assert gap_warning(0.1, 0.25, {}) is None
    assert gap_warning(0.1, 0.15, {0: CollisionStatistics(26.0, 1.0, 0.0, 0.0)}) is not None
    warning = gap_warning(0.006, 1.4, statistics)
    assert warning is not None
    assert "residual.target_rate=0.05" in warning
    assert "\n" not in warning


def test_heads_that_do_not_divide_are_answered_with_those_that_do():
    config = ResidualConfig(kind="kiti", collision_heads=5)
    with pytest.raises(InputError, match=r"collision_heads=5 does not divide .* = 24 .*1, 2, 3, 4, 6, 8, 12, 24$"):
        check_particles(config, 3, (8,))
    with pytest.raises(InputError, match="nearest of"):
        check_particles(ResidualConfig(kind="kiti", collision_heads=100), 64, (1024, 3))


@pytest.mark.parametrize(("layout", "particles", "heads"), [("flat", 5, 48), ("token", 2, 3), ("channel", 6, 40)])
def test_without_a_number_of_heads_one_follows_from_the_channels(layout, particles, heads):
    config = ResidualConfig(kind="kiti", layout=layout, target_rate=0.5)
    check_particles(config, 6, (5, 8))
    assert to_particles(torch.zeros(1, 6, 5, 8), layout, config.collision_heads).shape[1:] == (particles, heads)


def test_an_odd_number_of_channels_has_no_halves():
    with pytest.raises(InputError, match=r"collision_heads=2 does not divide 5 channels .*: 1, 5$"):
        check_particles(ResidualConfig(kind="kiti", layout="token", target_rate=0.5), 5, (8,))


@pytest.mark.parametrize("layout", ["flat", "token", "channel"])
def test_particles_return_to_the_feature_map_they_came_from(layout):
    x = torch.arange(2 * 8 * 3 * 5.0).reshape(2, 8, 3, 5)
    particles = to_particles(x, layout, 4)
    assert torch.equal(to_features(particles, x, layout), x)
    first = {
        "flat": x[0].reshape(4, 30)[:, 7],
        "token": x[0, :, 0, 0].reshape(4, 2)[:, 1],
        "channel": x[0, 3].flatten(),
    }[layout]
    index = {"flat": 7, "token": 1, "channel": 3}[layout]
    assert torch.equal(particles[0, index], first)


def test_kernels_need_a_compiler_and_what_is_missing_is_named(monkeypatch, tmp_path):
    pytest.importorskip("triton")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert "C compiler" in (missing_for_kernels() or "")
    monkeypatch.setenv("CC", "/opt/cc")
    assert missing_for_kernels() is None


def test_dropout_keeps_the_mean_and_drops_the_share():
    x, v = torch.zeros(4, 8, 1000), torch.ones(4, 8, 1000)
    out = residual(kind="dropout", dropout=0.3)(x, v)
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("layers", "colliding"), [("all", [0, 1, 2]), ("last", [2]), ([0, 2], [0, 2])])
def test_only_the_chosen_layers_collide(layers, colliding):
    config = ResidualConfig(kind="kiti", collision_heads=4, layers=layers)
    model = make_residuals(config, 3)
    x, v = features()
    for module in model:
        module(x, v)
    assert sorted(collect(model)) == colliding


def test_a_model_in_half_precision_counts_beyond_what_its_type_can():
    module = residual(layout="token", target_rate=0.5).bfloat16().train()
    x, v = features(shape=(1, 8, 4), dtype=torch.bfloat16)
    for _ in range(600):
        module(x, v)
    assert module.collision_strength.dtype == torch.float64
    assert collect(module)[0].collisions_per_particle == pytest.approx(0.5, abs=0.05)


def test_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"residual.layers=\[0, 3\]: the model has layers 0 to 2"):
        make_residuals(ResidualConfig(kind="kiti", layers=[0, 3]), 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_rate": 0.05, "coll_coef": 0.5}, "leave coll_coef out"),
        ({"kind": "mixing", "noise": "gaussian"}, "noise=gaussian is for"),
        ({"coll_coef": 1.5}, "less than or equal to 1"),
        ({"coll_coef": float("nan")}, "coll_coef"),
        ({"dt": float("inf")}, "finite"),
        ({"layers": "first"}, "layers"),
        ({"layers": ()}, "layers is empty"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ResidualConfig(**{"kind": "kiti", **settings})


def test_target_rate_alone_and_auto_alone_are_enough():
    assert ResidualConfig(kind="kiti", target_rate=0.1).coll_coef == "auto"
    assert ResidualConfig(kind="kiti", coll_coef="auto").target_rate == 0.01
    settings = ResidualConfig(kind="kiti", target_rate=0.1)
    assert ResidualConfig(**settings.model_dump()) == settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["flat", "token", "channel"])
def test_empty_batches_and_single_particles_add(kind, layout):
    module = residual(kind=kind, layout=layout, target_rate=0.05) if kind != "dropout" else residual(kind=kind)
    empty = torch.empty(0, 8, 16)
    assert module(empty, empty).shape == empty.shape
    if kind in ("plain", "dropout", "kiti-acceleration"):
        return
    x, v = features(shape=(2, 1 if layout == "channel" else 4, 1))
    assert torch.equal(module(x, v), x + v)


@pytest.mark.parametrize("settings", [{"coll_coef": 1.0}, {"coll_coef": 0.9}, {"target_rate": 2.0}])
@pytest.mark.parametrize("kind", ["kiti", "kiti-published", "mixing"])
def test_equal_velocities_do_not_collide(kind, settings):
    x, _ = features()
    v = torch.ones_like(x)
    module = residual(kind=kind, **settings)
    x.requires_grad_()
    v.requires_grad_()
    out = module(x, v)
    out.sum().backward()
    assert torch.equal(out, x + v)
    assert x.grad.isfinite().all()
    assert v.grad.isfinite().all()


@pytest.mark.parametrize("settings", [{"coll_coef": 1.0}, {"target_rate": 2.0}])
def test_twins_among_the_particles_keep_gradients_finite(settings):
    x, v = features()
    x[..., 8:], v[..., 8:] = x[..., :8], v[..., :8]
    x.requires_grad_()
    v.requires_grad_()
    residual(**settings)(x, v).square().sum().backward()
    assert x.grad.isfinite().all()
    assert v.grad.isfinite().all()


@pytest.mark.parametrize(
    ("bad", "where"),
    [(float("nan"), "x"), (float("nan"), "v"), (float("inf"), "x"), (float("inf"), "v"), (1e30, "x")],
)
@pytest.mark.parametrize(
    "settings",
    [
        {"coll_coef": 0.9},
        {"coll_coef": 1.0},
        {"target_rate": 0.5},
        {"target_rate": 1.0, "layout": "token", "collision_heads": 4},
    ],
)
def test_a_sample_with_a_bad_value_adds_and_the_others_collide(bad, where, settings):
    x, v = features()
    clean = residual(**settings)
    torch.manual_seed(0)
    clean(x, v)
    (x if where == "x" else v)[1, 2, 3] = bad
    out = residual(**settings)(x, v)
    assert torch.equal(out[1].isnan(), (x + v)[1].isnan())
    # In the token layout each point is a sample.
    broken = (1, slice(None), 3) if settings.get("layout") == "token" else 1
    torch.testing.assert_close(out[broken], (x + v)[broken], equal_nan=True, rtol=0, atol=0)
    assert out[0].isfinite().all()
    assert not torch.equal(out[0], (x + v)[0])


@pytest.mark.parametrize("noise", ["exact", "gaussian"])
def test_bfloat16_autocast_keeps_distances_in_float32(noise):
    x, v = features(shape=(2, 8, 32))
    module = residual(coll_coef=0.9, noise=noise)
    torch.manual_seed(0)
    full = module(x.bfloat16().float(), v.bfloat16().float())
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = module(x.bfloat16(), v.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, full.bfloat16())
