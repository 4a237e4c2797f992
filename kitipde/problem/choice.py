"""The problem that a file suggests, where the settings leave it open."""

from datagen.store import Dataset
from kitipde.config import DataConfig
from kitipde.errors import InputError

__all__ = ["MOST_FRAMES", "chosen"]

MOST_FRAMES = 10
"""Frames that are predicted by default."""


def chosen(config: DataConfig, dataset: Dataset) -> tuple[DataConfig, str | None]:
    """The settings with every name and number of frames, and what was taken for granted in words, if anything was.

    In this order: the settings; the file's own problem; fields with time, which are given and predicted, one frame and
    up to ten. Of fields without time the user has to name those that are predicted; the others are given.

    Raises:
        InputError: the file leaves open what is predicted; the message lists what there is.
    """
    stored = dataset.problem
    if stored is not None and config.inputs in (None, stored.inputs) and config.targets in (None, stored.targets):
        own = {
            "inputs": stored.inputs,
            "targets": stored.targets,
            "static": config.static or stored.static,
            "parameters": config.parameters or stored.parameters,
            "input_frames": config.input_frames or stored.input_frames,
            "output_frames": config.output_frames or stored.output_frames,
        }
    else:
        own = _guessed(config, dataset)
    complete = config.model_copy(update=own)
    return complete, None if complete == config else f"{dataset.path.name}: {_in_words(complete)}"


def _guessed(config: DataConfig, dataset: Dataset) -> dict[str, object]:
    fields = [name for name, dims in dataset.fields.items() if dims[0] == "sample" and dataset.role(name) == "field"]
    moving = tuple(name for name in fields if "time" in dataset.fields[name])
    targets = config.targets or config.inputs or moving
    if config.targets is None and config.inputs is not None and not set(config.inputs) <= set(moving):
        targets = ()
    if not targets:
        raise InputError(
            f"{dataset.path} does not say what is to be predicted: name it with --targets "
            f"(there {'are' if len(fields) > 1 else 'is'} {', '.join(fields)})"
        )
    with_time = all("time" in dataset.fields.get(name, ()) for name in targets)
    inputs = config.inputs or (targets if with_time else tuple(name for name in fields if name not in targets))
    if not inputs:
        raise InputError(f"{dataset.path} has no field beside {', '.join(targets)} that could be given (--inputs)")
    given = config.input_frames or 1
    stored = len(dataset.times) if with_time and dataset.times is not None else given + 1
    following = (stored - config.start - 1) // config.stride + 1 - given
    return {
        "inputs": inputs,
        "targets": targets,
        "input_frames": given,
        "output_frames": config.output_frames or max(1, min(MOST_FRAMES, following)),
    }


def _in_words(config: DataConfig) -> str:
    assert config.inputs is not None
    assert config.targets is not None

    def listed(names: tuple[str, ...], frames: int) -> str:
        return f"{', '.join(names)}" + (f" ({frames} frames)" if frames > 1 else "")

    given, wanted = config.given_frames, config.wanted_frames
    beside = (*config.static, *config.parameters)
    given_too = f" with {', '.join(beside)}" if beside else ""
    return f"{listed(config.inputs, given)}{given_too} → {listed(config.targets, wanted)}"
