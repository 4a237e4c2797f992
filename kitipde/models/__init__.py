"""Neural operators, made from a run's settings and its problem."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.config import RunConfig
from kitipde.models.normalised import Normalised
from kitipde.models.rollout import rollout
from kitipde.problem.problem import Problem

__all__ = ["Normalised", "build_model", "example_input", "parameter_count", "rollout"]


def build_model(config: RunConfig, problem: Problem) -> Normalised:
    """The model that a run's settings describe, freshly initialised from torch's default generator."""
    return Normalised(config.model.build(config.residual, problem), problem)


def example_input(
    problem: Problem,
) -> tuple[Float[Tensor, "1 frames inputs *space"], Float[Tensor, "1 context *space"]]:
    """Zeros of the shapes that a model takes, on the geometry of the training."""
    shape = problem.domain.shape
    return torch.zeros(1, problem.input_frames, len(problem.inputs), *shape), torch.zeros(1, problem.context, *shape)


def parameter_count(model: nn.Module) -> int:
    """Trainable real numbers in a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
