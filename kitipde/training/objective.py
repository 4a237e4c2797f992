"""What a training step minimises: the error of the predicted frames, and which frames the model is given."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kitipde.collisions import key_noise
from kitipde.collisions.noise import normal_like
from kitipde.config import RunConfig, TrainingConfig
from kitipde.data.mesh import MeshWindows, mesh_scaling
from kitipde.data.windows import Windows
from kitipde.errors import InputError, blaming_settings
from kitipde.models import MeshOperator, Normalised, build_model, rollout
from kitipde.models.dropout import key_dropout
from kitipde.runs import Replica
from kitipde.training.batches import draw
from kitipde.training.losses import relative_l2

__all__ = ["Objective", "check_unroll", "fit", "make_objective"]


@blaming_settings()
def make_objective(config: RunConfig, replica: Replica, windows: Windows | MeshWindows) -> "Objective":
    """The freshly initialised model of one seed and its objective, on the CPU: a seed means the same everywhere.

    Args:
        config: settings of the run.
        replica: whose seed it is.
        windows: the training split, from which normalisation and noise are taken.

    Raises:
        SettingsError: if the settings make no such model.
    """
    torch.manual_seed(replica.seed)
    model = build_model(config, replica.dimension, replica.resolution)
    objective = Objective(model, config.training, fit(config, model, windows))
    # Random numbers are keyed from now on; each epoch has its own keys.
    objective.key(replica.seed)
    return objective


def fit(config: RunConfig, model: Normalised | MeshOperator, windows: Windows | MeshWindows) -> float:
    """Give the model the statistics of the training split; the deviation of its inputs."""
    if isinstance(windows, MeshWindows):
        assert isinstance(model, MeshOperator)
        scaling = mesh_scaling(windows)
        model.fit(scaling.mean, scaling.deviation, windows.positions, windows.node_type, windows.region)
        # The model knows that of each field.
        return 1.0
    assert isinstance(model, Normalised)
    if config.data.normalize == "standard":
        model.fit(windows.inputs, windows.targets)
    return float(windows.inputs.std()) if config.training.input_noise else 0.0


def check_unroll(config: TrainingConfig, model: Normalised | MeshOperator) -> None:
    """Whether a model predicts frames as `training.unroll` needs it.

    Raises:
        InputError: if it does not.
    """
    if config.unroll != "autoregressive" and model.marches:
        raise InputError(
            f"training.unroll={config.unroll} is for models that predict one frame at a time; this one marches in its "
            "latent space: use training.unroll=autoregressive"
        )


class Objective(nn.Module):
    """A model and its errors: in training as `training.unroll` has it, in evaluation those of the whole rollout.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid]. If it has a method `errors` and a buffer `deviation`,
            those are what is minimised, in place of the relative L2 error, and the scale of noise on the inputs.
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

    def key(self, *seeds: int) -> None:
        """From now on every random number follows from these seeds and a count of calls."""
        key_noise(self, *seeds)
        self.noise_key.fill_(int(draw(1 << 62, 1, *seeds)))
        # A word of its own, so that input noise and dropout differ.
        key_dropout(self, int(draw(1 << 61, 1, *seeds, 2)))

    def forward(
        self,
        inputs: Float[Tensor, "batch given *grid"],
        targets: Float[Tensor, "batch frames *grid"],
        starts: Int[Tensor, "batch"] | int = 0,
    ) -> Float[Tensor, "batch predicted"]:
        """The error of each predicted frame.

        Args:
            inputs: known frames, oldest first.
            targets: frames that follow.
            starts: for `one-step` which of them to predict, for `pushforward` how many to pass before.
        """
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.half_products):
            return self._errors(inputs, targets, starts)

    def _errors(self, inputs: Tensor, targets: Tensor, starts: Tensor | int) -> Tensor:
        if not self.training:
            return self._compared(rollout(self.model, inputs, targets.shape[1]), targets)
        if self.unroll == "pushforward":
            return self._pushforward(inputs, targets, int(starts))
        if self.unroll == "autoregressive":
            return self._compared(rollout(self.model, self._noisy(inputs), targets.shape[1]), targets)
        given, frames = inputs.shape[1], torch.cat([inputs, targets], dim=1)
        if self.unroll == "one-step":
            assert isinstance(starts, Tensor)
            places = starts[:, None] + torch.arange(given + 1, device=starts.device)
            chosen = frames[torch.arange(len(frames), device=starts.device)[:, None], places]
            return relative_l2(self.model(self._noisy(chosen[:, :given])), chosen[:, given:])
        windows = torch.stack([frames[:, start : start + given] for start in range(targets.shape[1])], dim=1)
        predictions = self.model(self._noisy(windows.flatten(0, 1)))
        return relative_l2(predictions.reshape(targets.shape), targets)

    def _compared(self, prediction: Tensor, target: Tensor) -> Tensor:
        own = getattr(self.model, "errors", None)
        return relative_l2(prediction, target) if own is None else own(prediction, target)

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
        return inputs + self.noise * getattr(self.model, "deviation", 1.0) * noise
