"""The kind of appendix D: velocities that pass from layer to layer."""

import copy

import torch

from kitipde.collisions import make_residuals
from kitipde.collisions.backends.counter_rng import normal_like
from kitipde.config import ResidualConfig
from tests.collisions.test_residual import features


def test_velocity_is_carried_through_the_layers_of_the_acceleration_kind():
    x, a = features()
    config = ResidualConfig(kind="kiti-acceleration", coll_coef=0.0, collision_heads=4, dt=0.5)
    first, second = make_residuals(config, 2)
    torch.manual_seed(0)
    position = first(x, a)
    torch.manual_seed(0)
    velocity = normal_like(first.new_key(), a) + 0.5 * a
    torch.testing.assert_close(position, x + 0.5 * velocity)
    torch.testing.assert_close(second(position, a), position + 0.5 * (velocity + 0.5 * a))
    assert first.velocity is None


def test_acceleration_kind_starts_anew_in_each_forward_pass_and_survives_a_copy():
    config = ResidualConfig(kind="kiti-acceleration", coll_coef=0.9, collision_heads=4)
    model = copy.deepcopy(make_residuals(config, 3))
    x, a = features()
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        h = x
        for module in model:
            h = module(h, a)
        outputs.append(h)
    assert torch.equal(*outputs)


def test_a_layer_of_another_width_begins_with_velocities_of_its_own():
    config = ResidualConfig(kind="kiti-acceleration", coll_coef=0.0, collision_heads=4)
    first, second = make_residuals(config, 2)
    x, a = features()
    first(x, a)
    wider = torch.cat([x, x], dim=1)
    torch.manual_seed(0)
    velocity = normal_like(second.new_key(), wider)
    torch.manual_seed(0)
    torch.testing.assert_close(second(wider, wider), wider + velocity + wider)


def test_acceleration_kind_is_copied_between_training_steps():
    model = make_residuals(ResidualConfig(kind="kiti-acceleration", coll_coef=0.9, collision_heads=4), 2)
    x, a = features()
    h = x
    for module in model:
        h = module(h, a.requires_grad_())
    h.sum().backward()
    copy.deepcopy(model)
