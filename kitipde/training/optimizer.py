"""The optimizer of stacked replicas, its state replica by replica, and what is done to gradients and weights."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kitipde.config import OptimizerConfig
from kitipde.optim import with_collisions

__all__ = ["MovingAverage", "clip_gradients", "join_states", "make_optimizer", "state_of"]

State = dict[str, Any]


def make_optimizer(
    config: OptimizerConfig, model: nn.Module, parameters: Mapping[str, Tensor], seeds: Sequence[int]
) -> torch.optim.Optimizer:
    """Adam, whose weight decay is part of the gradient, or AdamW, whose is not; over them KO, if it is asked for.

    Both act on each number by itself, so that stacked replicas take the steps that they would take alone.

    Args:
        config: its settings.
        model: one replica's structure.
        parameters: what is trained, by the names in the model; stacked if there is more than one seed.
        seeds: of the replicas.

    Raises:
        InputError: if `optimizer.collisions.layers` names what the model does not have.
    """
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    optimizer = kind(parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    if len(seeds) == 1:
        return with_collisions(optimizer, model, config.collisions, key=seeds[0])
    return with_collisions(optimizer, model, config.collisions, replicas=seeds, parameters=parameters)


def state_of(state: State, replica: int, replicas: int) -> State:
    """What the optimizer of one replica alone would have as its state."""
    if replicas == 1:
        return state
    alone = {
        place: {name: _of(value, replica) for name, value in values.items()} for place, values in state["state"].items()
    }
    return {**state, "state": alone}


def join_states(states: Sequence[State]) -> State:
    """The state of the optimizer of stacked replicas from those of optimizers of each of them."""
    first = states[0]
    if len(states) == 1:
        return first
    joined = {
        place: {
            name: torch.stack([state["state"][place][name] for state in states])
            # The number of steps is the same for all.
            if name != "step" and isinstance(value, Tensor)
            else value
            for name, value in values.items()
        }
        for place, values in first["state"].items()
    }
    return {**first, "state": joined}


def clip_gradients(parameters: Iterable[Tensor], replicas: int, longest: float) -> None:
    """Shorten the gradient of each replica to a length: g ← g · min(1, longest/|g|), |g| over all its parameters."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.stack([gradient.reshape(replicas, -1).abs().square().sum(dim=1) for gradient in gradients])
    # The small number is torch's, so that one replica is clipped as `clip_grad_norm_` does it.
    factor = (longest / (squares.sum(dim=0).sqrt() + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(factor[0] if replicas == 1 else factor.reshape(-1, *(1,) * (gradient.ndim - 1)))


class MovingAverage:
    """Exponential moving average of parameters, w̄ ← β_t w̄ + (1 − β_t) w after step t = 0, 1, …

    β_t = min(β, (1 + t)/(10 + t)) forgets the first weights, which are random, in the first few steps: with a constant
    β of 0.999 they would still make up three quarters of the average after 300.

    Args:
        parameters: what is averaged.
        decay: β.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the optimizer's step t, counted from 0 at the start of the training."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [each.detach() for each in self.parameters], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """In this block the parameters are their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)


def _of(value: Any, replica: int) -> Any:
    """A replica's own; the number of steps is a tensor without axes that all of them share."""
    if not isinstance(value, Tensor):
        return value
    return (value[replica] if value.ndim else value).clone()
