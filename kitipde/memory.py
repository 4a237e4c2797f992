"""In which order a feature map [batch, channels, *grid] lies in memory.

With the points first, [*grid, batch, channels], spectral convolutions and the maps that act on each point alone are
large matrix products without copies: what a CPU wants (`benchmarks/models.py`).
"""

from jaxtyping import Float
from torch import Tensor

__all__ = ["has_points_first", "in_order", "points_first"]


def points_first(v: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch channels *grid"]:
    """The same field, which lies in memory as [*grid, batch, channels]; itself if it does already."""
    beside = v.permute(*range(2, v.ndim), 0, 1).contiguous()
    return beside.permute(-2, -1, *range(v.ndim - 2))


def in_order(tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The same numbers with the axes in the order of memory."""
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


def has_points_first(v: Float[Tensor, "batch channels *grid"]) -> bool:
    """Whether a field lies in memory as [*grid, batch, channels]."""
    return v.permute(*range(2, v.ndim), 0, 1).is_contiguous()
