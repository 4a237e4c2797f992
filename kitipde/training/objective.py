"""What a training step minimises: the relative error of the predicted frames, and which frames the model is given."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kitipde.collisions import key_noise
from kitipde.collisions.noise import normal_like
from kitipde.config import RunConfig, TrainingConfig
from kitipde.data.windows import Windows
from kitipde.errors import InputError
from kitipde.models import Normalised, build_model, rollout
from kitipde.runs import Replica
from kitipde.training.losses import relative_l2

__all__ = ["Objective", "check_unroll", "make_objective"]


def make_objective(config: RunConfig, replica: Replica, windows: Windows) -> "Objective":
    """The freshly initialised model of one seed and its objective, on the CPU: a seed means the same everywhere.

    Args:
        config: settings of the run.
        replica: whose seed it is.
        windows: the training split, from which normalisation and noise are taken.
    """
    torch.manual_seed(replica.seed)
    model = build_model(config, replica.dimension)
    training = config.training
    if config.data.normalize == "standard":
        model.fit(windows.inputs, windows.targets)
    objective = Objective(model, training, float(windows.inputs.std()) if training.input_noise else 0.0)
    # Random numbers are keyed from now on; each epoch has its own keys.
    key_noise(objective, replica.seed)
    return objective


def check_unroll(config: TrainingConfig, model: Normalised) -> None:
    """Whether a model predicts frames as `training.unroll` needs it.

    Raises:
        InputError: if it does not.
    """
    if config.unroll != "autoregressive" and model.marches:
        raise InputError(
            f"training.unroll={config.unroll} is for models that predict one frame at a time; with this "
            "model.marching use training.unroll=autoregressive, or model.marching=pointwise"
        )


class Objective(nn.Module):
    """A model and its errors: in training as `training.unroll` has it, in evaluation those of the whole rollout.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid].
        config: how predictions follow each other, and how much noise the inputs get.
        input_deviation: standard deviation of the training inputs.
    """

    noise_key: Tensor

    def __init__(self, model: nn.Module, config: TrainingConfig, input_deviation: float) -> None:
        super().__init__()
        self.model = model
        self.unroll = config.unroll
        self.half_products = config.precision == "bf16"
        self.noise = config.input_noise * input_deviation
        # Seed of the next step's noise: a tensor, so that stacked replicas have one each.
        self.register_buffer("noise_key", torch.zeros((), dtype=torch.long), persistent=False)

    def forward(
        self,
        inputs: Float[Tensor, "batch given *grid"],
        targets: Float[Tensor, "batch frames *grid"],
        starts: Int[Tensor, "batch"] | int = 0,
    ) -> Float[Tensor, "batch predicted"]:
        """Relative L2 error of each predicted frame.

        Args:
            inputs: known frames, oldest first.
            targets: frames that follow.
            starts: for `one-step` which of them to predict, for `pushforward` how many to pass before.
        """
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.half_products):
            return self._errors(inputs, targets, starts)

    def _errors(self, inputs: Tensor, targets: Tensor, starts: Tensor | int) -> Tensor:
        if not self.training:
            return relative_l2(rollout(self.model, inputs, targets.shape[1]), targets)
        if self.unroll == "pushforward":
            return self._pushforward(inputs, targets, int(starts))
        if self.unroll == "autoregressive":
            return relative_l2(rollout(self.model, self._noisy(inputs), targets.shape[1]), targets)
        given, frames = inputs.shape[1], torch.cat([inputs, targets], dim=1)
        if self.unroll == "one-step":
            assert isinstance(starts, Tensor)
            places = starts[:, None] + torch.arange(given + 1, device=starts.device)
            chosen = frames[torch.arange(len(frames), device=starts.device)[:, None], places]
            return relative_l2(self.model(self._noisy(chosen[:, :given])), chosen[:, given:])
        windows = torch.stack([frames[:, start : start + given] for start in range(targets.shape[1])], dim=1)
        predictions = self.model(self._noisy(windows.flatten(0, 1)))
        return relative_l2(predictions.reshape(targets.shape), targets)

    def _pushforward(self, inputs: Tensor, targets: Tensor, passed: int) -> Tensor:
        window = self._noisy(inputs)
        with torch.no_grad():
            for _ in range(passed):
                window = torch.cat([window[:, 1:], self.model(window)], dim=1)
        return relative_l2(self.model(window), targets[:, passed : passed + 1])

    def _noisy(self, inputs: Tensor) -> Tensor:
        if not self.noise:
            return inputs
        noise = normal_like(self.noise_key, inputs)
        self.noise_key.add_(1)
        return inputs + self.noise * noise
