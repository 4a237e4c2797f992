"""Random numbers that are a function of a key and a place, and of nothing else.

Place i of key s gets the bits of SplitMix64's output function at s' + (i + 1)·γ, s' the same function of s and γ its
odd constant. Plain arithmetic: replicas under `torch.func.vmap` have the numbers that each would have alone, compiled
graphs hold no state, and nothing goes to the host.

References:
    Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014, section 5.
    Box, Muller, A Note on the Generation of Random Normal Deviates, 1958.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["ROUNDING", "normal_like", "uniform", "uniform_like"]

# Turns the key of a call's directions into that of its roundings.
ROUNDING = 0x5DEECE66D

# The published constants as signed 64-bit numbers, whose products overflow as unsigned ones do.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def uniform_like(key: Int[Tensor, ""], like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Independent numbers, uniform in [0, 1)."""
    return uniform(key, like.numel(), like.dtype).reshape(like.shape)


def normal_like(key: Int[Tensor, ""], like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Independent standard normal numbers, two from the halves of each 64 bits."""
    count = like.numel()
    bits = _bits(key, (count + 1) // 2)
    precise = _working(like.dtype)
    # The first is in (0, 1]: its logarithm is finite.
    radius = (-2 * ((_shifted(bits, 32) + 1).to(precise) * 2.0**-32).log()).sqrt()
    angle = (bits & 0xFFFFFFFF).to(precise) * (2 * math.pi * 2.0**-32)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()])
    return both[:count].to(like.dtype).reshape(like.shape)


def uniform(key: Int[Tensor, ""], count: int, dtype: torch.dtype) -> Float[Tensor, "count"]:
    """Independent numbers, uniform in [0, 1), multiples of 2^-53 in float64 and of 2^-24 else."""
    if dtype == torch.float64:
        return _shifted(_bits(key, count), 11).to(dtype) * 2.0**-53
    # Two of 24 digits from each 64 bits.
    bits = _bits(key, (count + 1) // 2)
    both = torch.cat([_shifted(bits, 40).to(torch.float32), (bits & 0xFFFFFF).to(torch.float32)])
    return (both[:count] * 2.0**-24).to(dtype)


def _working(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _bits(key: Tensor, count: int) -> Tensor:
    places = torch.arange(1, count + 1, device=key.device)
    return _mixed(_mixed(key) + places * _GOLDEN)


def _mixed(z: Tensor) -> Tensor:
    for places, factor in ((30, _FIRST), (27, _SECOND)):
        z = _shifted(z, places).bitwise_xor_(z).mul_(factor)
    return _shifted(z, 31).bitwise_xor_(z)


def _shifted(z: Tensor, places: int) -> Tensor:
    """A shift to the right that fills with zeros, where torch's repeats the sign."""
    return (z >> places).bitwise_and_((1 << (64 - places)) - 1)
