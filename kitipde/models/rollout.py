"""From the given frames to as many as are asked for."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.models.normalised import Normalised
from kitipde.models.spectral import weights_kept

__all__ = ["Stepper", "rollout"]


class Stepper:
    """Applies a model to its own predictions, in the units of its network.

    With σ and μ of inputs and outputs, a standardised prediction z becomes the standardised input
    (σ_out z + μ_out - μ_in)/σ_in. Nothing goes through physical units, in which float32 loses the digits of a field
    beside its mean. A model that is not a `Normalised` has no units but those of its inputs.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid], or takes the number of steps as a second argument.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.marches = bool(getattr(model, "marches", False))

    def step(self, window: Float[Tensor, "batch frames *grid"], *steps: int) -> Float[Tensor, "batch steps *grid"]:
        """The next frame, or as many as a model that marches is asked for."""
        return self.model.standard(window, *steps) if isinstance(self.model, Normalised) else self.model(window, *steps)

    def as_inputs(self, prediction: Float[Tensor, "batch frames *grid"]) -> Float[Tensor, "batch frames *grid"]:
        """Frames in the units of predictions as frames in those of inputs."""
        if not isinstance(self.model, Normalised):
            return prediction
        scale, shift = self.model.feedback(prediction.dtype)
        return prediction * scale + shift

    def follow(
        self, window: Float[Tensor, "batch frames *grid"], prediction: Float[Tensor, "batch 1 *grid"]
    ) -> Float[Tensor, "batch frames *grid"]:
        """The window one frame later."""
        return torch.cat([window[:, 1:], self.as_inputs(prediction)], dim=1)

    def run(self, window: Float[Tensor, "batch frames *grid"], steps: int) -> Float[Tensor, "batch steps *grid"]:
        """Predict `steps` frames."""
        if self.marches:
            return self.step(window, steps)
        predictions = []
        with weights_kept(self.model):
            for place in range(steps):
                if place:
                    window = self.follow(window, predictions[-1])
                predictions.append(self.step(window))
        return torch.cat(predictions, dim=1)


def rollout(
    model: nn.Module, inputs: Float[Tensor, "batch frames *grid"], steps: int
) -> Float[Tensor, "batch steps *grid"]:
    """Predict `steps` frames in physical units.

    A model that marches in its own latent space says so (`marches`) and gives all frames at once; any other is applied
    again and again, each prediction becoming the newest frame of the next input. That makes sense for a model whose
    output is the field that it takes.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid], or takes the number of steps as a second argument.
        inputs: the known frames, oldest first.
        steps: frames to predict; one step is the plain operator.
    """
    if not isinstance(model, Normalised):
        return Stepper(model).run(inputs, steps)
    return model.physical(Stepper(model).run(model.standardised(inputs), steps), inputs.dtype)
