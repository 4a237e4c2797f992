"""Which parameters of a model are weights of neurons, and how a weight becomes particles.

A neuron is an output of a linear map; its particle is everything that feeds it, one vector of R^D. A weight tensor is
laid out as a matrix [N, D], the neurons first and the remaining axes in their order:

    dense          nn.Linear [N, in], and 1×1 convolutions [N, in, 1, …]                    D = in
    convolutional  nn.Conv1d/2d/3d [N, in/groups, *kernel]                                  D = in/groups·|kernel|
                   nn.ConvTranspose1d/2d/3d [in, N/groups, *kernel]: a neuron has its group's inputs
    spectral       [in, N, *modes] complex, or [in, N, *modes, 2] as pairs of real numbers  D = 2·in·|modes|

Complex weights are taken as pairs of real numbers: distances are those of C^D and cosines Re⟨a, b⟩/(|a||b|).
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from kitipde.errors import InputError, unknown

__all__ = ["KINDS", "Layer", "choose_layers", "find_layers", "from_blocks", "from_rows", "to_blocks", "to_rows"]

KINDS = ("dense", "convolutional", "spectral")
LAST_LINEAR = "last-linear"


@dataclass(frozen=True)
class Layer:
    """A weight whose neurons can collide.

    Attributes:
        name: of the parameter in the model.
        kind: `dense`, `convolutional`, `spectral`, or `other` for a parameter that was given with its axis.
        axis: the axis of the neurons in one network's weight.
        groups: of a transposed convolution: its inputs are split among them.
        neurons: N.
    """

    name: str
    kind: str
    axis: int
    groups: int
    neurons: int


def find_layers(model: nn.Module) -> list[Layer]:
    """All weights of neurons in a model, in the order of its modules; a weight that is shared appears once."""
    seen: set[int] = set()
    layers = []
    # A separable convolution has one number a channel and mode: no neuron has several weights there.
    apart = tuple(f"{name}." for name, module in model.named_modules() if getattr(module, "separable", False) is True)
    for prefix, module in model.named_modules():
        if f"{prefix}.".startswith(apart):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            found = _recognised(module, name, parameter)
            if found is not None:
                seen.add(id(parameter))
                kind, axis, groups = found
                neurons = parameter.shape[axis] * groups
                layers.append(Layer(f"{prefix}.{name}".lstrip("."), kind, axis, groups, neurons))
    return layers


def choose_layers(
    model: nn.Module, wanted: str | Sequence[str] | Mapping[str, int], trained: Collection[str]
) -> list[Layer]:
    """The layers that are asked for, as far as they have two neurons to collide.

    Args:
        model: where they are.
        wanted: `last-linear` (the last dense layer with more than one neuron), `all`, kinds, names or patterns of
            parameters or modules (a pattern may begin at any dot), several of these, or a mapping from a parameter's
            name to the axis of its neurons for a weight that is not recognised by itself.
        trained: names of the parameters that the optimizer has.

    Raises:
        InputError: nothing fits a name, or nothing that is trained has two neurons.
    """
    if isinstance(wanted, Mapping):
        return [_given(model, name, axis, trained) for name, axis in wanted.items()]
    known = [layer for layer in find_layers(model) if layer.name in trained and layer.neurons > 1]
    chosen: set[str] = set()
    for word in (wanted,) if isinstance(wanted, str) else wanted:
        fitting = list(_fitting(word, known))
        if not fitting and word not in ("all", LAST_LINEAR, *KINDS):
            raise unknown("layer", word, ["all", LAST_LINEAR, *KINDS, *(layer.name for layer in known)])
        chosen.update(fitting)
    if not chosen:
        raise InputError(
            f"layers={wanted}: the optimizer trains no such layer with two or more neurons; it has "
            f"{', '.join(f'{layer.name} ({layer.kind})' for layer in known) or 'none of any kind'}"
        )
    return [layer for layer in known if layer.name in chosen]


def to_rows(tensor: Tensor, layer: Layer) -> Float[Tensor, "replicas N D"]:
    """Weights or gradients [replicas, *shape] as particles, in float32 at least."""
    values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    working = torch.promote_types(values.dtype, torch.float32)
    if layer.groups > 1:
        values = values.unflatten(1, (layer.groups, values.shape[1] // layer.groups)).movedim(3, 2).flatten(1, 2)
        return values.flatten(2).to(working)
    return values.movedim(1 + layer.axis, 1).flatten(2).to(working)


def from_rows(rows: Float[Tensor, "replicas N D"], like: Tensor, layer: Layer) -> Tensor:
    """Particles as a tensor [replicas, *shape] of the shape, type and memory layout of `like`; inverse of `to_rows`."""
    values = torch.view_as_real(like) if like.is_complex() else like
    if layer.groups > 1:
        replicas, inputs, outputs, *kernel = values.shape
        split = rows.reshape(replicas, layer.groups, outputs, inputs // layer.groups, *kernel)
        moved = split.movedim(2, 3).flatten(1, 2)
    else:
        shape = values.movedim(1 + layer.axis, 1).shape
        moved = rows.reshape(shape).movedim(1, 1 + layer.axis)
    # Fused optimizers read gradients in the layout of the parameters.
    result = torch.empty_like(like)
    (torch.view_as_real(result) if like.is_complex() else result).copy_(moved)
    return result


def to_blocks(tensor: Tensor, layer: Layer) -> Float[Tensor, "replicas *block N D"]:
    """Weights or gradients [replicas, *shape] as particles whose coordinates may be spread over blocks.

    What lies before the axis of the neurons is a block axis, so that nothing is copied; unless products of N×N for each
    block would be larger than the tensor: then there is one block.
    """
    values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    before, after = math.prod(values.shape[1 : 1 + layer.axis]), math.prod(values.shape[2 + layer.axis :])
    if layer.groups > 1 or before == 1 or layer.neurons > after:
        return to_rows(tensor, layer)
    working = torch.promote_types(values.dtype, torch.float32)
    return values.reshape(len(values), before, layer.neurons, after).to(working)


def from_blocks(blocks: Float[Tensor, "replicas *block N D"], like: Tensor, layer: Layer) -> Tensor:
    """Particles as a tensor of the shape and type of `like`; inverse of `to_blocks`."""
    values = torch.view_as_real(like) if like.is_complex() else like
    if blocks.ndim == 3 and layer.axis > 0:
        return from_rows(blocks, like, layer)
    if blocks.dtype == values.dtype and like.is_contiguous():
        moved = blocks.reshape(values.shape)
        return torch.view_as_complex(moved) if like.is_complex() else moved
    result = torch.empty_like(like)
    (torch.view_as_real(result) if like.is_complex() else result).copy_(blocks.reshape(values.shape))
    return result


def _recognised(module: nn.Module, name: str, parameter: Tensor) -> tuple[str, int, int] | None:
    """Kind, axis of the neurons and groups of a parameter; None if it is no weight of neurons."""
    if isinstance(module, nn.Linear) and name == "weight":
        return "dense", 0, 1
    if isinstance(module, _ConvNd) and name == "weight":
        if isinstance(module, _ConvTransposeNd):
            return "convolutional", 1, module.groups
        pointwise = all(size == 1 for size in module.kernel_size) and module.groups == 1
        return ("dense" if pointwise else "convolutional"), 0, 1
    # Codes of Fourier operators store [in, out, *modes] under such names; a factorised weight has other ones.
    if not (name.startswith("weight") or name == "tensor"):
        return None
    if parameter.is_complex() and parameter.ndim >= 3:
        return "spectral", 1, 1
    modes = getattr(module, "modes", None)
    if isinstance(modes, tuple) and parameter.shape[-1] == 2 and parameter.ndim - 3 == len(modes):
        return "spectral", 1, 1
    return None


def _fitting(word: str, known: list[Layer]) -> Iterator[str]:
    if word == LAST_LINEAR:
        yield from [layer.name for layer in known if layer.kind == "dense"][-1:]
        return
    for layer in known:
        if word in ("all", layer.kind):
            yield layer.name
        elif word not in KINDS:
            module = layer.name.rpartition(".")[0]
            if any(fnmatchcase(name, form) for name in (layer.name, module) for form in (word, f"*.{word}")):
                yield layer.name


def _given(model: nn.Module, name: str, axis: int, trained: Collection[str]) -> Layer:
    """A layer that was named with the axis of its neurons."""
    parameters = dict(model.named_parameters())
    if name not in parameters or name not in trained:
        raise unknown("parameter", name, trained)
    shape = parameters[name].shape
    if not (0 <= axis < len(shape)) or shape[axis] < 2:
        raise InputError(f"layers: axis {axis} of {name} {list(shape)} is not one of two or more neurons")
    return Layer(name, "other", axis, 1, shape[axis])
