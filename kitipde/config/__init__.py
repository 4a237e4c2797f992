"""Settings: their schema, and how files, `--set` and flags become one resolved configuration."""

from kitipde.config.residual import ResidualConfig
from kitipde.config.schema import (
    AirfoilOFormerConfig,
    DataConfig,
    FNOConfig,
    NetworkConfig,
    OFormerConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "AirfoilOFormerConfig",
    "DataConfig",
    "FNOConfig",
    "NetworkConfig",
    "OFormerConfig",
    "OptimizerConfig",
    "ResidualConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainingConfig",
]
