"""Weights that a training starts from instead of random ones: those of another run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from kitipde.errors import InputError
from kitipde.models import MeshOperator, Normalised
from kitipde.models.weights import unpack_weights
from kitipde.runs import open_run
from kitipde.training.ensemble import Ensemble

__all__ = ["check_start", "take_weights"]


def take_weights(ensemble: Ensemble, source: Path | None, seeds: Sequence[int]) -> None:
    """Give replicas that have not begun the weights of another run, if one is named."""
    if source is not None:
        for k, seed in enumerate(seeds):
            ensemble.load_weights(k, _starting_weights(source, seed))


def _starting_weights(source: Path, seed: int) -> dict[str, Tensor]:
    """The best weights of another run's network of the same seed, or of its first, with its normalisation.

    Args:
        source: the run folder.
        seed: of the replica that starts from them.

    Raises:
        InputError: if there is no such run, or it has no trained weights.
    """
    trained = {replica.seed: replica for replica in open_run(source).replicas if replica.best_path.is_file()}
    if not trained:
        raise InputError(f"training.start_from={source} holds no trained weights yet")
    chosen = trained.get(seed) or trained[min(trained)]
    try:
        return unpack_weights(chosen.best_path.read_bytes())
    except (ValueError, OSError) as error:
        raise InputError(f"training.start_from: {chosen.best_path} cannot be read: {error}") from error


def check_start(source: Path, model: Normalised | MeshOperator) -> None:
    """Whether the weights of another run fit a model.

    Raises:
        InputError: naming the first that does not; or the model is on a mesh, whose nodes are a part of its state.
    """
    if isinstance(model, MeshOperator):
        raise InputError("training.start_from is for networks on grids: one on a mesh keeps its nodes with its weights")
    weights, wanted = _starting_weights(source, 0), model.state_dict()
    for name in sorted({*weights, *wanted}):
        found, own = (list(of[name].shape) if name in of else "none" for of in (weights, wanted))
        if found != own:
            raise InputError(
                f"the weights of training.start_from={shlex.quote(str(source))} do not fit this network: {name} is "
                f"{found} there and {own} here (give it the same model, data.input_frames and target)"
            )
