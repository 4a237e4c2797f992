"""Replicas with keys of their own collide together as they would alone, whatever the kind of their residual."""

import pytest
import torch
from torch import nn

from kitipde.collisions import key_noise
from tests.collisions.test_residual import features, residual

KEYED = [
    {"coll_coef": 0.9},
    {"target_rate": 0.5},
    {"kind": "kiti-published", "target_rate": 0.5},
    {"kind": "kiti-acceleration", "target_rate": 0.5},
    {"kind": "mixing", "target_rate": 0.5},
    {"kind": "gaussian", "target_rate": 0.5},
    {"kind": "gaussian", "coll_coef": 0.9},
    {"kind": "gaussian", "layout": "token", "target_rate": 0.5},
    {"kind": "dropout"},
    {"noise": "gaussian", "target_rate": 0.5},
    {"noise": "gaussian", "coll_coef": 0.9},
]


@pytest.mark.parametrize("settings", KEYED)
def test_keyed_replicas_have_the_same_steps_together_as_alone(settings):
    replicas = [nn.Sequential(residual(**settings)) for _ in range(3)]
    x, v = (torch.stack(parts) for parts in zip(*(features(seed=k) for k in range(3)), strict=True))
    for k, replica in enumerate(replicas):
        key_noise(replica, 100 + k, 0)
    _, buffers = torch.func.stack_module_state(replicas)  # pyright: ignore[reportArgumentType]

    def twice(buffers, x, v):
        # Two calls, as in a rollout: each has directions of its own.
        prefixed = {name.removeprefix("0."): buffer for name, buffer in buffers.items()}
        first = torch.func.functional_call(replicas[0][0], prefixed, (x, v))
        return torch.func.functional_call(replicas[0][0], prefixed, (first, v))

    together = torch.vmap(twice)(buffers, x, v)
    for k, replica in enumerate(replicas):
        key_noise(replica, 100 + k, 0)
        alone = replica[0](replica[0](x[k], v[k]), v[k])
        torch.testing.assert_close(together[k], alone, rtol=1e-6, atol=1e-6)
    key_noise(replicas[0], 100, 1)
    same = torch.equal(replicas[0][0](x[0], v[0]), replicas[0][0](x[0], v[0]))
    assert same == (settings.get("kind") == "mixing"), "mixing has no directions"
