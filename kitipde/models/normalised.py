"""An operator between fields in physical units, around a network between standardised ones."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from kitipde.problem.problem import Problem

__all__ = ["Moments", "Normalised", "from_first_edition"]

Moments = Sequence[tuple[float, float]]
"""Mean and standard deviation of each field."""

_NAMES = ("input", "output", "context")


class Normalised(nn.Module):
    """A network N between standardised fields, used in physical units: û = σ_out · N((a - μ_in)/σ_in) + μ_out.

    Each field has its own μ and σ, and so have static fields and parameters. Predictions have the dtype of the input.
    The moments are float64 buffers, and so are the sums and products with them: a field that varies by a millionth of
    its mean keeps its digits if it is given in float64. They are saved with the weights, so that no one can apply a
    model with the statistics of other data. Without normalisation they are 0 and 1.

    Training and rollouts stay in standardised units: `standardised` and `physical` lead in and out, `standard` is the
    network, `feedback` makes its prediction an input.

    Args:
        network: maps channels [batch, channel, *space] to [batch, target, *space]; one that marches takes the number of
            steps too, and gives [batch, step, target, *space].
        problem: what it is for.
    """

    precisions = (torch.float32, torch.float64)
    """Of inputs that it takes, whatever that of its weights."""

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor
    context_mean: Tensor
    context_std: Tensor

    def __init__(self, network: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.network, self.problem = network, problem
        for name, count in zip(_NAMES, (len(problem.inputs), len(problem.targets), problem.context), strict=True):
            self.register_buffer(f"{name}_mean", torch.zeros(count, dtype=torch.float64))
            self.register_buffer(f"{name}_std", torch.ones(count, dtype=torch.float64))
        self.register_load_state_dict_pre_hook(from_first_edition)

    def fit(self, inputs: Moments, targets: Moments, context: Moments = ()) -> None:
        """Take mean and standard deviation of the inputs, the targets and the context of the training split."""
        for name, moments in zip(_NAMES, (inputs, targets, context), strict=True):
            for place, (mean, deviation) in enumerate(moments):
                getattr(self, f"{name}_mean")[place] = mean
                getattr(self, f"{name}_std")[place] = deviation

    @property
    def marches(self) -> bool:
        """Whether the network predicts many frames at once."""
        return bool(getattr(self.network, "marches", False))

    def forward(
        self,
        a: Float[Tensor, "batch input_frames inputs *space"],
        context: Float[Tensor, "batch context *space"] | None = None,
        steps: int = 1,
    ) -> Float[Tensor, "batch steps targets *space"]:
        """The next frame, or as many as a network that marches is asked for; physical units in and out."""
        z, beside = self.standardised(a), None if context is None else self.standardised(context, "context")
        return self.physical(self.standard(z, beside, steps), a.dtype)

    def standardised(self, a: Float[Tensor, "*shape"], of: str = "input") -> Float[Tensor, "*shape"]:
        """(a - μ)/σ, computed in float64, in the dtype of the network.

        Args:
            a: [batch, frame, field, *space], or [batch, channel, *space] of the context.
            of: `input` or `context`.
        """
        weights = (parameter.dtype for parameter in self.network.parameters() if parameter.is_floating_point())
        mean, deviation = (self._along(a, getattr(self, f"{of}_{name}"), of) for name in ("mean", "std"))
        return ((a.double() - mean) / deviation).to(next(weights, torch.float32))

    def standard(
        self,
        z: Float[Tensor, "batch input_frames inputs *space"],
        context: Float[Tensor, "batch context *space"] | None = None,
        steps: int = 1,
    ) -> Float[Tensor, "batch steps targets *space"]:
        """The network: standardised inputs to standardised predictions."""
        channels = z.flatten(1, 2)
        if context is not None and context.shape[1]:
            channels = torch.cat([channels, context], dim=1)
        # A network in half precision predicts in half precision; frames that follow each other stay in that of z.
        if self.marches:
            return self.network(channels, steps).to(z.dtype)
        return self.network(channels).unsqueeze(1).to(z.dtype)

    def feedback(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale and shift that make each standardised prediction the standardised input of its name.

        σ_out/σ_in and (μ_out - μ_in)/σ_in, for each target that is an input, in the order of the inputs.
        """
        inputs, targets = self.problem.inputs, self.problem.targets
        moments = (self.input_mean, self.input_std, self.output_mean, self.output_std)
        if inputs != targets:
            both = [name for name in inputs if name in targets]
            places = [[names.index(name) for name in both] for names in (inputs, inputs, targets, targets)]
            # Slices, not lists of places, which a GPU would have to fetch from the host.
            moments = (torch.stack([each[at] for at in own]) for each, own in zip(moments, places, strict=True))
        input_mean, input_std, output_mean, output_std = moments
        return (output_std / input_std).to(dtype), ((output_mean - input_mean) / input_std).to(dtype)

    def physical(
        self, z: Float[Tensor, "batch steps targets *space"], dtype: torch.dtype
    ) -> Float[Tensor, "batch steps targets *space"]:
        """σ_out · z + μ_out, computed in float64."""
        mean, deviation = (self._along(z, each, "output") for each in (self.output_mean, self.output_std))
        return (z.double() * deviation + mean).to(dtype)

    def _along(self, a: Tensor, moments: Float64[Tensor, " fields"], of: str) -> Float64[Tensor, "fields *ones"]:
        return moments.reshape(-1, *(1,) * (a.ndim - (2 if of == "context" else 3)))


_MESH_KEYS = {
    "positions": "network.positions",
    "node_type": "network.node_type",
    "region": "network.region",
    "network.node_type.weight": "network.node_embedding.weight",
}
"""What the first edition called the buffers of a network on a mesh."""


def from_first_edition(module: nn.Module, state: dict[str, Any], prefix: str = "", *_rest: Any) -> None:
    """Weights of the first edition have one mean and one deviation, as numbers, and no context: made into today's.

    Args:
        module: a `Normalised`.
        state: its weights, changed in place.
        prefix: of their names.
    """
    for old, new in _MESH_KEYS.items():
        if f"{prefix}{old}" in state:
            state[prefix + new] = state.pop(prefix + old)
    for old, new in (("mean", "mean"), ("deviation", "std")):
        if f"{prefix}{old}" in state:
            moments = state.pop(prefix + old).double()
            state[f"{prefix}input_{new}"], state[f"{prefix}output_{new}"] = moments, moments.clone()
    for name, own in module.named_buffers(recurse=False):
        key = f"{prefix}{name}"
        if not own.numel():
            state.setdefault(key, own)
        elif key in state and not state[key].ndim:
            state[key] = state[key].reshape(1)
