"""Settings of the optimizer, its schedule and the training loop."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from kitipde.config.optimizer_collisions import OptimizerCollisionsConfig
from kitipde.config.section import Count, Section, Seed

__all__ = ["OptimizerConfig", "ScheduleConfig", "TrainingConfig"]


class OptimizerConfig(Section):
    """Adam or AdamW (decoupled weight decay), with KO's collisions between gradients if they are wanted."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    collisions: OptimizerCollisionsConfig = OptimizerCollisionsConfig()


class ScheduleConfig(Section):
    """Learning rate against training time. `onecycle` follows it step by step, the others epoch by epoch.

    Attributes:
        name: `step` multiplies by `factor` every `every` epochs; `cosine` falls to zero over the run; `onecycle` rises
            to the learning rate and falls to nearly zero, both along half a cosine.
        every: epochs between two steps.
        factor: what a step multiplies by.
        rise: share of the run over which `onecycle` rises.
        start_divisor: `onecycle` starts at learning_rate / start_divisor.
        end_divisor: `onecycle` ends at its start / end_divisor.
    """

    name: Literal["constant", "step", "cosine", "onecycle"] = "step"
    every: Count = 100
    factor: float = Field(default=0.5, gt=0.0, le=1.0)
    rise: float = Field(default=0.3, gt=0.0, lt=1.0)
    start_divisor: float = Field(default=25.0, ge=1.0, allow_inf_nan=False)
    end_divisor: float = Field(default=1e4, ge=1.0, allow_inf_nan=False)


class TrainingConfig(Section):
    """The training loop. The objective is the relative L2 error; that on a mesh is in `kitipde.models.mesh`.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per step, over all devices.
        batch_reduction: whether a step's loss is the mean or the sum over its samples. With Adam the two differ only in
            how much the weight decay counts; the published FNO scripts sum.
        frame_reduction: whether a sample's loss is the sum or the mean over its predicted frames. With Adam the two
            differ only in what `clip_norm` and the weight decay of `adam` mean.
        curriculum_frames: predicted frames in the first step, of which there are more and more until all are; none
            for all from the beginning.
        curriculum_share: share of the run's steps after which all frames are predicted.
        unroll: what the model sees while training. `autoregressive`: its own predictions, with the gradient through
            all of them; `teacher-forcing`: the true frames before each predicted one; `one-step`: the same for one
            predicted frame of each sample, drawn anew each epoch; `pushforward`: its own predictions, as many as drawn
            for the step, with the gradient through the last only (Brandstetter et al., 2022).
        input_noise: deviation of normal noise added to the input frames while training, as a share of theirs.
        clip_norm: longest gradient that is used as it is; longer ones are shortened to it; none for any.
        ema: decay per step of an exponential moving average of the weights, which is then what is validated and kept;
            none for the weights themselves.
        validate_every: epochs from one validation to the next; the first and the last epoch have one in any case.
        patience: epochs without a lower validation loss after which a seed stops; none for never.
        seed: seed of the first replica; replica k uses seed + k for initialisation, batch order and collisions.
        seeds: how many replicas are trained.
        seeds_at_once: how many of them are stacked and trained as one; `auto` for all on a GPU, and on a CPU for as
            many small networks as its caches hold.
        precision: `float32`; `tf32` for matrix products with ten bits of mantissa on GPUs that have it; `bf16` for
            matrix products in bfloat16. Fourier transforms and the distances of particles stay in float32.
        matrix_products: which library computes float32 matrix products on a CPU: `default` for torch's choice; `onednn`
            for oneDNN, unless it would round them on this processor; `auto` for whichever is faster without rounding.
        checkpoint_seconds: a state that `--resume` continues from is saved when this time has passed, and at the end.
        checkpoints_kept: how many such states are kept.
        device: `auto` takes a GPU when there is one.
        devices: GPUs (or processes on a CPU) of one node that share each batch.
        nodes: machines that share each batch.
        deterministic: whether operations whose sums depend on the order in which a GPU's threads come are replaced by
            slower ones that do not, or refused where torch has none; a CPU has none of them.
        start_from: run folder whose best weights, and normalisation, each seed starts from (those of the network of the
            same seed, or of its first) instead of random ones: for another viscosity, grid or number of frames.
        track_condensation: whether each epoch records how condensed each layer's weights are (`kitipde condense` has
            the definitions).
        tensorboard: whether the metrics are also written for TensorBoard (`pip install '.[tracking]'`).
    """

    epochs: Count = 500
    batch_size: Count = 20
    batch_reduction: Literal["mean", "sum"] = "mean"
    frame_reduction: Literal["sum", "mean"] = "sum"
    curriculum_frames: Count | None = None
    curriculum_share: float = Field(default=0.2, gt=0.0, le=1.0)
    unroll: Literal["autoregressive", "teacher-forcing", "one-step", "pushforward"] = "autoregressive"
    input_noise: NonNegativeFloat = 0.0
    clip_norm: PositiveFloat | None = None
    ema: float | None = Field(default=None, gt=0.0, lt=1.0)
    validate_every: Count = 1
    patience: Count | None = None
    seed: Seed = 0
    seeds: Count = 1
    seeds_at_once: Count | Literal["auto"] = "auto"
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    matrix_products: Literal["auto", "default", "onednn"] = "auto"
    checkpoint_seconds: NonNegativeFloat = 20.0
    checkpoints_kept: Count = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Count = 1
    nodes: Count = 1
    deterministic: bool = False
    start_from: Path | None = None
    track_condensation: bool = False
    tensorboard: bool = False

    def validates(self, epoch: int) -> bool:
        """Whether there is a validation after so many epochs."""
        return epoch in (1, self.epochs) or epoch % self.validate_every == 0

    @model_validator(mode="after")
    def _curriculum_needs_whole_rollouts(self) -> Self:
        if self.curriculum_frames is not None and self.unroll != "autoregressive":
            raise ValueError(
                f"curriculum_frames={self.curriculum_frames} needs unroll=autoregressive, not {self.unroll}"
            )
        return self
