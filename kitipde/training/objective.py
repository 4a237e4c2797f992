"""What a training step minimises: the error of the predicted frames, and which frames the model is given."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kitipde.collisions import key_noise
from kitipde.collisions.backends.counter_rng import normal_like
from kitipde.config import RunConfig, TrainingConfig
from kitipde.errors import InputError, blaming_settings
from kitipde.models import MeshOperator, Normalised, build_model
from kitipde.models.dropout import key_dropout
from kitipde.models.rollout import Stepper
from kitipde.problem.mesh import MeshWindows, mesh_scaling
from kitipde.problem.statistics import in_units, refuse_constant, refuse_too_large
from kitipde.problem.windows import Windows
from kitipde.runs import Replica
from kitipde.training.batches import draw
from kitipde.training.losses import SMALLEST, loss_units, relative_l2
from kitipde.training.standing import TrainingData

__all__ = ["UNITS", "Objective", "check_scales", "check_unroll", "fit", "make_objective"]

UNITS = ("noise_size", "loss_scale", "loss_floor")
"""Buffers of an `Objective` that its data determine."""


@blaming_settings()
def make_objective(config: RunConfig, replica: Replica, data: TrainingData) -> "Objective":
    """The freshly initialised model of one seed and its objective, on the CPU: a seed means the same everywhere.

    Args:
        config: settings of the run.
        replica: whose seed it is.
        data: of whose training split normalisation, noise and the scale of the loss are taken.

    Raises:
        SettingsError: if the settings make no such model, or the data cannot be normalised.
    """
    torch.manual_seed(replica.seed)
    model = build_model(config, replica.dimension, replica.resolution)
    fit(config, model, data)
    objective = Objective(model, config.training)
    objective.fit(data)
    # Random numbers are keyed from now on; each epoch has its own keys.
    objective.key(replica.seed)
    return objective


def fit(config: RunConfig, model: Normalised | MeshOperator, data: TrainingData) -> None:
    """Give the model the statistics of the training split.

    Raises:
        InputError: if a field cannot be normalised, or learnt from without.
    """
    windows = data.train
    if isinstance(windows, MeshWindows):
        assert isinstance(model, MeshOperator)
        scaling = mesh_scaling(windows)
        model.fit(scaling.mean, scaling.deviation, windows.positions, windows.node_type, windows.region)
        return
    assert isinstance(model, Normalised)
    check_scales(config, data)
    if config.data.normalize == "standard":
        model.fit(*((each.mean, each.deviation) for each in (data.inputs, data.targets)))


def check_scales(config: RunConfig, data: TrainingData) -> None:
    """Whether the fields of the training split have a size that can be learnt.

    Raises:
        InputError: one is constant where it has to be standardised, a target is zero everywhere, or values are so large
            or small that float32 cannot hold them where they are not standardised.
    """
    names = (("data.input", config.data.input, data.inputs), ("data.target", config.data.target, data.targets))
    for setting, name, statistics in names:
        if setting == "data.target" and not statistics.largest:
            raise InputError(f"data.target={name} is zero in every training sample: there is nothing to learn")
        if config.data.normalize == "standard":
            instead = f"choose another field, or set data.normalize=none to give {name} to the network as it is"
            refuse_constant(statistics, setting, name, instead)
        else:
            refuse_too_large(statistics, setting, name)


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

    Fields are in the units of the model's network: standardised, for a `Normalised`. What the loss is divided by at
    least, what brings it to a size near 1 and the size of the noise are buffers of their own: they are part of each
    saved state, so that a run that continues has the loss that it began with.

    Args:
        model: maps [batch, frames, *grid] to [batch, 1, *grid]. If it has a method `errors` and a buffer `deviation`,
            those are what is minimised, in place of the relative L2 error, and the scale of noise on the inputs.
        config: how predictions follow each other, and how much noise the inputs get.
    """

    noise_key: Tensor
    noise_size: Tensor
    loss_scale: Tensor
    loss_floor: Tensor

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.unroll = config.unroll
        self.half_products = config.precision == "bf16"
        self.noise = config.input_noise
        # Seed of the next step's noise: a tensor, so that stacked replicas have one each.
        self.register_buffer("noise_key", torch.zeros((), dtype=torch.long), persistent=False)
        for name, value in (("noise_size", 1.0), ("loss_scale", 1.0), ("loss_floor", SMALLEST)):
            self.register_buffer(name, torch.tensor(value), persistent=False)

    def fit(self, data: TrainingData) -> None:
        """Take the sizes of the training split in the units of the model's network."""
        if not isinstance(self.model, Normalised):
            return
        _, input_std, output_mean, output_std = self.units()
        scale, floor = loss_units(data.targets.sizes(output_mean, output_std))
        self.loss_scale.fill_(scale)
        self.loss_floor.fill_(floor)
        self.noise_size.fill_(data.inputs.deviation / input_std)

    def units(self) -> tuple[float, ...]:
        """Means and standard deviations that fields are standardised with."""
        if not isinstance(self.model, Normalised):
            return ()
        model = self.model
        return tuple(float(each) for each in (model.input_mean, model.input_std, model.output_mean, model.output_std))

    def fields(self, windows: Windows | MeshWindows) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a split as `forward` takes them."""
        if not isinstance(self.model, Normalised):
            return windows.inputs, windows.targets
        input_mean, input_std, output_mean, output_std = self.units()
        return in_units(windows.inputs, input_mean, input_std), in_units(windows.targets, output_mean, output_std)

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
        stepper = Stepper(self.model)
        if not self.training:
            return self._compared(stepper.run(inputs, targets.shape[1]), targets)
        if self.unroll == "pushforward":
            return self._pushforward(stepper, inputs, targets, int(starts))
        if self.unroll == "autoregressive":
            return self._compared(stepper.run(self._noisy(inputs), targets.shape[1]), targets)
        given, frames = inputs.shape[1], torch.cat([inputs, stepper.as_inputs(targets)], dim=1)
        if self.unroll == "one-step":
            assert isinstance(starts, Tensor)
            rows = torch.arange(len(frames), device=starts.device)[:, None]
            places = starts[:, None] + torch.arange(given, device=starts.device)
            return self._compared(stepper.step(self._noisy(frames[rows, places])), targets[rows, starts[:, None]])
        windows = torch.stack([frames[:, start : start + given] for start in range(targets.shape[1])], dim=1)
        predictions = stepper.step(self._noisy(windows.flatten(0, 1)))
        return self._compared(predictions.reshape(targets.shape), targets)

    def _compared(self, prediction: Tensor, target: Tensor) -> Tensor:
        own = getattr(self.model, "errors", None)
        if own is not None:
            return own(prediction, target)
        return relative_l2(prediction, target, self.loss_scale, self.loss_floor)

    def _pushforward(self, stepper: Stepper, inputs: Tensor, targets: Tensor, passed: int) -> Tensor:
        window = self._noisy(inputs)
        with torch.no_grad():
            for _ in range(passed):
                window = stepper.follow(window, stepper.step(window))
        return self._compared(stepper.step(window), targets[:, passed : passed + 1])

    def _noisy(self, inputs: Tensor) -> Tensor:
        if not self.noise:
            return inputs
        noise = normal_like(self.noise_key, inputs)
        self.noise_key.add_(1)
        return inputs + self.noise * self.noise_size * getattr(self.model, "deviation", 1.0) * noise
