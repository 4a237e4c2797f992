"""What the recipes of all equations share: grids, and the words for settings and initial fields."""

from datagen.errors import InputError
from datagen.solvers.random_fields import FIELD_CONSTANTS

__all__ = [
    "FIELD",
    "FRAMES",
    "INTERVAL",
    "LENGTH",
    "RESOLUTION",
    "SOLVE_RESOLUTION",
    "field_text",
    "solve_grid",
]

# The help of settings that several equations have.
RESOLUTION = "Points per axis stored."
SOLVE_RESOLUTION = "Points per axis solved on; 0: as many as stored."
FRAMES = "Instants stored."
INTERVAL = "Time between frames; the first is one interval after the start."
LENGTH = "Side of the domain: a number, or 2pi."
FIELD = "Initial field: published (c = 2), unit (c = 1) or literal."


def solve_grid(resolution: int, solve_resolution: int, least: int) -> int:
    """The number of points to solve on: the one given, or the least multiple of what is stored that reaches `least`.

    Raises:
        InputError: the one given is not a multiple of what is stored.
    """
    if solve_resolution == 0:
        return resolution * -(-least // resolution)
    if solve_resolution < resolution or solve_resolution % resolution:
        raise InputError(f"solve resolution {solve_resolution} is not a multiple of resolution {resolution}")
    return solve_resolution


def field_text(constant: str) -> str:
    """The spectrum of the vorticity's initial field, in words for a file."""
    return (
        f"Gaussian field, E|w_k|^2 = {FIELD_CONSTANTS[constant]:g} (4 pi^2 |k|^2 + 49)^-2.5, "
        f"k counted on the domain (constant '{constant}')"
    )
