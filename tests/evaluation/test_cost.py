"""Counted operations against counts by hand."""

import pytest
import torch

from kitipde.config import RunConfig
from kitipde.evaluation.cost import run_cost
from kitipde.models import build_model, example_input
from kitipde.models.flops import count_flops
from kitipde.models.spectral import SpectralConv
from kitipde.problem.problem import Domain, Problem
from kitipde.runs import Run


class Transform(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(x), n=64)


class Product(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = torch.zeros(4, 5, 7, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("abd,bcd->acd", x, self.weight)


def test_a_real_transform_counts_half_of_5_n_log2_n_each_way():
    assert count_flops(Transform(), torch.zeros(3, 64)) == 2 * 3 * (5 * 64 * 6) // 2


def test_a_complex_product_counts_four_real_ones():
    real = count_flops(Product(torch.float32), torch.zeros(2, 4, 7))
    assert real == 2 * (2 * 4 * 5 * 7)
    assert count_flops(Product(torch.complex64), torch.zeros(2, 4, 7, dtype=torch.complex64)) == 4 * real


def test_a_linear_layer_counts_two_operations_a_weight_and_row():
    assert count_flops(torch.nn.Linear(10, 20, bias=False), torch.zeros(3, 10)) == 2 * 3 * 10 * 20


def test_a_spectral_convolution_counts_as_fast_transforms_on_a_cpu_too():
    # Both transforms of 8 channels, and 4 modes with a complex 8×8 matrix each.
    transforms = 2 * 8 * (5 * 64 * 6) // 2
    assert count_flops(SpectralConv(8, 8, (4,)), torch.zeros(1, 8, 64)) == transforms + 8 * 4 * 8 * 8
    # On the other axis the columns of the modes kept are transformed, forth and back.
    columns = 2 * 2 * 8 * 4 * (5 * 16 * 4)
    rows = 2 * 2 * 8 * 16 * (5 * 16 * 4) // 2
    assert count_flops(SpectralConv(8, 8, (4, 4)), torch.zeros(2, 8, 16, 16)) == rows + columns + 8 * 2 * 32 * 8 * 8


@pytest.mark.parametrize(("dimension", "points"), [(1, 64), (2, 16)])
def test_layers_joined_into_one_count_as_much_as_their_parts(dimension: int, points: int):
    config = RunConfig.model_validate({"model": {"modes": 4, "width": 8}})
    problem = Problem(("u0",), ("u",), (), (), 1, 1, Domain.square(points, dimension))
    model, inputs = build_model(config, problem).eval(), example_input(problem)
    joined = count_flops(model, *inputs)
    for part in model.modules():
        # What a hook watches is called on its own.
        if isinstance(part, SpectralConv):
            part.register_forward_hook(lambda *_: None)
    assert joined == count_flops(model, *inputs)


def test_the_cost_of_a_run_is_what_its_seeds_recorded(vanilla_run: Run):
    cost = run_cost(vanilla_run)
    facts = [replica.facts() for replica in vanilla_run.replicas]
    assert cost.parameters == facts[0]["parameters"]
    assert cost.seconds == sum(fact["seconds"] for fact in facts) / 3
    assert cost.flops is not None
    assert cost.flops > 0
