"""Optimizers: collisions between the gradients of neurons (KO), over any torch optimizer."""

from kitipde.optim.ko import KO, with_collisions

__all__ = ["KO", "with_collisions"]
