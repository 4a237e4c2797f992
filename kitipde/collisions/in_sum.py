"""Collisions of a layer that computes x + v in one piece of memory, as `kitipde.models.joined` does on a CPU.

Such a layer writes the velocities v, adds the positions x to them, and has no x or v of its own for the gradient. That
is enough where nothing collides, and where two particles are a sample: of a collision only the differences X and V of
the two count (`couples`), and X = (X + V) − V.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.couples import (
    collide_differences,
    differences,
    gradients_of_differences,
    move_apart,
    those_that_did,
)
from kitipde.collisions.operator import Law, extent, shares

__all__ = ["CouplesInSum", "SumInPlace"]

Places = Float[Tensor, "*grid batch channels"]


class SumInPlace:
    """x + v as it is: what a layer does where nothing collides, and what it tells the collisions where some do."""

    disturbs = False

    def see_velocities(self, v: Places) -> None:
        """Look at the velocities before positions are added to them."""

    def collide(self, out: Places) -> None:
        """x + v becomes x* + v', in place."""

    def on_velocities(self, gradient: Places) -> Places:
        """The gradient with respect to v, from that with respect to the result, which stays as it is."""
        return gradient

    def on_positions(self, on_velocities: Places) -> Places:
        """The gradient with respect to x, from that with respect to v, which may be written over."""
        return on_velocities


@dataclass
class CouplesInSum(SumInPlace):
    """Two particles at each point, `token` with d = C/2: some points' particles collide.

    Attributes:
        wanted: at which points, in the order of memory; those that are not finite, or have V = 0, do not.
        generator: source of the directions.
        law: what a collision does.
        update_position: False keeps x* = x.
        count: told the statistics of the collisions, as `operator.collide` has them.
    """

    wanted: Int[Tensor, "wanted"]
    generator: torch.Generator
    law: Law
    update_position: bool
    count: Callable[[Float[Tensor, "4"]], None]
    disturbs = True

    def see_velocities(self, v: Places) -> None:
        points = _as_couples(v)
        self._velocity, self._extent = differences(points, self.wanted), extent(points)

    def collide(self, out: Places) -> None:
        points = _as_couples(out)

        def apart(part: slice) -> tuple[Tensor, Tensor]:
            velocity = self._velocity[part]
            return differences(points, self.wanted[part]).sub_(velocity), velocity

        rest = self.law, 1.0, self.update_position, points
        happened, gained, kept = collide_differences(
            apart, out.shape[-1] // 2, self.wanted, [len(self.wanted)], [self.generator], *rest
        )
        collided = 2 * int(happened.sum())
        # What the one gains in momentum the other loses, to the bit.
        self.count(shares(*self._extent, collided, collided, out.new_zeros(()), gained.sum()))
        self._sample, self._kept = those_that_did(happened, self.wanted, kept)
        del self._velocity

    def on_velocities(self, gradient: Places) -> Places:
        changed = gradient.clone()
        points, self._rest = _as_couples(changed), []
        terms = gradients_of_differences(_as_couples(gradient), self._sample, self._kept, self.law, 1.0)
        for part, on_position, on_velocity in terms:
            move_apart(points, part, on_velocity)
            self._rest.append((part, (on_position if self.update_position else 0.0) - on_velocity))
        return changed

    def on_positions(self, on_velocities: Places) -> Places:
        points = _as_couples(on_velocities)
        for part, rest in self._rest:
            move_apart(points, part, rest)
        del self._rest
        return on_velocities


def _as_couples(places: Places) -> Float[Tensor, "samples 2 d"]:
    """The two particles of each point, as `particles.to_particles` has them in the token layout."""
    return places.view(-1, places.shape[-1] // 2, 2).transpose(1, 2)
