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
    beside its mean. Inputs that are not predicted are taken from the data.

    Args:
        model: the operator.
        context: static fields and parameters of the batch, standardised.
        known: the later frames of inputs that are not predicted, standardised.
    """

    def __init__(
        self,
        model: Normalised,
        context: Float[Tensor, "batch context *space"] | None = None,
        known: Float[Tensor, "batch frames known *space"] | None = None,
    ) -> None:
        self.model, self.context, self.known = model, context, known
        inputs, targets = model.problem.inputs, model.problem.targets
        self._same = inputs == targets
        self._fed_back = [targets.index(name) for name in inputs if name in targets]
        # Places of the inputs in [those fed back, those known].
        order = [name for name in inputs if name in targets] + [name for name in inputs if name not in targets]
        self._places = [order.index(name) for name in inputs]

    def step(
        self, window: Float[Tensor, "batch input_frames inputs *space"], steps: int = 1
    ) -> Float[Tensor, "batch steps targets *space"]:
        """The next frame, or as many as a model that marches is asked for."""
        return self.model.standard(window, self.context, steps)

    def as_inputs(
        self, prediction: Float[Tensor, "batch frames targets *space"], first: int = 0
    ) -> Float[Tensor, "batch frames inputs *space"]:
        """Frames in the units of predictions as frames of the inputs.

        Args:
            prediction: standardised.
            first: which of the later frames the first of these is.
        """
        scale, shift = (
            each.reshape(-1, *(1,) * (prediction.ndim - 3)) for each in self.model.feedback(prediction.dtype)
        )
        if self._same:
            return prediction * scale + shift
        # Slices, not lists of places, which a GPU would have to fetch from the host.
        frames = list(
            torch.stack([prediction[:, :, place] for place in self._fed_back], dim=2).mul(scale).add(shift).unbind(2)
        )
        if self.known is not None:
            frames += self.known[:, first : first + prediction.shape[1]].unbind(2)
        return torch.stack([frames[place] for place in self._places], dim=2)

    def follow(
        self,
        window: Float[Tensor, "batch input_frames inputs *space"],
        prediction: Float[Tensor, "batch 1 targets *space"],
        place: int,
    ) -> Float[Tensor, "batch input_frames inputs *space"]:
        """The window one frame later, of which `prediction` is the later frame number `place`."""
        return torch.cat([window[:, 1:], self.as_inputs(prediction, place)], dim=1)

    def run(
        self, window: Float[Tensor, "batch input_frames inputs *space"], steps: int
    ) -> Float[Tensor, "batch steps targets *space"]:
        """Predict `steps` frames."""
        if self.model.marches:
            return self.step(window, steps)
        predictions = []
        with weights_kept(self.model):
            for place in range(steps):
                if place:
                    window = self.follow(window, predictions[-1], place - 1)
                predictions.append(self.step(window))
        return predictions[0] if steps == 1 else torch.cat(predictions, dim=1)


def rollout(
    model: nn.Module,
    inputs: Float[Tensor, "batch input_frames inputs *space"],
    steps: int = 1,
    context: Float[Tensor, "batch context *space"] | None = None,
    known: Float[Tensor, "batch frames known *space"] | None = None,
) -> Float[Tensor, "batch steps targets *space"]:
    """Predict `steps` frames in physical units.

    A model that marches in its own latent space gives all frames at once; any other is applied again and again, each
    prediction becoming the newest frame of the next input.

    Args:
        model: what `kitipde.load` gives.
        inputs: the known frames, oldest first.
        steps: frames to predict; one step is the plain operator.
        context: static fields and parameters, if the model was trained with any.
        known: the later frames of inputs that are not predicted, if there are any.
    """
    if not isinstance(model, Normalised):
        raise TypeError(f"rollout takes a model of kitipde.load, not a {type(model).__name__}")
    names = [name in model.problem.known for name in model.problem.inputs]
    beside = None if context is None else model.standardised(context, "context")
    later = None
    if known is not None and known.shape[2]:
        mean, deviation = (
            each[names].reshape(-1, *(1,) * (known.ndim - 3)) for each in (model.input_mean, model.input_std)
        )
        later = ((known.double() - mean) / deviation).to(model.standardised(inputs[:1]).dtype)
    predicted = Stepper(model, beside, later).run(model.standardised(inputs), steps)
    return model.physical(predicted, inputs.dtype)
