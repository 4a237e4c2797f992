"""Replicas of a network that are trained as one: parameters stacked along a first axis, one step for all.

Each replica has its own initialisation, batches and collisions and takes the steps that it would take alone: nothing
but the rounding of larger matrix products joins them.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from kitipde.errors import InputError
from kitipde.problem.windows import Batch, Windows
from kitipde.training.objective import Objective

__all__ = ["Ensemble", "Weights"]

Weights = dict[str, Tensor]
Result = TypeVar("Result")

_MODEL = "model."


class Ensemble(nn.Module):
    """K objectives as one module with parameters [K, …]; a single one stays as it is.

    Args:
        replicas: objectives of the same settings, which are taken over.
    """

    def __init__(self, replicas: Sequence[Objective]) -> None:
        super().__init__()
        self.count = len(replicas)
        self._names: dict[str, str] = {}
        if self.count == 1:
            self.objective = replicas[0]
            return
        parameters, buffers = stack_module_state(list(replicas))
        for place, (name, tensor) in enumerate(parameters.items()):
            self._names[name] = f"parameter_{place}"
            self.register_parameter(f"parameter_{place}", nn.Parameter(tensor.detach()))
        for place, (name, tensor) in enumerate(buffers.items()):
            self._names[name] = f"buffer_{place}"
            self.register_buffer(f"buffer_{place}", tensor.detach().clone())
        # The structure without its tensors; no child, or its parameters would be trained too.
        object.__setattr__(self, "objective", copy.deepcopy(replicas[0]))

    def forward(self, batch: Batch, starts: Int[Tensor, "K batch"] | int = 0) -> Float[Tensor, "K batch predicted"]:
        """Errors of each replica on its own batch, [K, batch, …]."""
        if self.count == 1:
            own = Batch(*(each[0] for each in batch))
            return self.objective(own, starts[0] if isinstance(starts, Tensor) else starts)[None]

        def one(tensors: Weights, batch: Batch, starts: Tensor | int) -> Tensor:
            return functional_call(self.objective, tensors, (batch, starts))

        axes = (0, 0, 0 if isinstance(starts, Tensor) else None)
        return vmap(one, axes)(self._tensors(), batch, starts)

    def train(self, mode: bool = True) -> "Ensemble":
        """Training or evaluation mode, also of the structure that is no child."""
        super().train(mode)
        self.objective.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Ensemble":
        super()._apply(fn, recurse)
        if self.count > 1:
            self.objective._apply(fn, recurse)
        return self

    def each(self, function: Callable[[Objective, int], Result]) -> list[Result]:
        """Apply a function of buffers to each replica in turn; parameters are for it to leave alone."""
        if self.count == 1:
            return [function(self.objective, 0)]
        results = []
        for k in range(self.count):
            stacked = {name: self._tensor(name, k) for name, _ in self.objective.named_buffers()}
            for name, buffer in self.objective.named_buffers():
                buffer.copy_(stacked[name])
            results.append(function(self.objective, k))
            for name, buffer in self.objective.named_buffers():
                stacked[name].copy_(buffer)
        return results

    def fields(self, windows: Windows) -> Batch:
        """Inputs and targets of a split in the units of the networks, which all replicas share.

        Raises:
            InputError: they started from networks with other units.
        """
        if len(set(self.each(lambda objective, _: objective.units()))) > 1:
            raise InputError(
                "the networks of training.start_from are normalised in different ways: train the seeds one by one with "
                "training.seeds_at_once=1"
            )
        return self.objective.fields(windows)

    def weights(self, k: int) -> Weights:
        """A copy of what replica k's model saves."""
        return {name: self._tensor(_MODEL + name, k).detach().clone() for name in self.objective.model.state_dict()}

    def load_weights(self, k: int, weights: Weights) -> None:
        """Replica k's model gets these."""
        with torch.no_grad():
            for name, tensor in weights.items():
                self._tensor(_MODEL + name, k).copy_(tensor)

    def counters(self, k: int) -> Weights:
        """Replica k's buffers that are no part of its weights: keys of random numbers, tallies of collisions."""
        saved = {_MODEL + name for name in self.objective.model.state_dict()}
        return {name: self._tensor(name, k) for name, _ in self.objective.named_buffers() if name not in saved}

    def tallies(self) -> list[Tensor]:
        """The tallies of collisions of all replicas."""
        counters = [counter for k in range(self.count) for counter in self.counters(k).items()]
        return [counter for name, counter in counters if name.endswith("_tally")]

    def trained(self) -> dict[str, Tensor]:
        """What an optimizer trains, by the names in a replica's model and in their order."""
        names = [name for name, _ in self.objective.model.named_parameters()]
        if self.count == 1:
            return dict(self.objective.model.named_parameters())
        return {name: getattr(self, self._names[_MODEL + name]) for name in names}

    def _tensors(self) -> Weights:
        return {name: getattr(self, held) for name, held in self._names.items()}

    def _tensor(self, name: str, k: int) -> Tensor:
        if self.count == 1:
            owner, _, last = name.rpartition(".")
            return getattr(self.objective.get_submodule(owner), last)
        return getattr(self, self._names[name])[k]
