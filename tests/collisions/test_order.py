"""Feature maps with the points first in memory: the same collisions, and the same order afterwards."""

import pytest
import torch

from kitipde.collisions.rules import LAWS
from kitipde.memory import has_points_first, points_first
from tests.collisions.test_residual import features, residual


@pytest.mark.parametrize(
    "settings",
    [
        {"target_rate": 0.5},
        {"coll_coef": 0.9},
        {"noise": "gaussian"},
        {"target_rate": 0.5, "layout": "token", "collision_heads": 4},
        {"target_rate": 0.5, "layout": "token", "collision_heads": 2},
    ],
)
@pytest.mark.parametrize("second", ["points first", "channels first"])
def test_collisions_do_not_depend_on_the_order_of_a_feature_map_in_memory(settings, second, monkeypatch):
    # Without directions, whose numbers follow the coordinates.
    monkeypatch.setitem(LAWS, "kiti", LAWS["mixing"])
    module = residual(**{"collision_heads": 16, **({"coll_coef": 0.9} if "noise" in settings else {}), **settings})
    x, v = features(shape=(3, 8, 4, 6), dtype=torch.float64)
    # Near enough to collide.
    x, weights = 0.2 * x, x.roll(1, 0)
    results = []
    for order in (torch.clone, points_first):
        a, b = order(x).requires_grad_(), (order if second == "points first" else torch.clone)(v).requires_grad_()
        torch.manual_seed(0)
        out = module(a, b)
        assert has_points_first(out) == (order is points_first)
        results.append((out, *torch.autograd.grad((weights * out).sum(), (a, b))))
    assert not torch.equal(results[0][0], x + v)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_an_empty_batch_of_whole_points_adds():
    empty = points_first(torch.empty(0, 8, 16))
    assert residual(collision_heads=16, target_rate=0.05)(empty, empty).shape == empty.shape
