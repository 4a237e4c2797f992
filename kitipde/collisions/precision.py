"""Matrix products that distances are taken from, in the precision of their type whatever the rest runs in.

Distances are small differences of large products: in TF32 or bfloat16 nothing of them would be left.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["full_precision", "gram"]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """In this block autocast and TF32 are off. Not for code that is compiled: see `gram`."""
    with torch.autocast(device.type, enabled=False), _exact_products():
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    try:
        held = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Whoever has spoken to torch in its newer words (`fp32_precision`) may not be spoken of in the older ones.
        with _exact_products_by_backend():
            yield
        return
    if held == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(held)


@contextmanager
def _exact_products_by_backend() -> Iterator[None]:
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # pyright: ignore[reportAttributeAccessIssue]
    held = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, held, strict=True):
            backend.fp32_precision = precision


def gram(points: Float[Tensor, "samples N d"]) -> Float[Tensor, "samples N N"]:
    """Products of all pairs, a_i·a_j, in full precision; a constant for the gradient."""
    return _gram(points)


@torch.library.custom_op("kitipde::gram", mutates_args=())
def _gram(points: Tensor) -> Tensor:
    with full_precision(points.device):
        return points @ points.mT


@_gram.register_fake
def _(points):
    return points.new_empty(*points.shape[:-1], points.shape[-2])


@_gram.register_vmap
def _(info, in_dims, points):
    points = points.movedim(in_dims[0], 0)
    return _gram(points.flatten(0, 1)).unflatten(0, points.shape[:2]), 0
