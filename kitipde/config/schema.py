"""Every setting of a run, its range and its default."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from kitipde.config.data import DataConfig
from kitipde.config.networks import AirfoilOFormerConfig, FNOConfig, NetworkConfig, OFormerConfig
from kitipde.config.residual import ResidualConfig
from kitipde.config.section import Section
from kitipde.config.training import OptimizerConfig, ScheduleConfig, TrainingConfig

__all__ = [
    "AirfoilOFormerConfig",
    "DataConfig",
    "FNOConfig",
    "ModelConfig",
    "NetworkConfig",
    "OFormerConfig",
    "OptimizerConfig",
    "ResidualConfig",
    "RunConfig",
    "ScheduleConfig",
    "TrainingConfig",
]


def _named(given: Any) -> Any:
    """Settings of a model without its name are the FNO's."""
    return {"name": "fno", **given} if isinstance(given, dict) else given


ModelConfig = Annotated[
    FNOConfig | OFormerConfig | AirfoilOFormerConfig, Field(discriminator="name"), BeforeValidator(_named)
]


class RunConfig(Section):
    """Everything a training run depends on; saved with the run."""

    model: ModelConfig = FNOConfig()
    residual: ResidualConfig = ResidualConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
