"""Weights that a training starts from instead of random ones: those of another run."""

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from kitipde.errors import InputError
from kitipde.models import Normalised
from kitipde.models.normalised import from_first_edition
from kitipde.models.weights import unpack_weights
from kitipde.runs import Replica, open_run
from kitipde.training.ensemble import Ensemble

__all__ = ["check_start", "check_unchanged", "start_weights", "take_weights"]


def start_weights(source: Path) -> dict[str, str]:
    """SHA-256 of the best weights of each seed of a run that others can start from, by the seed's number.

    Raises:
        InputError: if there is no such run, or it has no trained weights.
    """
    return {str(seed): hashlib.sha256(content).hexdigest() for seed, content in _trained(source).items()}


def check_unchanged(source: Path, replicas: Sequence[Replica]) -> None:
    """Whether the weights that some seeds are to start from are still those that their run was made with.

    Raises:
        InputError: if they are not: the seeds of one run would start from different networks.
    """
    for replica in replicas:
        if replica.start is not None:
            _content(source, replica)


def take_weights(ensemble: Ensemble, source: Path | None, replicas: Sequence[Replica]) -> None:
    """Give replicas that have not begun the weights of another run, if one is named.

    Raises:
        InputError: if it has none, or others than when the replicas' run was made.
    """
    if source is not None:
        for k, replica in enumerate(replicas):
            weights = _unpacked(source, _content(source, replica))
            from_first_edition(ensemble.objective.model, weights)
            ensemble.load_weights(k, weights)


def _trained(source: Path) -> dict[int, bytes]:
    """The files of the trained weights of a run, by seed."""
    files = {replica.seed: replica.best_path for replica in open_run(source).replicas if replica.best_path.is_file()}
    if not files:
        raise InputError(f"training.start_from={source} holds no trained weights yet")
    try:
        return {seed: path.read_bytes() for seed, path in files.items()}
    except OSError as error:
        raise InputError(f"training.start_from: {source} cannot be read: {error}") from error


def _content(source: Path, replica: Replica) -> bytes:
    """The file of the weights that a replica starts from: those of the same seed, or of the other run's first."""
    trained = _trained(source)
    if replica.start is None:
        return trained.get(replica.seed) or trained[min(trained)]
    content = trained.get(replica.start.seed)
    if content is None or hashlib.sha256(content).hexdigest() != replica.start.identity:
        raise InputError(
            f"{replica.path.parent} was started from weights that training.start_from={shlex.quote(str(source))} no "
            f"longer holds: its seed {replica.start.seed} has been trained again since, so seed {replica.seed} would "
            "start from another network than the run's other seeds; start a new run with another --out"
        )
    return content


def _unpacked(source: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return unpack_weights(content)
    except ValueError as error:
        raise InputError(f"training.start_from: the weights of {source} cannot be read: {error}") from error


def check_start(source: Path, model: Normalised) -> None:
    """Whether the weights of another run fit a model.

    Raises:
        InputError: naming the first that does not; or the model is on a mesh, whose nodes are a part of its state.
    """
    if model.problem.domain.kind == "mesh":
        raise InputError("training.start_from is for networks on grids: one on a mesh keeps its nodes with its weights")
    trained = _trained(source)
    weights, wanted = _unpacked(source, trained[min(trained)]), model.state_dict()
    from_first_edition(model, weights)
    for name in sorted({*weights, *wanted}):
        found, own = (list(of[name].shape) if name in of else "none" for of in (weights, wanted))
        if found != own:
            raise InputError(
                f"the weights of training.start_from={shlex.quote(str(source))} do not fit this network: {name} is "
                f"{found} there and {own} here (give it the same model, data.input_frames, inputs and targets)"
            )
