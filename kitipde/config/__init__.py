"""Settings: their schema, and how files, `--set` and flags become one resolved configuration."""

from kitipde.config.residual import ResidualConfig
from kitipde.config.schema import (
    DataConfig,
    FNOConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "DataConfig",
    "FNOConfig",
    "OptimizerConfig",
    "ResidualConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainingConfig",
]
