"""How far a replica has come, and the data that training may see."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from kitipde.config import TrainingConfig
from kitipde.problem.statistics import FieldStatistics
from kitipde.problem.windows import Windows

__all__ = ["Standing", "TrainingData"]


@dataclass(frozen=True)
class TrainingData:
    """The two splits that training may see."""

    train: Windows
    validation: Windows

    @cached_property
    def inputs(self) -> tuple[FieldStatistics, ...]:
        """Of each input of the training split."""
        return tuple(FieldStatistics.of(field) for field in self.train.inputs.unbind(2))

    @cached_property
    def targets(self) -> tuple[FieldStatistics, ...]:
        """Of each target of the training split."""
        return tuple(FieldStatistics.of(field) for field in self.train.targets.unbind(2))

    @cached_property
    def context(self) -> tuple[FieldStatistics, ...]:
        """Of each static field and parameter of the training split."""
        return tuple(FieldStatistics.of(field[:, None]) for field in self.train.context.unbind(1))


@dataclass
class Standing:
    """How far one replica has come; part of each saved state.

    Attributes:
        best_loss: lowest validation loss so far.
        best_epoch: the epoch (from 1) that had it; 0 if it is that of the weights which training started from.
        start_loss: validation loss of another run's weights, where training started from them.
        seconds: its share of the time of the finished epochs.
        warned: whether the gap between collisions on and off has been told.
    """

    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    warned: bool = False
    start_loss: float = math.inf

    @property
    def has_best(self) -> bool:
        """Whether any weights have been validated."""
        return self.best_loss < math.inf

    def __post_init__(self) -> None:
        for each in fields(self):
            if type(getattr(self, each.name)) is not each.type:
                raise TypeError(f"{each.name} is {getattr(self, each.name)!r}")

    def check(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Whether a run of `epochs` epochs of `steps` steps can have been saved with this at such an epoch and step.

        Raises:
            ValueError: if not.
        """
        for count, most in ((epoch, epochs), (step, steps)):
            if type(count) is not int or not 0 <= count <= most:
                raise ValueError(f"it was saved at epoch {epoch}, step {step}")
        first = min(epoch, 1) if math.isinf(self.start_loss) else 0
        if not first <= self.best_epoch <= epoch:
            raise ValueError(f"its best epoch is {self.best_epoch} of {epoch}")

    def stopped(self, training: TrainingConfig, epoch: int) -> bool:
        """Whether the validation loss has not fallen for `training.patience` epochs, after so many."""
        waited = epoch - self.best_epoch
        return training.patience is not None and training.validates(epoch) and waited >= training.patience

    def facts(self, epochs: int) -> dict[str, Any]:
        """What `facts.json` says of it after some epochs."""
        return {
            "best_epoch": self.best_epoch,
            "best_validation_loss": self.best_loss if self.has_best else None,
            "start_validation_loss": self.start_loss if math.isfinite(self.start_loss) else None,
            "seconds": self.seconds,
            "seconds_per_epoch": self.seconds / epochs if epochs else None,
        }
