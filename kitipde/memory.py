"""Memory on a CPU: in which order a feature map [batch, channels, *grid] lies there, and when it is given back.

With the points first, [*grid, batch, channels], spectral convolutions and the maps that act on each point alone are
large matrix products without copies: what a CPU wants (`benchmarks/models.py`).
"""

import ctypes

from jaxtyping import Float
from torch import Tensor

__all__ = [
    "give_back_freed_memory",
    "has_points_first",
    "in_order",
    "keep_freed_memory",
    "ordered_like",
    "points_first",
]


def points_first(v: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch channels *grid"]:
    """The same field, which lies in memory as [*grid, batch, channels]; itself if it does already."""
    beside = v.permute(*range(2, v.ndim), 0, 1).contiguous()
    return beside.permute(-2, -1, *range(v.ndim - 2))


def in_order(tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The same numbers with the axes in the order of memory."""
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


def ordered_like(other: Float[Tensor, "*shape"], tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same tensor with the axes in the order that those of another have in memory; itself if they are so."""
    order = sorted(range(other.ndim), key=other.stride, reverse=True)
    return tensor.permute(order).contiguous().permute(sorted(range(other.ndim), key=order.__getitem__))


def has_points_first(v: Float[Tensor, "batch channels *grid"]) -> bool:
    """Whether a field lies in memory as [*grid, batch, channels]."""
    return v.permute(*range(2, v.ndim), 0, 1).is_contiguous()


def keep_freed_memory() -> None:
    """Every step frees the memory that the next one asks for: it had better not go back to the system in between.

    The GNU C library gives large blocks back at once, and new ones are filled with zeros page by page, which takes as
    long as a good part of a small network's work. Other systems have other ways and are left alone.
    """
    trim_threshold, mmap_threshold = -1, -3
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    set_option(trim_threshold, 2**31 - 1)
    # Older versions allow 32 MiB at most.
    if not set_option(mmap_threshold, 1 << 30):
        set_option(mmap_threshold, 1 << 25)


def give_back_freed_memory() -> None:
    """The system gets back what is free between blocks in use: after each of many large pieces of work.

    The GNU C library gives back what is free at the end of its heap alone. A small block that stays after each piece,
    as its errors do, keeps large holes between, which the blocks of the next piece need not fit: the process grows to
    a multiple of what it holds. Other systems have other ways and are left alone.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
