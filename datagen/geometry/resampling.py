"""Fewer grid points of a periodic field: by stride, as the published data were reduced, or by spectral truncation."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from datagen.errors import InputError, unknown

__all__ = ["Method", "check_grid", "downsample"]

Method = Literal["stride", "spectral"]


def check_grid(grid: Sequence[int], target: Sequence[int], method: str) -> None:
    """Refuse a target grid that the method cannot reach.

    Raises:
        InputError: an unknown method, a target finer than the grid or below one point, or — by stride — one that does
            not divide it; the message lists those that do.
    """
    if method not in ("stride", "spectral"):
        raise unknown("down-sampling method", method, ("stride", "spectral"))
    for points, wanted in zip(grid, target, strict=True):
        if not 1 <= wanted <= points:
            raise InputError(f"resolution {wanted} is not on a grid of {points} points (allowed: 1 to {points})")
        if method == "stride" and points % wanted:
            divisors = ", ".join(str(divisor) for divisor in range(1, points + 1) if points % divisor == 0)
            raise InputError(
                f"resolution {wanted} does not divide the grid of {points} points (those that do: {divisors})"
            )


def downsample(
    array: Float[np.ndarray, "..."], grid: Sequence[int], method: Method = "stride"
) -> Float[np.ndarray, "..."]:
    """The last axes of an array, reduced to a smaller grid.

    "stride" keeps every s-th point. "spectral" keeps the modes |k| < grid/2 of the trigonometric interpolant and
    evaluates them on the new grid: no aliasing, and any smaller grid is possible.

    Args:
        array: values on a uniform periodic grid; the last `len(grid)` axes are space.
        grid: points wanted on each of them.
        method: "stride" or "spectral".

    Returns:
        An array of the same dtype; a view for "stride".

    Raises:
        InputError: see `check_grid`.
    """
    current = array.shape[array.ndim - len(grid) :]
    check_grid(current, grid, method)
    if tuple(current) == tuple(grid):
        return array
    if method == "stride":
        strides = tuple(slice(None, None, points // wanted) for points, wanted in zip(current, grid, strict=True))
        return array[(..., *strides)]
    return _truncate(array, grid)


def _truncate(array: Float[np.ndarray, "..."], grid: Sequence[int]) -> Float[np.ndarray, "..."]:
    result = array.astype(np.float64)
    for axis, wanted in zip(range(array.ndim - len(grid), array.ndim), grid, strict=True):
        if result.shape[axis] == wanted:
            continue
        spectrum = np.fft.rfft(result, axis=axis, norm="forward")
        # On an even grid the mode k = n/2 has no partner −k: half a mode is not a function, so it goes too.
        kept = [slice(None)] * array.ndim
        kept[axis] = slice(0, (wanted - 1) // 2 + 1)
        result = np.fft.irfft(spectrum[tuple(kept)], n=wanted, axis=axis, norm="forward")
    return result.astype(array.dtype)
