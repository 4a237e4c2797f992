"""Which frames a model may be asked for: a map that is applied to its own predictions needs them among its inputs."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from datagen.store import Dataset
from kitipde.config import DataConfig, RunConfig
from kitipde.errors import InputError

__all__ = ["check_rollout", "times_used"]

# Instants written in a few digits are still evenly spaced.
_TOLERANCE = 1e-3


def times_used(dataset: Dataset, config: DataConfig, frames: int | None = None) -> Float[np.ndarray, "frames"] | None:
    """Instants of the frames that are given and predicted; None for fields without time.

    Args:
        dataset: an open file.
        config: which fields, and how many frames.
        frames: predicted ones; None for as many as in training.
    """
    assert config.inputs is not None
    if dataset.times is None or "time" not in dataset.fields.get(config.inputs[0], ()):
        return None
    times = np.asarray(dataset.times)[config.start :]
    if config.windows == "all" and frames is None:
        # Windows begin at every frame.
        return times
    return times[:: config.stride][: config.given_frames + (config.wanted_frames if frames is None else frames)]


def check_rollout(
    config: RunConfig, path: Path, times: Float[np.ndarray, "frames"] | None, frames: int | None = None
) -> None:
    """Whether the frames that are predicted can follow each other.

    A network that predicts one frame is repeated when several are trained or asked for: then its prediction has to be
    its next input, and one map holds for one time step. A network that marches in its latent space is bound to evenly
    spaced instants only beyond the frames that it was trained on.

    Args:
        config: settings that the run was trained with.
        path: of the dataset.
        times: instants of the given and the predicted frames; None without time.
        frames: predicted ones; None for as many as in training.

    Raises:
        InputError: the predicted field is not the given one, or the instants are not evenly spaced.
    """
    data, marches = config.data, config.model.marches
    wanted = data.wanted_frames if frames is None else frames
    repeated = not marches and max(wanted, data.wanted_frames) > 1
    inputs, targets = data.inputs or (), data.targets or ()
    # Inputs with time that are not predicted are known in advance, as a forcing is.
    if repeated and not (set(inputs) & set(targets) and times is not None):
        asked = f"data.output_frames={wanted}" if frames in (None, data.wanted_frames) else f"--frames {wanted}"
        raise InputError(
            f"{asked}: predictions of {', '.join(map(repr, targets))} cannot follow each other, because the network "
            f"takes {', '.join(map(repr, inputs))}: predict one frame, or train with the same variables as data.inputs "
            "and data.targets"
        )
    if times is None or data.allow_uneven_times or not (repeated or wanted > data.wanted_frames):
        return
    steps = np.diff(times)
    if np.ptp(steps) > _TOLERANCE * abs(np.median(steps)):
        raise InputError(
            f"the frames of {path} are {steps.min():.4g} to {steps.max():.4g} apart, and a map that is applied to its "
            "own predictions has one time step: give evenly spaced frames or predict one, or train with "
            "data.allow_uneven_times=true to have one map for all these steps"
        )
