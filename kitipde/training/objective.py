"""What a training step minimises: the error of the predicted frames, and which frames the model is given."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kitipde.collisions import key_noise
from kitipde.collisions.backends.counter_rng import normal_like
from kitipde.config import RunConfig, TrainingConfig
from kitipde.errors import InputError, blaming_settings
from kitipde.models import Normalised, build_model
from kitipde.models.dropout import key_dropout
from kitipde.models.rollout import Stepper
from kitipde.problem.statistics import FieldStatistics, in_units, refuse_constant, refuse_too_large
from kitipde.problem.windows import Batch, Windows
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
    model = build_model(config, replica.problem)
    fit(config, model, data)
    objective = Objective(model, config.training)
    objective.fit(data)
    # Random numbers are keyed from now on; each epoch has its own keys.
    objective.key(replica.seed)
    return objective


def fit(config: RunConfig, model: Normalised, data: TrainingData) -> None:
    """Give the model the statistics of the training split, and its network the geometry.

    Raises:
        InputError: if a field cannot be normalised, or learnt from without.
    """
    check_scales(config, data)
    if config.data.normalize == "standard":
        every = (data.inputs, data.targets, data.context)
        if config.model.one_scale:
            # Inputs and targets are the same fields there.
            both = tuple(given.together(wanted) for given, wanted in zip(data.inputs, data.targets, strict=True))
            every = (both, both, data.context)
        model.fit(*([(one.mean, one.deviation) for one in each] for each in every))
    place = getattr(model.network, "place", None)
    if place is not None:
        place(data.train.geometry)


def check_scales(config: RunConfig, data: TrainingData) -> None:
    """Whether the fields of the training split have a size that can be learnt.

    Raises:
        InputError: one is constant where it has to be standardised, a target is zero everywhere, or values are so large
            or small that float32 cannot hold them where they are not standardised.
    """
    for setting, name, statistics in _described(config, data):
        if setting == "data.targets" and not statistics.largest:
            raise InputError(f"data.targets={name} is zero in every training sample: there is nothing to learn")
        if config.data.normalize == "standard":
            instead = f"choose another field, or set data.normalize=none to give {name} to the network as it is"
            refuse_constant(statistics, setting, name, instead)
        else:
            refuse_too_large(statistics, setting, name)


def _described(config: RunConfig, data: TrainingData) -> list[tuple[str, str, FieldStatistics]]:
    """Each field of the training split: the setting that names it, its name, its statistics."""
    settings = config.data
    context = [
        *(("data.static", name) for name in settings.static),
        *(("data.parameters", n) for n in settings.parameters),
    ]
    named = [
        *(("data.inputs", name) for name in settings.inputs or ()),
        *(("data.targets", name) for name in settings.targets or ()),
        *context,
    ]
    every = (*data.inputs, *data.targets, *data.context)
    return [(setting, name, one) for (setting, name), one in zip(named, every, strict=True)]


def check_unroll(config: TrainingConfig, model: Normalised) -> None:
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

    Fields are in the units of the model's network: standardised. What the loss of each field is divided by at least,
    what brings it to a size near 1 and the size of the noise are buffers of their own: they are part of each saved
    state, so that a run that continues has the loss that it began with.

    Args:
        model: the operator. If its network has a method `errors`, those are what is minimised, in place of the relative
            L2 error.
        config: how predictions follow each other, and how much noise the inputs get.
    """

    noise_key: Tensor
    noise_size: Tensor
    loss_scale: Tensor
    loss_floor: Tensor

    def __init__(self, model: Normalised, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.unroll = config.unroll
        self.half_products = config.precision == "bf16"
        self.noise = config.input_noise
        inputs, targets = len(model.problem.inputs), len(model.problem.targets)
        # Seed of the next step's noise: a tensor, so that stacked replicas have one each.
        self.register_buffer("noise_key", torch.zeros((), dtype=torch.long), persistent=False)
        self.register_buffer("noise_size", torch.ones(inputs), persistent=False)
        self.register_buffer("loss_scale", torch.ones(targets), persistent=False)
        self.register_buffer("loss_floor", torch.full((targets,), SMALLEST), persistent=False)

    def fit(self, data: TrainingData) -> None:
        """Take the sizes of the training split in the units of the model's network."""
        model = self.model
        for place, statistics in enumerate(data.targets):
            mean, deviation = float(model.output_mean[place]), float(model.output_std[place])
            self.loss_scale[place], self.loss_floor[place] = loss_units(statistics.sizes(mean, deviation))
        for place, statistics in enumerate(data.inputs):
            self.noise_size[place] = statistics.deviation / float(model.input_std[place])

    def units(self) -> tuple[float, ...]:
        """Means and standard deviations that fields are standardised with."""
        names = ("input_mean", "input_std", "output_mean", "output_std", "context_mean", "context_std")
        return tuple(value for name in names for value in getattr(self.model, name).tolist())

    def fields(self, windows: Windows) -> Batch:
        """A split as `forward` takes it."""
        model = self.model
        known = [name in model.problem.known for name in model.problem.inputs]
        inputs = list(zip(model.input_mean.tolist(), model.input_std.tolist(), strict=True))
        later = (
            [moments for moments, there in zip(inputs, known, strict=True) if there] if windows.known.shape[2] else []
        )
        context = list(zip(model.context_mean.tolist(), model.context_std.tolist(), strict=True))
        return Batch(
            in_units(windows.inputs, 2, inputs),
            in_units(windows.targets, 2, list(zip(model.output_mean.tolist(), model.output_std.tolist(), strict=True))),
            in_units(windows.context, 1, context),
            in_units(windows.known, 2, later),
        )

    def key(self, *seeds: int) -> None:
        """From now on every random number follows from these seeds and a count of calls."""
        key_noise(self, *seeds)
        self.noise_key.fill_(int(draw(1 << 62, 1, *seeds)))
        # A word of its own, so that input noise and dropout differ.
        key_dropout(self, int(draw(1 << 61, 1, *seeds, 2)))

    def forward(self, batch: Batch, starts: Int[Tensor, "batch"] | int = 0) -> Float[Tensor, "batch predicted"]:
        """The error of each predicted frame.

        Args:
            batch: standardised frames, given and following.
            starts: for `one-step` which of the frames to predict, for `pushforward` how many to pass before.
        """
        with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=self.half_products):
            return self._errors(batch, starts)

    def _errors(self, batch: Batch, starts: Tensor | int) -> Tensor:
        inputs, targets = batch.inputs, batch.targets
        stepper = Stepper(self.model, batch.context, batch.known)
        if not self.training:
            return self._compared(stepper.run(inputs, targets.shape[1]), targets)
        if self.unroll == "pushforward":
            return self._pushforward(stepper, inputs, targets, int(starts))
        if self.unroll == "autoregressive":
            return self._compared(stepper.run(self._noisy(inputs), targets.shape[1]), targets)
        # The last frame is never given.
        given, frames = inputs.shape[1], inputs
        if targets.shape[1] > 1:
            frames = torch.cat([inputs, stepper.as_inputs(targets[:, :-1])], dim=1)
        if self.unroll == "one-step":
            assert isinstance(starts, Tensor)
            rows = torch.arange(len(frames), device=starts.device)[:, None]
            places = starts[:, None] + torch.arange(given, device=starts.device)
            return self._compared(stepper.step(self._noisy(frames[rows, places])), targets[rows, starts[:, None]])
        windows = torch.stack([frames[:, start : start + given] for start in range(targets.shape[1])], dim=1)
        context = batch.context.repeat_interleave(targets.shape[1], dim=0)
        predictions = Stepper(self.model, context).step(self._noisy(windows.flatten(0, 1)))
        return self._compared(predictions.reshape(targets.shape), targets)

    def _compared(self, prediction: Tensor, target: Tensor) -> Tensor:
        own = getattr(self.model.network, "errors", None)
        if own is not None:
            return own(prediction, target)
        return relative_l2(prediction, target, self.loss_scale, self.loss_floor)

    def _pushforward(self, stepper: Stepper, inputs: Tensor, targets: Tensor, passed: int) -> Tensor:
        window = self._noisy(inputs)
        with torch.no_grad():
            for place in range(passed):
                window = stepper.follow(window, stepper.step(window), place)
        return self._compared(stepper.step(window), targets[:, passed : passed + 1])

    def _noisy(self, inputs: Tensor) -> Tensor:
        if not self.noise:
            return inputs
        noise = normal_like(self.noise_key, inputs)
        self.noise_key.add_(1)
        size = self.noise_size.reshape(-1, *(1,) * (inputs.ndim - 3))
        return inputs + self.noise * size * noise
