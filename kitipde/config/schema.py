"""Every setting of a run, its range and its default."""

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, create_model

from kitipde.config.data import DataConfig
from kitipde.config.networks import AirfoilOFormerConfig, FNOConfig, NetworkConfig, OFormerConfig, settings_of
from kitipde.config.residual import ResidualConfig
from kitipde.config.section import Section
from kitipde.config.training import OptimizerConfig, ScheduleConfig, TrainingConfig

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
    "schema_for",
]


def _of_its_network(given: Any) -> Any:
    """Settings of a network are read by its own class; without a name they are the FNO's."""
    if not isinstance(given, dict):
        return given
    return settings_of(str(given.get("name", "fno"))).model_validate(given)


class RunConfig(Section):
    """Everything a training run depends on; saved with the run."""

    model: Annotated[SerializeAsAny[NetworkConfig], BeforeValidator(_of_its_network)] = FNOConfig()
    residual: ResidualConfig = ResidualConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()


@lru_cache
def schema_for(network: str) -> type[RunConfig]:
    """The settings of a run with a network, in which each of its keys has its place.

    Raises:
        InputError: there is no such network.
    """
    own = settings_of(network)
    return create_model("RunConfig", __base__=RunConfig, model=(own, own(name=network)))
