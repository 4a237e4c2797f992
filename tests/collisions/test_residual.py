"""The residual module: evaluation, randomness, schedules, transforms."""

import copy

import pytest
import torch
from torch import nn

from kitipde.collisions import advance, check_particles, collect, gap_warning, make_residual
from kitipde.config import ResidualConfig
from kitipde.errors import InputError

KINDS = ["plain", "kiti", "kiti-published", "mixing"]


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


def test_collect_forgets_what_it_gave():
    module = residual()
    module(*features())
    assert collect(module)
    assert not collect(module)


@pytest.mark.parametrize("by_rate", [False, True])
def test_replicas_under_vmap_collide_as_each_would_alone(by_rate):
    settings = {"target_rate": 0.5} if by_rate else {"coll_coef": 0.9}
    modules = [residual(**settings) for _ in range(3)]
    x, v = (torch.stack(parts) for parts in zip(*(features(seed=k) for k in range(3)), strict=True))
    _, buffers = torch.func.stack_module_state(modules)
    base = copy.deepcopy(modules[0])

    def call(buffers, x, v):
        return torch.func.functional_call(base, buffers, (x, v))

    torch.manual_seed(0)
    together = torch.vmap(call, randomness="different")(buffers, x, v)
    torch.manual_seed(0)
    keys = torch.randint(1 << 62, (3,))
    for k, module in enumerate(modules):
        from kitipde.collisions.collision import collided
        from kitipde.collisions.particles import to_features, to_particles

        position, velocity = (to_particles(part[k], "flat", 4) for part in (x, v))
        alone, _ = collided(position, velocity, keys[k], module.collision_strength, module.rule)
        torch.testing.assert_close(together[k], to_features(alone, x[k], "flat"), rtol=1e-6, atol=1e-6)
        module(x[k], v[k])
    statistics = collect(base, buffers)[0]
    rates = [collect(module)[0].collisions_per_particle for module in modules]
    assert statistics.collisions_per_particle == pytest.approx(sum(rates) / 3, rel=0.2 if by_rate else 1e-5)


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


def test_warning_names_what_to_set():
    module = residual()
    module(*features())
    statistics = collect(module)
    assert gap_warning(0.1, 0.11, statistics) is None
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


@pytest.mark.parametrize("layout", ["flat", "token", "channel"])
def test_particles_return_to_the_feature_map_they_came_from(layout):
    from kitipde.collisions.particles import to_features, to_particles

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
