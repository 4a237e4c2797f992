"""Neural operators, made from a run's settings."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.config import AirfoilOFormerConfig, FNOConfig, ModelConfig, OFormerConfig, RunConfig
from kitipde.errors import InputError
from kitipde.models.fno import FNO
from kitipde.models.mesh import PUBLISHED_NODES, MeshOperator
from kitipde.models.normalised import Normalised
from kitipde.models.oformer import OFormer
from kitipde.models.oformer_airfoil import WIDTH
from kitipde.models.rollout import rollout

__all__ = [
    "FNO",
    "MeshOperator",
    "Normalised",
    "OFormer",
    "build_model",
    "check_modes",
    "example_input",
    "parameter_count",
    "residual_channels",
    "rollout",
]


def check_modes(config: ModelConfig, grid: tuple[int, ...]) -> None:
    """Whether a grid to train on has the Fourier modes that a network keeps, and the harmonics of its coordinates.

    Weights of modes beyond it would never be trained, and act on a finer grid as the random numbers they began as.

    Raises:
        InputError: naming the most that the grid allows.
    """
    if isinstance(config, FNOConfig) and config.modes > min(grid) // 2:
        raise InputError(
            f"model.modes={config.modes}: a grid of {min(grid)} points has {min(grid) // 2} modes to train (give "
            f"model.modes={min(grid) // 2} or less, or a finer data.resolution)"
        )
    harmonics = config.harmonics if isinstance(config, FNOConfig) and config.coordinates == "harmonics" else 0
    if 2 * harmonics >= min(grid):
        raise InputError(
            f"model.harmonics={harmonics}: a grid of {min(grid)} points cannot tell so many waves apart (give "
            f"model.harmonics={(min(grid) - 1) // 2} or less, or a finer data.resolution)"
        )


def check_rotation(config: ModelConfig, dimension: int) -> None:
    """Whether an OFormer's channels can be turned with the coordinates: in pairs, as many with each.

    Raises:
        InputError: naming sizes that can.
    """
    if not isinstance(config, OFormerConfig):
        return
    unit = 2 * dimension
    for name in ("width", "latent_width"):
        size = getattr(config, name)
        if size % unit:
            below = size - size % unit
            allowed = f"{below} or {below + unit}" if below else f"{unit}"
            raise InputError(
                f"model.{name}={size}: in {dimension}-D rotary encoding turns {unit} channels at a time "
                f"(allowed: multiples of {unit}, for example {allowed})"
            )


def build_model(config: RunConfig, dimension: int, points: int | None = None) -> Normalised | MeshOperator:
    """The model that a run's settings describe, freshly initialised from torch's default generator.

    Args:
        config: the settings.
        dimension: spatial axes.
        points: along each axis of the grid of the training, or the nodes of its mesh; None for inputs that are all on
            one grid, or on a mesh of the published size.
    """
    frames = config.data.input_frames
    trained_on = None if points is None else (points,) * dimension
    match config.model:
        case FNOConfig():
            return Normalised(FNO(config.model, config.residual, dimension, frames, 1, trained_on))
        case OFormerConfig():
            return Normalised(OFormer(config.model, config.residual, dimension, frames, trained_on))
        case AirfoilOFormerConfig():
            return MeshOperator(config.model, config.residual, frames, points or PUBLISHED_NODES)


def example_input(config: RunConfig, dimension: int, points: int) -> Float[Tensor, "1 frames *grid"]:
    """Zeros of the shape that a model takes.

    Args:
        config: the settings.
        dimension: spatial axes.
        points: along each; of a mesh, its nodes.
    """
    grid = (points, 4) if isinstance(config.model, AirfoilOFormerConfig) else (points,) * dimension
    return torch.zeros(1, config.data.input_frames, *grid)


def residual_channels(config: ModelConfig) -> tuple[int, ...]:
    """Channels of the feature maps that a model's residuals join."""
    match config:
        case FNOConfig():
            return (config.width,)
        case OFormerConfig():
            return config.width, config.latent_width
        case AirfoilOFormerConfig():
            return (WIDTH,)


def parameter_count(model: nn.Module) -> int:
    """Trainable real numbers in a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
