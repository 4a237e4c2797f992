"""How far a replica has come, and the data that training may see."""

import math
from dataclasses import dataclass, fields
from typing import Any

from kitipde.data.mesh import MeshWindows
from kitipde.data.windows import Windows

__all__ = ["Standing", "TrainingData"]


@dataclass(frozen=True)
class TrainingData:
    """The two splits that training may see."""

    train: Windows | MeshWindows
    validation: Windows | MeshWindows


@dataclass
class Standing:
    """How far one replica has come; part of each saved state.

    Attributes:
        best_loss: lowest validation loss so far.
        best_epoch: the epoch (from 1) that had it.
        seconds: its share of the time of the finished epochs.
        warned: whether the gap between collisions on and off has been told.
    """

    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    warned: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            if type(getattr(self, each.name)) is not each.type:
                raise TypeError(f"{each.name} is {getattr(self, each.name)!r}")

    def facts(self, epochs: int) -> dict[str, Any]:
        """What `facts.json` says of it after some epochs."""
        return {
            "best_epoch": self.best_epoch,
            "best_validation_loss": self.best_loss if self.best_epoch else None,
            "seconds": self.seconds,
            "seconds_per_epoch": self.seconds / epochs if epochs else None,
        }
