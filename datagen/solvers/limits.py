"""What a machine and a solver can do at most, told before they try."""

import os
from collections.abc import Mapping

from datagen.errors import InputError
from datagen.words import size_text

__all__ = ["MOST_STEPS", "few_enough_steps", "fits_memory"]

MOST_STEPS = 7 * 2**19
"""Time steps between two frames: hours, even on the smallest grids."""


def few_enough_steps(steps: float, cause: str, remedy: str) -> None:
    """Raise `InputError` if there are too many time steps between two frames, with what asks for them."""
    if not steps <= MOST_STEPS:
        raise InputError(f"{cause} means {steps:.2g} time steps between frames (allowed: up to {MOST_STEPS}: {remedy})")


def fits_memory(needed: int, sizes: Mapping[str, int]) -> None:
    """Raise `InputError` if one sample is larger than the memory of this machine.

    Args:
        needed: bytes below which a sample cannot be solved.
        sizes: the options that this follows from.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        *first, last = (f"{name} {value}" for name, value in sizes.items())
        raise InputError(
            f"{', '.join(first)} and {last} need at least {size_text(needed)} of memory for one sample; "
            f"this machine has {size_text(there)}"
        )
