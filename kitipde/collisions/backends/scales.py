"""Velocities of any size: their squares must not leave the range of the type.

Collisions do not depend on the unit of velocity: with v' those of v, s·v' are those of s·v. In float32 squares vanish
below 10⁻²³ and overflow above 10¹⁹, and with them all distances. Velocities below 2⁻⁴⁰ are therefore measured in units
of 2⁻⁸⁰, those above 2⁴⁰ in units of 2⁸⁰; powers of two cost no digit. All others are used as they are. In float64 the
exponents are eight times as large.
"""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["in_range", "norm", "ordinary", "unit", "unit_of"]


def ordinary(dtype: torch.dtype) -> float:
    """The largest size that is used as it is; the smallest is its inverse."""
    return 2.0**320 if dtype == torch.float64 else 2.0**40


def unit(size: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """What velocities of this size are measured in."""
    limit = ordinary(size.dtype)
    large = torch.where(size > limit, limit**2, torch.ones_like(size))
    return torch.where(size < 1 / limit, limit**-2, large)


def unit_of(v: Float[Tensor, "samples N *d"]) -> Float[Tensor, "samples 1 *ones"]:
    """What the velocities of each sample are measured in; nothing goes to the host."""
    return unit(v.abs().amax(tuple(range(1, v.ndim)), keepdim=True))


def in_range(
    a: Float[Tensor, "*E d"],
) -> tuple[Float[Tensor, "*E d"], Float[Tensor, "*E"], Float[Tensor, "*E 1"] | None]:
    """Each vector in its unit, its length in that unit, and the units; none if all are 1."""
    size, limit = torch.linalg.vector_norm(a, dim=-1), ordinary(a.dtype)
    if size.numel() == 0 or bool(((size > 1 / limit) & (size < limit)).all()):
        return a, size, None
    units = unit(a.abs().amax(-1, keepdim=True))
    a = a / units
    return a, torch.linalg.vector_norm(a, dim=-1), units


def norm(a: Float[Tensor, "*E d"]) -> Float[Tensor, "*E"]:
    """|a|, also of vectors whose squares leave the range of the type."""
    _, size, units = in_range(a)
    return size if units is None else size * units[..., 0]
