"""Condensation: how far the neurons of a layer have turned into one another's directions.

    ρ = 1/(N (N − 1)) Σ_{i≠j} |w_i·w_j| / (|w_i| |w_j|)                     a dense layer (definition I.1)
    ρ = the mean over the input channels z of that for w_{i,z}, w_{j,z}     a convolution (definition I.2)

with w_i what feeds neuron i, and w_{i,z} the part of its filter that reads channel z. 1×1 convolutions are dense
layers: their filters have one number for a channel, and any two of those are parallel. For spectral weights the
definition of convolutions is used, the modes standing for the points of the kernel; complex numbers count as pairs of
real ones. ρ is about √(2/(π D)) for D independent normal numbers in a neuron, and 1 if all neurons are parallel. A
neuron of zeros has the cosine 0.

References:
    KITINet, appendix I; KO, appendix B.1 for the order of heat maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.errors import InputError
from kitipde.optim.layers import Layer, find_layers, to_rows

__all__ = [
    "LayerCondensation",
    "clusters",
    "condensation",
    "cosine_matrix",
    "degree",
    "filter_degree",
    "neuron_weights",
    "ordered_cosines",
]

SIMILAR = 0.6
# Elements of the cosine matrices of several channels that are held at once.
CHUNK = 1 << 22


@dataclass(frozen=True)
class LayerCondensation:
    """How condensed a layer is.

    Attributes:
        name: of its weight.
        kind: `dense`, `convolutional` or `spectral`.
        neurons: N.
        degree: ρ by the definition for this kind of layer.
        whole: ρ of definition I.1 with everything that feeds a neuron in one vector; the same for dense layers.
        clusters: groups of neurons with cosines beyond ±0.6, opposite ones counted together; N if none are similar.
    """

    name: str
    kind: str
    neurons: int
    degree: float
    whole: float
    clusters: int


def condensation(model: nn.Module, state: Mapping[str, Tensor] | None = None) -> tuple[LayerCondensation, ...]:
    """The condensation of every layer with two or more neurons.

    Args:
        model: a network.
        state: weights by name in place of the model's own, such as those of a checkpoint.

    Raises:
        InputError: the state lacks a layer, or has one of another shape.
    """
    return tuple(_of_layer(layer, _weight(model, layer, state)) for layer in find_layers(model) if layer.neurons > 1)


def neuron_weights(model: nn.Module, name: str) -> Float[Tensor, "N D"]:
    """The weights of one layer, a neuron a row.

    Args:
        model: a network.
        name: of the parameter.
    """
    layers = {layer.name: layer for layer in find_layers(model)}
    if name not in layers:
        raise InputError(f"{name} is no weight of neurons; there are {', '.join(layers) or 'none'}")
    return to_rows(_weight(model, layers[name], None)[None], layers[name])[0]


def cosine_matrix(w: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch N N"]:
    """w_i·w_j / (|w_i| |w_j|) in float64; 0 where a neuron has no weights but zeros."""
    values = w.detach().double()
    largest = values.abs().amax(-1, keepdim=True)
    scaled = values / torch.where(largest > 0, largest, 1)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    unit = scaled / torch.where(length > 0, length, 1)
    return unit @ unit.mT


def degree(w: Float[Tensor, "N D"]) -> float:
    """ρ of definition I.1."""
    return float(_mean_off_diagonal(cosine_matrix(w).abs()))


def filter_degree(w: Float[Tensor, "N Z F"]) -> float:
    """ρ of definition I.2.

    Args:
        w: filters; of each neuron, for each input channel z the numbers of the kernel.
    """
    neurons, channels, _ = w.shape
    size = max(1, CHUNK // neurons**2)
    parts = [_mean_off_diagonal(cosine_matrix(part).abs()).sum() for part in w.transpose(0, 1).split(size)]
    return float(sum(parts)) / channels


def clusters(cosines: Float[Tensor, "N N"], similar: float = SIMILAR) -> tuple[tuple[int, ...], ...]:
    """Groups of neurons with similar directions, in the order in which heat maps show them (KO, appendix B.1).

    The first neuron that is left takes all that have a cosine above `similar` with it. If one that is left points
    against it, it is the next to do so; groups of opposite directions lie side by side.

    Args:
        cosines: the matrix of cosines.
        similar: from which cosine on two neurons belong together.
    """
    matrix = cosines.tolist()
    left = list(range(len(matrix)))
    groups = []
    reference = None
    while left:
        first = left[0]
        if reference is not None:
            first = next((j for j in left if matrix[reference][j] < -similar), first)
        group = (first, *(j for j in left if j != first and matrix[first][j] > similar))
        left = [j for j in left if j not in set(group)]
        groups.append(group)
        reference = first
    return tuple(groups)


def ordered_cosines(w: Float[Tensor, "N D"]) -> Float[np.ndarray, "N N"]:
    """The cosine matrix with similar neurons side by side."""
    cosines = cosine_matrix(w)
    order = [neuron for group in clusters(cosines) for neuron in group]
    return cosines[order][:, order].numpy()


def _of_layer(layer: Layer, weight: Tensor) -> LayerCondensation:
    rows = to_rows(weight[None], layer)[0]
    cosines = cosine_matrix(rows)
    whole = float(_mean_off_diagonal(cosines.abs()))
    # Everything but the neurons and their input channels is the kernel.
    channels = weight.shape[0] // layer.groups if layer.axis == 1 else weight.shape[1]
    by_kind = whole if layer.kind == "dense" else filter_degree(rows.unflatten(1, (channels, -1)))
    # Opposite neurons lie on one line: the matrix of absolute values joins them.
    return LayerCondensation(layer.name, layer.kind, layer.neurons, by_kind, whole, len(clusters(cosines.abs())))


def _weight(model: nn.Module, layer: Layer, state: Mapping[str, Tensor] | None) -> Tensor:
    own = dict(model.named_parameters())[layer.name].detach()
    if state is None:
        return own
    if layer.name not in state:
        raise InputError(f"the weights lack {layer.name}")
    given = state[layer.name].detach()
    if given.shape != own.shape:
        raise InputError(
            f"{layer.name} has the shape {list(given.shape)} in the weights, {list(own.shape)} in the model"
        )
    return given


def _mean_off_diagonal(matrices: Float[Tensor, "*batch N N"]) -> Float[Tensor, "*batch"]:
    neurons = matrices.shape[-1]
    diagonal = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (matrices.sum((-2, -1)) - diagonal) / (neurons * (neurons - 1))
