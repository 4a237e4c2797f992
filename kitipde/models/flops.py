"""Floating-point operations of a model."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kitipde.models.transforms import fast_transforms

__all__ = ["count_flops"]


def count_flops(model: nn.Module, *inputs: torch.Tensor) -> int:
    """Floating-point operations of one forward pass: matrix products, convolutions and Fourier transforms.

    A transform of n points is counted as 5 n log2 n, half of that where one side is real (the split-radix convention);
    a complex multiplication and addition as 8. The count is the network's, on whatever device it is: what replaces
    transforms on a CPU is counted as the transforms.
    """
    aten = torch.ops.aten
    rules = {
        aten._fft_r2c: _real_fft,
        aten._fft_c2r: _real_inverse_fft,
        aten._fft_c2c: _complex_fft,
        aten.mm: _product,
        aten.bmm: _product,
        # Adds into its first argument: torch's counter knows the form alone that makes a new one.
        aten.addmm_: _added_product,
    }
    with torch.no_grad(), fast_transforms(), FlopCounterMode(display=False, custom_mapping=rules) as counter:
        model(*inputs)
    return int(counter.get_total_flops())


def _real_fft(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform(shape, dims) // 2


def _real_inverse_fft(shape: Sequence[int], dims: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return _transform(out_shape, dims) // 2


def _complex_fft(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform(shape, dims)


def _product(a: torch.Tensor, b: torch.Tensor, *_: Any, out_val: torch.Tensor, **__: Any) -> int:
    # torch counts a complex product like a real one.
    return out_val.numel() * a.shape[-1] * (8 if a.is_complex() else 2)


def _added_product(
    into: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *_: Any, out_val: torch.Tensor, **__: Any
) -> int:
    return _product(a, b, out_val=out_val)


# Asks the counter for tensors instead of their shapes: whether they are complex matters.
_product._get_raw = _added_product._get_raw = True  # pyright: ignore[reportFunctionMemberAccess]


def _transform(shape: Sequence[int], dims: Sequence[int]) -> int:
    points = math.prod(shape[dim] for dim in dims)
    return round(math.prod(shape) * 5 * math.log2(points)) if points > 1 else 0
