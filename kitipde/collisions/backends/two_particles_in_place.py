"""Collisions of a layer that computes x + v in one piece of memory, as `kitipde.models.cpu.joined` does on a CPU.

Such a layer writes the velocities v, adds the positions x to them, and has no x or v of its own for the gradient. That
is enough where nothing collides, and where two particles are a sample: of a collision only the differences X and V of
the two count (`couples`), and X = (X + V) − V. Nothing here goes over all points, so that few collisions cost little.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kitipde.collisions.backends.two_particles import (
    collide_differences,
    differences,
    gradients_of_differences,
    move_apart,
    those_that_did,
)
from kitipde.collisions.rules import Law, shares

__all__ = ["CouplesInSum", "SumInPlace"]

Places = Float[Tensor, "*grid batch channels"]


class SumInPlace:
    """x + v as it is: what a layer does where nothing collides, and what it tells the collisions where some do."""

    disturbs = False

    def see_velocities(
        self, velocities: Places, constant: Float[Tensor, "channels"], squares: Float[Tensor, ""]
    ) -> None:
        """Look at the velocities before positions are added to them.

        Args:
            velocities: v and a constant.
            constant: is a part of the positions, the same at all points.
            squares: Σ|v|², without the constant.
        """

    def collide(self, out: Places) -> None:
        """x + v becomes x* + v', in place."""

    def on_velocities(self, gradient: Places) -> None:
        """The gradient with respect to the result becomes that with respect to v, in place."""

    def on_positions(self, gradient: Places) -> Float[Tensor, "channels"] | float:
        """The gradient with respect to v becomes that with respect to x, in place; returns what its sum gains."""
        return 0.0

    def restore(self, gradient: Places) -> None:
        """The gradient becomes that with respect to the result again, to the bit."""


@dataclass
class CouplesInSum(SumInPlace):
    """Two particles at each point, `token` with d = C/2: some points' particles collide.

    Attributes:
        wanted: at which points, in the order of memory; those that are not finite, or have V = 0, do not.
        generator: source of the directions.
        law: what a collision does.
        update_position: False keeps x* = x.
        count: called with the statistics of the collisions, as `operator.collide` has them.
    """

    wanted: Int[Tensor, "wanted"]
    generator: torch.Generator
    law: Law
    update_position: bool
    count: Callable[[Float[Tensor, "4"]], None]
    disturbs = True

    def see_velocities(
        self, velocities: Places, constant: Float[Tensor, "channels"], squares: Float[Tensor, ""]
    ) -> None:
        self._velocity = differences(_as_couples(velocities), self.wanted).sub_(_apart(constant))
        self._speed = squares.sqrt()

    def collide(self, out: Places) -> None:
        points = _as_couples(out)

        def apart(part: slice) -> tuple[Tensor, Tensor]:
            velocity = self._velocity[part]
            return differences(points, self.wanted[part]).sub_(velocity), velocity

        rest = self.law, 1.0, self.update_position, points
        happened, gained, kept = collide_differences(
            apart, out.shape[-1] // 2, self.wanted, [len(self.wanted)], [self.generator], *rest
        )
        particles, collided = 2 * (out.numel() // out.shape[-1]), 2 * int(happened.sum())
        # What the one gains in momentum the other loses, to the bit.
        self.count(shares(particles, self._speed, collided, collided, out.new_zeros(()), gained.sum()))
        self._sample, self._kept = those_that_did(happened, self.wanted, kept)
        del self._velocity, self._speed

    def on_velocities(self, gradient: Places) -> None:
        self._before = gradient.view(-1, gradient.shape[-1]).index_select(0, self._sample)
        self._on_positions = []

        def apart(part: slice) -> Tensor:
            return _apart(self._before[part])

        terms = gradients_of_differences(apart, len(self._sample), self._kept, self.law, 1.0)
        for part, on_position, on_velocity in terms:
            move_apart(_as_couples(gradient), self._sample[part], on_velocity)
            self._on_positions.append((part, (on_position if self.update_position else 0.0) - on_velocity))

    def on_positions(self, gradient: Places) -> Float[Tensor, "channels"] | float:
        change = gradient.new_zeros(gradient.shape[-1] // 2)
        for part, term in self._on_positions:
            move_apart(_as_couples(gradient), self._sample[part], term)
            change += term.sum(0)
        del self._on_positions
        return torch.stack([change, -change], 1).flatten()

    def restore(self, gradient: Places) -> None:
        gradient.view(-1, gradient.shape[-1])[self._sample] = self._before
        del self._before


def _apart(channels: Float[Tensor, "*E channels"]) -> Float[Tensor, "*E d"]:
    """First minus second of the two particles that the channels of a point are."""
    return channels[..., 0::2] - channels[..., 1::2]


def _as_couples(places: Places) -> Float[Tensor, "samples 2 d"]:
    """The two particles of each point, as `particles.to_particles` has them in the token layout."""
    return places.view(-1, places.shape[-1] // 2, 2).transpose(1, 2)
