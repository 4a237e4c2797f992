"""Learning rate and length of the rollouts as functions of the moment: nothing to save, nothing to restore."""

import math

from kitipde.config import ScheduleConfig, TrainingConfig

__all__ = ["frames_wanted", "learning_rate"]


def learning_rate(schedule: ScheduleConfig, highest: float, moment: float, epochs: int) -> float:
    """The rate at a moment of a run.

    Args:
        schedule: its shape.
        highest: optimizer.learning_rate.
        moment: finished epochs; the fraction counts the finished steps of the current one.
        epochs: length of the run.
    """
    epoch = math.floor(moment)
    match schedule.name:
        case "constant":
            return highest
        case "step":
            return highest * schedule.factor ** (epoch // schedule.every)
        case "cosine":
            return highest * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        case "onecycle":
            return _one_cycle(schedule, highest, moment / epochs)


def frames_wanted(config: TrainingConfig, frames: int, step: int, steps: int) -> int:
    """How many frames a step predicts: `training.curriculum_frames` at first, then linearly more, at last all.

    Args:
        config: the curriculum.
        frames: all.
        step: finished steps of the run.
        steps: of the whole run.
    """
    if config.curriculum_frames is None:
        return frames
    first = min(config.curriculum_frames, frames)
    return first + math.floor((frames - first) * min(step / (config.curriculum_share * steps), 1.0))


def _one_cycle(schedule: ScheduleConfig, highest: float, done: float) -> float:
    """Half a cosine up, half a cosine down (Smith, Topin, Super-convergence, 2018)."""
    start = highest / schedule.start_divisor
    if done < schedule.rise:
        return _between(start, highest, done / schedule.rise)
    return _between(highest, start / schedule.end_divisor, min((done - schedule.rise) / (1 - schedule.rise), 1.0))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * share))
