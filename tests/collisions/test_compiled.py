"""Collisions in compiled graphs: the same numbers as without, and one graph for batches of any size."""

import pytest
import torch

from kitipde.collisions.statistics import collect
from tests.collisions.test_residual import features, residual


@pytest.mark.parametrize("layout", ["flat", "token"])
def test_compiled_once_for_batches_of_any_size(layout):
    module = residual(layout=layout, target_rate=0.5, noise="gaussian")
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for batch in (2, 5, 3):
        x, v = features(shape=(batch, 8, 16))
        results = []
        for call in (module, compiled):
            torch.manual_seed(4)
            results.append(call(x, v))
        torch.testing.assert_close(*results)


@pytest.mark.parametrize("settings", [{"coll_coef": 0.9}, {"target_rate": 0.3}])
def test_compiled_without_graph_breaks_gives_the_same(settings):
    x, v = features()
    module = residual(**settings)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    results = []
    for call in (module, compiled):
        a, b = x.clone().requires_grad_(), v.clone().requires_grad_()
        torch.manual_seed(4)
        out = call(a, b)
        out.square().sum().backward()
        results.append((out.detach(), a.grad, b.grad, collect(module)[0]))
    for eager, graph in zip(*results, strict=True):
        if isinstance(eager, torch.Tensor):
            torch.testing.assert_close(eager, graph)
        else:
            assert eager == graph
