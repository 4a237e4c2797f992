"""Learning rate as a function of the epoch: nothing to save, nothing to restore."""

import math

from kitipde.config import ScheduleConfig

__all__ = ["learning_rate"]


def learning_rate(schedule: ScheduleConfig, initial: float, epoch: int, epochs: int) -> float:
    """The rate of epoch `epoch` (from 0) in a run of `epochs`."""
    match schedule.name:
        case "constant":
            return initial
        case "step":
            return initial * schedule.factor ** (epoch // schedule.every)
        case "cosine":
            return initial * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
