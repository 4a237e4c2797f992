"""Matrix products in the precision of their type, whatever the rest of a network runs in.

Distances are small differences of large products: in TF32 or bfloat16 nothing of them would be left. Sums over partners
conserve momentum only if what one particle gains and another loses is rounded alike.

`full_precision` is for code that runs as it is read. What compilers and functional transforms follow calls `product`,
`gram` and `solve_upper` instead, which they do not look into.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["full_precision", "gram", "product", "solve_upper"]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """In this block autocast and TF32 are off. Not for code that is compiled."""
    with torch.autocast(device.type, enabled=False), _exact_products():
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # pyright: ignore[reportAttributeAccessIssue]
    # Releases of torch before 2.9 have one setting for all.
    backends = [backend for backend in backends if hasattr(backend, "fp32_precision")]
    for_each = [backend.fp32_precision for backend in backends]
    try:
        for_all = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Not to be asked of a process in which `fp32_precision` has been set.
        for_all = None
    if for_all == "highest" and not {"tf32", "bf16"} & set(for_each):
        yield
        return
    try:
        if for_all is not None:
            torch.set_float32_matmul_precision("highest")
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        if for_all is not None:
            torch.set_float32_matmul_precision(for_all)
        # The setting for all sets these too, also one that was different: `allow_tf32` is for CUDA alone.
        for backend, precision in zip(backends, for_each, strict=True):
            backend.fp32_precision = precision


def gram(points: Float[Tensor, "samples N d"]) -> Float[Tensor, "samples N N"]:
    """Products of all pairs, a_i·a_j, in full precision; a constant for the gradient."""
    points = points.detach()
    return _product(points, points.mT)


def product(a: Float[Tensor, "*batch n k"], b: Float[Tensor, "*batch k m"]) -> Float[Tensor, "*batch n m"]:
    """The matrix product a b in full precision, and so are its gradients."""
    return _Product.apply(a, b)  # pyright: ignore[reportReturnType]


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return _product(a, b)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        a, b = ctx.saved_tensors
        on_a = product(gradient, b.mT) if ctx.needs_input_grad[0] else None
        return on_a, product(a.mT, gradient) if ctx.needs_input_grad[1] else None


def solve_upper(a: Float[Tensor, "*batch n n"], b: Float[Tensor, "*batch n m"]) -> Float[Tensor, "*batch n m"]:
    """x of a x = b for an upper triangular a, in full precision; a constant for the gradient."""
    return _solve_upper(a.detach(), b.detach())


def _opaque(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of two stacks of matrices as an operator that runs in full precision."""

    def exact(a: Tensor, b: Tensor) -> Tensor:
        with full_precision(a.device):
            return function(a, b).contiguous()

    def fake(a: Tensor, b: Tensor) -> Tensor:
        return a.new_empty(*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])

    def batched(info: object, in_dims: tuple[int | None, int | None], a: Tensor, b: Tensor) -> tuple[Tensor, int]:
        # What is not stacked lacks the first axis, which is then the same for all.
        a, b = (each if axis is None else each.movedim(axis, 0) for each, axis in zip((a, b), in_dims, strict=True))
        return operator(a, b), 0

    name = f"kitipde::{function.__name__.strip('_')}"
    operator = torch.library.custom_op(name, exact, mutates_args=(), schema="(Tensor a, Tensor b) -> Tensor")
    operator.register_fake(fake)
    operator.register_vmap(batched)
    return operator


@_opaque
def _product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@_opaque
def _solve_upper(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(a, b, upper=True)
