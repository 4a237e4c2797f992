"""Settings: their schema, and how files, `--set` and flags become one resolved configuration."""

from kitipde.config.residual import ResidualConfig
from kitipde.config.schema import (
    DataConfig,
    FNOConfig,
    ModelConfig,
    OFormerConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "DataConfig",
    "FNOConfig",
    "ModelConfig",
    "OFormerConfig",
    "OptimizerConfig",
    "ResidualConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainingConfig",
]
