"""KO: any torch optimizer, with collisions between the gradients of neurons before each of its steps.

    optimizer = KO(torch.optim.Adam(model.parameters(), lr=1e-3), model, kind="soft", coll_coef=0.1)
    ...
    optimizer.step()

References:
    KO, section 3.3.
"""

import hashlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kitipde.config.optimizer_collisions import OptimizerCollisionsConfig, with_defaults
from kitipde.errors import InputError
from kitipde.optim.collisions import hard_collisions, hard_collisions_in_law, soft_collisions
from kitipde.optim.layers import Layer, choose_layers, from_blocks, from_rows, to_blocks, to_rows

__all__ = ["KO", "with_collisions"]

_STEPS = "collision_steps"


class KO(Optimizer):
    """A torch optimizer whose steps see the gradients after collisions (equations (5)-(8) or Algorithm 2 of KO).

    It is an `Optimizer` itself: learning-rate schedulers, gradient scalers and hooks take it, and its groups, state and
    defaults are those of the optimizer it holds. The gradients that `backward` left in the parameters are there again
    after the step. With coll_coef = 0 the step is the base optimizer's, bit for bit.

    Particles are the output neurons of a layer (`kitipde.optim.layers` states how each kind of weight is laid out). The
    directions of hard collisions are a function of the key, the number of steps and the layer, never of torch's global
    generator: a resumed run goes on with the same ones, and all processes of a distributed run, which have the same
    gradients, draw the same.

    Args:
        base: the optimizer that makes the steps.
        model: the network, whose modules say which parameters are weights of neurons.
        kind: `soft` or `hard`.
        coll_coef: hard: a pair collides if g_r e^(−w_r) / max g_r > 1 − coll_coef, in [0, 1]; soft: factor of the
            repulsion, 0.1 if not given.
        target_rate: hard: collisions per neuron, in place of coll_coef; 0.2 if neither is given.
        layers: which layers: `last-linear` (the last dense one with more than one neuron), `all`, `dense`,
            `convolutional`, `spectral`, names or patterns of parameters or modules, several of these, or a mapping from
            a parameter's name to the axis of its neurons.
        self_similarity: soft: whether the diagonal of the cosine matrices takes part, as printed in the paper.
        noise: hard: `exact` draws a direction for each pair, `gaussian` their sum from its normal limit.
        key: seed of the directions.
        replicas: keys of K networks that are trained at once; every parameter then has a leading axis of length K, and
            each slice collides as it would alone with its key.
        parameters: the tensors that are trained, by name, where they are not the model's own, such as stacked ones.

    Raises:
        InputError: a setting is out of its range, or a layer does not exist, is not trained or has one neuron.
    """

    # A scaler that hands its factor to fused optimizers would hand it to this one, and the base would not see it.
    _step_supports_amp_scaling = False

    def __init__(
        self,
        base: Optimizer,
        model: nn.Module,
        *,
        kind: str = "soft",
        coll_coef: float | None = None,
        target_rate: float | None = None,
        layers: str | Sequence[str] | Mapping[str, int] = "last-linear",
        self_similarity: bool = False,
        noise: str = "exact",
        key: int = 0,
        replicas: Sequence[int] | Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> None:
        # Optimizer.__init__ would make groups and state of its own: both are the base's, through __getattr__.
        _check(base, kind, coll_coef, target_rate, noise, self_similarity)
        self.base, self.kind = base, kind
        self.coll_coef, self.target_rate = with_defaults(kind, coll_coef, target_rate)
        self.self_similarity, self.noise = self_similarity, noise
        self.stacked = replicas is not None
        self.keys = [key] if replicas is None else _listed(replicas)
        tensors = dict(model.named_parameters()) if parameters is None else dict(parameters)
        in_base = {id(parameter) for group in base.param_groups for parameter in group["params"]}
        trained = {name for name, tensor in tensors.items() if id(tensor) in in_base}
        self.layers = [(layer, tensors[layer.name]) for layer in choose_layers(model, layers, trained)]
        if self.stacked:
            _check_stacked(model, self.layers, len(self.keys))
        self.steps = 0
        # Collisions per neuron in the last step, [replicas], by layer; of hard collisions only.
        self.collision_rates: dict[str, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        # While a copy is being made there is no base yet.
        if name == "base":
            raise AttributeError(name)
        return getattr(self.base, name)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of the base optimizer on the gradients after collisions.

        Args:
            closure: evaluates the model and returns the loss, for optimizers that do so themselves; each evaluation's
                gradients collide.
        """
        kept: list[tuple[Tensor, Tensor]] = []
        evaluations = 0

        def restore() -> None:
            while kept:
                parameter, gradient = kept.pop()
                parameter.grad = gradient

        def evaluate() -> Any:
            nonlocal evaluations
            restore()
            assert closure is not None
            with torch.enable_grad():
                loss = closure()
            kept.extend(self._collide(evaluations))
            evaluations += 1
            return loss

        try:
            if closure is None:
                kept.extend(self._collide(0))
                result = self.base.step()
            else:
                result = self.base.step(evaluate)
        finally:
            restore()
        self.steps += 1
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        self.base.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Let the base optimizer train more parameters; they do not collide."""
        self.base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's state and the number of steps, on which the directions depend."""
        return {**self.base.state_dict(), _STEPS: self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state; one of the base optimizer alone is continued as if it had made no step."""
        own = dict(state_dict)
        steps = int(own.pop(_STEPS, 0))
        self.base.load_state_dict(own)
        self.steps = steps

    def __getstate__(self) -> dict[str, Any]:
        # Schedulers put a step into the instance that is bound to it: a copy would go on training the original.
        return {name: value for name, value in self.__dict__.items() if name not in ("step", "_opt_called")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        strength = f"coll_coef={self.coll_coef}" if self.target_rate is None else f"target_rate={self.target_rate}"
        names = ", ".join(layer.name for layer, _ in self.layers)
        return f"KO ({self.kind} collisions, {strength}, in {names}) over {self.base!r}"

    def _collide(self, evaluation: int) -> list[tuple[Tensor, Tensor]]:
        """Put the gradients after collisions in the place of the others, which are returned with their parameters."""
        kept = []
        if self.coll_coef == 0:
            return kept
        for place, (layer, parameter) in enumerate(self.layers):
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout != torch.strided:
                raise InputError(f"the gradient of {layer.name} is sparse; collisions are between dense gradients")
            after = self._collided(layer, parameter, gradient, evaluation, place)
            if after is not gradient:
                kept.append((parameter, gradient))
                parameter.grad = after
        return kept

    def _collided(self, layer: Layer, parameter: Tensor, gradient: Tensor, evaluation: int, place: int) -> Tensor:
        weights, gradients = (each if self.stacked else each[None] for each in (parameter.detach(), gradient))
        if self.kind == "soft":
            assert self.coll_coef is not None
            w, g = to_blocks(weights, layer), to_blocks(gradients, layer)
            result = from_blocks(soft_collisions(w, g, self.coll_coef, self.self_similarity), gradients, layer)
        else:
            w, g = to_rows(weights, layer), to_rows(gradients, layer)
            generators = [
                torch.Generator(g.device).manual_seed(_seed(key, self.steps, evaluation, place)) for key in self.keys
            ]
            if self.noise == "gaussian":
                assert self.coll_coef is not None
                after, rates = hard_collisions_in_law(w, g, self.coll_coef, generators)
            else:
                after, rates = hard_collisions(w, g, self.coll_coef, self.target_rate, generators)
            self.collision_rates[layer.name] = rates
            if after is g:
                return gradient
            result = from_rows(after, gradients, layer)
        return result if self.stacked else result[0]


def with_collisions(
    optimizer: Optimizer,
    model: nn.Module,
    config: OptimizerCollisionsConfig,
    *,
    key: int = 0,
    replicas: Sequence[int] | Tensor | None = None,
    parameters: Mapping[str, Tensor] | None = None,
) -> Optimizer:
    """The optimizer with the collisions that the settings ask for; itself if they ask for none.

    Args:
        optimizer: makes the steps.
        model: the network.
        config: the settings.
        key: as in `KO`.
        replicas: as in `KO`.
        parameters: as in `KO`.

    Raises:
        InputError: as in `KO`.
    """
    if config.kind == "none":
        return optimizer
    return KO(
        optimizer,
        model,
        **config.model_dump(),
        key=key,
        replicas=replicas,
        parameters=parameters,
    )


def _seed(key: int, step: int, evaluation: int, place: int) -> int:
    """A seed that depends on all of these and on nothing else."""
    digest = hashlib.blake2b(repr((key, step, evaluation, place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _listed(keys: Sequence[int] | Tensor) -> list[int]:
    return [int(key) for key in (keys.tolist() if isinstance(keys, Tensor) else keys)]


def _check(
    base: Optimizer, kind: str, coll_coef: float | None, target_rate: float | None, noise: str, self_similarity: bool
) -> None:
    if not isinstance(base, Optimizer):
        raise InputError(f"KO works over a torch optimizer, not over {type(base).__name__}")
    if kind not in ("soft", "hard"):
        raise InputError(f"kind={kind!r} must be 'soft' or 'hard'")
    if noise not in ("exact", "gaussian"):
        raise InputError(f"noise={noise!r} must be 'exact' or 'gaussian'")
    most = 1.0 if kind == "hard" else sys.float_info.max
    if coll_coef is not None and not 0 <= coll_coef <= most:
        allowed = "[0, 1]" if kind == "hard" else "[0, ∞)"
        raise InputError(f"coll_coef={coll_coef} must be in {allowed} with kind={kind}")
    if target_rate is not None and (kind == "soft" or not 0 < target_rate < math.inf):
        raise InputError(f"target_rate={target_rate} must be positive, and is for kind=hard")
    if target_rate is not None and coll_coef is not None:
        raise InputError(
            f"target_rate={target_rate} and coll_coef={coll_coef} both set how many pairs collide: give one"
        )
    if noise == "gaussian" and (kind == "soft" or coll_coef is None):
        raise InputError("noise=gaussian is for kind=hard, and needs coll_coef")
    if self_similarity and kind == "hard":
        raise InputError("self_similarity is for kind=soft")


def _check_stacked(model: nn.Module, layers: list[tuple[Layer, Tensor]], replicas: int) -> None:
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for layer, tensor in layers:
        if tensor.shape != (replicas, *shapes[layer.name]):
            raise InputError(
                f"{layer.name} has the shape {list(tensor.shape)}; {replicas} replicas of {list(shapes[layer.name])} "
                "have it stacked along a first axis"
            )
