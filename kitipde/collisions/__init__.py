"""Kinetic residuals: particles, their collisions (KITINet equations (2)-(5)), and what they do to a network."""

from kitipde.collisions.residual import check_particles, key_noise, make_residual, make_residuals
from kitipde.collisions.schedule import advance
from kitipde.collisions.statistics import CollisionStatistics, collect, gap_warning

__all__ = [
    "CollisionStatistics",
    "advance",
    "check_particles",
    "collect",
    "gap_warning",
    "key_noise",
    "make_residual",
    "make_residuals",
]
