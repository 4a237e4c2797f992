"""The degree of condensation: the definitions written out, exact cases, and the clusters of known directions."""

import math

import pytest
import torch
from torch import nn

from kitipde.config import FNOConfig, ResidualConfig
from kitipde.errors import InputError
from kitipde.models.fno import FNO
from kitipde.optim.condensation import (
    clusters,
    condensation,
    cosine_matrix,
    degree,
    filter_degree,
    neuron_weights,
)
from kitipde.problem.problem import Domain


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_degree_is_definition_1():
    w = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = [abs(cosine(w[i], w[j])) for i in range(6) for j in range(6) if i != j]
    assert degree(w) == pytest.approx(sum(pairs) / 30)


def test_degree_of_filters_is_definition_2():
    w = torch.randn(5, 3, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = [abs(cosine(w[i, z], w[j, z])) for i in range(5) for j in range(5) if i != j for z in range(3)]
    assert filter_degree(w) == pytest.approx(sum(pairs) / (5 * 4 * 3))


def test_a_linear_layer_uses_the_first_definition_and_a_convolution_the_second():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv1d(4, 6, 1), nn.Linear(4, 6), nn.ConvTranspose2d(3, 5, 3))
    convolution, pointwise, linear, transposed = condensation(model)
    assert convolution.degree == pytest.approx(filter_degree(model[0].weight.flatten(2)))
    assert convolution.whole == pytest.approx(degree(model[0].weight.flatten(1)))
    assert pointwise.degree == pytest.approx(degree(model[1].weight.flatten(1)))
    assert linear.degree == pytest.approx(degree(model[2].weight))
    assert transposed.degree == pytest.approx(filter_degree(model[3].weight.transpose(0, 1).flatten(2)))


def test_spectral_neurons_are_compared_over_the_modes_of_each_channel():
    model = FNO(
        FNOConfig(modes=(3,), width=4, layers=1, projection_width=8), ResidualConfig(), 1, 1, Domain.square(16, 1)
    )
    found = {layer.name: layer for layer in condensation(model)}
    weight = model.convolutions[0].weight.detach()
    assert found["convolutions.0.weight"].kind == "spectral"
    assert found["convolutions.0.weight"].degree == pytest.approx(filter_degree(weight.transpose(0, 1).flatten(2)))


@pytest.mark.parametrize(("w", "expected"), [(torch.eye(4), 0.0), (torch.tensor([[1.0, 2], [-2, -4]]), 1.0)])
def test_orthogonal_neurons_have_0_and_parallel_ones_1(w, expected):
    assert degree(w) == pytest.approx(expected)


def test_independent_normal_weights_have_the_degree_of_random_directions():
    w = torch.randn(400, 50, generator=torch.Generator().manual_seed(1))
    assert degree(w) == pytest.approx(math.sqrt(2 / (math.pi * 50)), rel=0.02)


def test_neurons_without_weights_are_similar_to_none():
    assert degree(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])) == pytest.approx(2 / 6)


def test_cosines_do_not_depend_on_the_size_of_weights():
    w = torch.randn(3, 4)
    torch.testing.assert_close(cosine_matrix(w * 1e-30), cosine_matrix(w))


def test_clusters_are_the_directions_that_neurons_were_given():
    angles = torch.tensor([0.0, 90.0, 180.0, 3.0, 92.0, -177.0, 1.0]).deg2rad()
    w = torch.stack([angles.cos(), angles.sin()], 1)
    # Opposite directions side by side.
    assert clusters(cosine_matrix(w)) == ((0, 3, 6), (2, 5), (1, 4))
    model = nn.Linear(2, 7)
    model.weight.data.copy_(w)
    assert condensation(model)[0].clusters == 2


def test_every_neuron_is_in_one_cluster():
    groups = clusters(cosine_matrix(torch.randn(30, 2)))
    assert sorted(neuron for group in groups for neuron in group) == list(range(30))


def test_weights_of_a_checkpoint_take_the_place_of_the_models():
    model, other = nn.Linear(3, 4), nn.Linear(3, 4)
    assert condensation(model, other.state_dict()) == condensation(other)
    with pytest.raises(InputError, match="lack weight"):
        condensation(model, {})
    with pytest.raises(InputError, match="shape"):
        condensation(model, {"weight": torch.zeros(2, 3)})
    torch.testing.assert_close(neuron_weights(model, "weight"), model.weight.detach())
    with pytest.raises(InputError, match="no weight of neurons"):
        neuron_weights(model, "bias")
