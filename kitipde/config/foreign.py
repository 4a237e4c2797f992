"""Words for settings that users bring from other programs, and what these settings are called here."""

from collections.abc import Iterator

from pydantic import BaseModel

from kitipde.config.networks import AirfoilOFormerConfig, FNOConfig, NetworkConfig, OFormerConfig
from kitipde.config.schema import RunConfig
from kitipde.config.section import sections_of

__all__ = ["settings_called"]

_WORDS: dict[str, tuple[str, ...]] = {
    "optimizer.learning_rate": ("lr", "learningrate", "initial_lr", "init_lr", "step_size"),
    "optimizer.weight_decay": ("wd", "decay", "l2", "l2_reg"),
    "optimizer.name": ("opt", "optim", "optimizer", "optimizer_name"),
    "schedule.name": ("scheduler", "lr_scheduler", "lr_schedule"),
    "schedule.every": ("step_epochs", "scheduler_step"),
    "schedule.factor": ("gamma", "scheduler_gamma", "lr_decay"),
    "training.epochs": ("n_epochs", "num_epochs", "nepochs", "max_epochs", "ep"),
    "training.batch_size": ("batch", "bs", "batchsize", "train_batch_size", "minibatch"),
    "training.seed": ("random_seed", "manual_seed", "rng"),
    "training.seeds": ("n_seeds", "num_seeds", "repeats", "runs"),
    "training.clip_norm": ("grad_clip", "clip", "gradient_clip_val", "clip_grad_norm", "max_grad_norm"),
    "training.patience": ("early_stopping",),
    "training.precision": ("amp", "mixed_precision", "dtype"),
    "training.devices": ("gpus", "n_gpus", "num_gpus"),
    "training.nodes": ("num_nodes",),
    "training.input_noise": ("noise_level", "noise_std"),
    "model.modes": ("n_modes", "num_modes", "modes1", "modes2", "num_fno_modes", "fno_modes"),
    "model.width": (
        "hidden_channels",
        "hidden",
        "hidden_size",
        "hidden_dim",
        "channels",
        "latent_channels",
        "n_hidden",
    ),
    "model.layers": ("n_layers", "num_layers", "depth", "num_fno_layers", "n_blocks", "blocks"),
    "model.activation": ("non_linearity", "nonlinearity", "act"),
    "model.projection_width": ("projection_channels", "projection_channel_ratio", "decoder_layer_size"),
    "model.name": ("arch", "architecture", "network"),
    "data.path": ("dataset", "data_path", "file", "filename", "data_dir", "root"),
    "data.train": ("ntrain", "n_train", "num_train", "train_size"),
    "data.validation": ("val", "nval", "n_val", "valid", "n_valid"),
    "data.test": ("ntest", "n_test", "num_test", "test_size", "n_tests"),
    "data.resolution": ("res", "train_resolution", "grid", "size", "s"),
    "data.input_frames": ("t_in", "input_steps", "initial_step", "n_history", "history"),
    "data.output_frames": ("t_out", "output_steps", "rollout_steps", "horizon", "future_window"),
    "data.normalize": ("normalise", "normalization", "normalisation", "normalizer", "standardize"),
    "residual.kind": ("residual", "kiti"),
}


def settings_called(word: str) -> tuple[str, ...]:
    """The keys of the settings that somebody may mean by a word: ours of this name, else those that others call so.

    Args:
        word: a key, or the last part of one.
    """
    last = word.rpartition(".")[2].lower().replace("-", "_")
    ours = tuple(dict.fromkeys(key for key in _keys(RunConfig) if key.rpartition(".")[2] == last))
    return ours or tuple(key for key, words in _WORDS.items() if last in words)


def _keys(section: type[BaseModel], parents: str = "") -> Iterator[str]:
    """The dotted keys of all settings that hold a value."""
    for name, field in section.model_fields.items():
        below = sections_of(field.annotation)
        if NetworkConfig in below:
            below = [AirfoilOFormerConfig, OFormerConfig, FNOConfig]
        if not below:
            yield f"{parents}{name}"
        for each in below:
            yield from _keys(each, f"{parents}{name}.")
