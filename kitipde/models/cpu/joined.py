"""A Fourier layer whose residual addition costs nothing: matrix products that add to what is there.

    y = F⁻¹[ M(k) F[h](k) ] + W h + b

On a CPU a good part of a step is sums over whole feature maps: the bias, the residual addition, the two gradients of h,
the gradient of b (`benchmarks/models.py`). Here the bias is a part of the mean's mode, where its gradient is found too,
and the second product, of the linear map forwards and of the transform backwards, adds to the result of the first.

Collisions, if there are any, see the velocities before positions are added to them, change the sum in its place, and
do the same to the gradient (`kitipde.collisions.backends.two_particles_in_place`).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.collisions.backends.two_particles_in_place import SumInPlace
from kitipde.memory import has_points_first, points_first
from kitipde.models.cpu.pointwise import PointwiseLinear
from kitipde.models.spectral import SpectralConv
from kitipde.models.transforms import (
    Modes,
    add_to_grid,
    kept_modes,
    prefers_sums,
    sum_of_squares,
    sum_to_modes,
    to_grid,
    to_modes,
)

__all__ = ["can_join", "joined"]

# Fields of fewer digits are transformed in float32, apart from the linear map.
_WHOLE = (torch.float32, torch.float64)


def can_join(h: Float[Tensor, "batch channels *grid"], *modules: nn.Module) -> bool:
    """Whether a layer may be computed as one: on a CPU, where nobody wants to see its parts.

    Compilers and functional transforms follow the parts better, autocast chooses a precision for each, and hooks on one
    of these modules are for what it returns.
    """
    if not prefers_sums(h) or h.dtype not in _WHOLE or h.numel() == 0 or not has_points_first(h):
        return False
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or _transformed():
        return False
    return not any(each._forward_hooks or each._forward_pre_hooks for module in modules for each in module.modules())


def joined(
    h: Float[Tensor, "batch in_channels *grid"], skip: nn.Module, convolution: SpectralConv, collisions: SumInPlace
) -> Float[Tensor, "batch out_channels *grid"]:
    """W h + b + K h after its collisions; h has the points first in memory, and so has the result.

    Args:
        h: a feature map for which `can_join` holds.
        skip: W and b, a `PointwiseLinear` or a module around one.
        convolution: K.
        collisions: of this call.
    """
    linear = next(module for module in skip.modules() if isinstance(module, PointwiseLinear))
    modes = kept_modes(h.shape[2:], convolution.modes)
    weight, matrices = linear.weight.squeeze(-1), convolution.matrices(modes, h.dtype)
    return _Joined.apply(h, weight, linear.bias, matrices, modes, collisions)  # pyright: ignore[reportReturnType]


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, matrices: Tensor, modes: Modes, collisions: SumInPlace
    ) -> Tensor:
        places, channels = _places(h), len(weight)
        spectrum = sum_to_modes(h, modes).flatten(2)
        mapped = torch.bmm(spectrum, matrices).unflatten(2, (2, channels))
        y = h.new_empty(*places.shape[:-1], channels)
        squares = sum_of_squares(mapped, modes) if collisions.disturbs else None
        mapped[modes.mean, :, 0] += bias
        add_to_grid(y, mapped, modes, anew=True)
        if squares is not None:
            collisions.see_velocities(y, bias, squares)
        y.view(-1, channels).addmm_(places.view(-1, places.shape[-1]), weight.mT)
        collisions.collide(y)
        ctx.save_for_backward(h, weight, bias, matrices, spectrum)
        ctx.modes, ctx.collisions = modes, collisions
        return _features(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        h, weight, bias, matrices, spectrum = ctx.saved_tensors
        modes, collisions = ctx.modes, ctx.collisions
        if torch.is_grad_enabled():
            return *_twice_differentiable(h, weight, bias, matrices, modes, collisions, gradient), None, None
        # What is given is others' too, and is as it was when this returns; who counts its versions need not know.
        gradient = _places(points_first(gradient).data)
        collisions.on_velocities(gradient)
        on_mapped = sum_to_modes(_features(gradient), modes, adjoint=True)
        on_constant = on_mapped[modes.mean, :, 0].sum(0)
        on_mapped = on_mapped.flatten(2)
        on_spectrum = torch.bmm(on_mapped, matrices.mT).unflatten(2, (2, -1))
        on_matrices = torch.bmm(spectrum.mT, on_mapped)
        on_bias = on_constant + collisions.on_positions(gradient)
        on_x = gradient.flatten(0, -2)
        on_weight = on_x.mT @ _places(h).flatten(0, -2)
        on_h = (on_x @ weight).view(*gradient.shape[:-1], -1)
        collisions.restore(gradient)
        add_to_grid(on_h, on_spectrum, modes, adjoint=True)
        return _features(on_h), on_weight, on_bias, on_matrices, None, None


def _twice_differentiable(
    h: Tensor, weight: Tensor, bias: Tensor, matrices: Tensor, modes: Modes, collisions: SumInPlace, gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients by operations that have some themselves."""
    if collisions.disturbs:
        raise NotImplementedError("collisions can be differentiated once")
    mapped = torch.bmm(to_modes(h, modes).flatten(2), matrices).unflatten(2, (2, -1))
    y = to_grid(mapped, modes, True) + torch.einsum("oi,bi...->bo...", weight, h) + bias.view(-1, *(1,) * (h.ndim - 2))
    # Of a frozen network, or a part of one, some need none.
    given = (h, weight, bias, matrices)
    found = iter(torch.autograd.grad(y, [each for each in given if each.requires_grad], gradient, create_graph=True))
    return tuple(next(found) if each.requires_grad else None for each in given)


def _transformed() -> bool:
    """Whether this happens inside of `vmap`, `grad`, … of `torch.func`, which has no public question for it."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]


def _places(features: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "*grid batch channels"]:
    """The axes in the order of memory."""
    return features.permute(*range(2, features.ndim), 0, 1)


def _features(places: Float[Tensor, "*grid batch channels"]) -> Float[Tensor, "batch channels *grid"]:
    return places.permute(-2, -1, *range(places.ndim - 2))
