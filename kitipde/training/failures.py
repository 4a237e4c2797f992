"""Trouble with disk, memory or the loss while a run is trained, as one line that says what would help."""

import gc
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch

from kitipde.config import RunConfig
from kitipde.errors import InputError, NoMemoryError, SettingsError, out_of_memory
from kitipde.runs import Replica
from kitipde.training.standing import TrainingData

__all__ = ["learnt_nothing", "refuse_not_finite", "target_size", "told"]


@contextmanager
def told(folder: Path, batch: int, replicas: int, attempt: Callable[[int], None] | None) -> Iterator[None]:
    """In this block trouble with disk or memory becomes one line.

    Args:
        folder: of the run.
        batch: samples of a batch.
        replicas: seeds that are stacked.
        attempt: takes a step with as many samples; none where it cannot be tried.

    Raises:
        InputError: the folder is gone or cannot be written to.
        NoMemoryError: a batch does not fit into memory.
    """
    try:
        yield
    except OSError as error:
        if not folder.is_dir():
            raise InputError(f"{folder} was removed while it was trained: nothing more can be saved") from error
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; the last state that was saved is whole: make "
            "room and continue with --resume"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise _batch_too_large(error, batch, replicas, attempt) from None


def target_size(data: TrainingData) -> float:
    """Root mean square of the targets of the training split: that of the field which is farthest from 1."""
    sizes = [float(one.sizes(0.0, 1.0).square().mean().sqrt()) for one in data.targets]
    return max(sizes, key=lambda size: abs(math.log(size)) if size else math.inf)


def refuse_not_finite(replica: Replica, epoch: int, config: RunConfig, size: float) -> NoReturn:
    """End a training whose loss has left the finite numbers.

    Args:
        replica: whose loss it is.
        epoch: from 1.
        config: settings of the run.
        size: see `target_size`.

    Raises:
        SettingsError: always.
    """
    kept = f"; the last good state is in {replica.checkpoints_path}" if replica.best_path.is_file() else ""
    advice = _normalise(config, size)
    advice = advice or f"lower optimizer.learning_rate (now {config.optimizer.learning_rate:g})"
    raise SettingsError(f"the loss of seed {replica.seed} is not finite in epoch {epoch}: {advice}{kept}")


def learnt_nothing(losses: Mapping[int, float | None], config: RunConfig, size: float) -> str | None:
    """What to say of networks that are no better than a constant; None if all of them are.

    Args:
        losses: best validation loss of each seed.
        config: settings of the run.
        size: see `target_size`.
    """
    poor = {str(seed): loss for seed, loss in losses.items() if loss is not None and loss >= 1}
    if not config.model.relative_loss or not poor:
        return None
    which = f"seed{'s' if len(poor) > 1 else ''} {', '.join(poor)}"
    constant = "zero" if config.data.normalize == "none" else "the mean of the training targets"
    advice = _normalise(config, size) or "train longer, or with another learning rate or network"
    return f"{which}: a validation loss of {min(poor.values()):.3g} is no better than predicting {constant}; {advice}"


def _normalise(config: RunConfig, size: float) -> str | None:
    """The advice to normalise, where fields far from a size of 1 are given to the network as they are."""
    if config.data.normalize != "none" or 1e-2 < size < 1e2:
        return None
    return f"{', '.join(config.data.targets or ())} has values of size {size:.2g}: set data.normalize=standard"


def _batch_too_large(
    error: BaseException, batch: int, replicas: int, attempt: Callable[[int], None] | None
) -> NoMemoryError:
    """The complaint about a batch that memory was not enough for, with a size that was tried and fits.

    Args:
        error: what was raised; what its frames hold on to is given back.
        batch: samples of the batch.
        replicas: seeds that are stacked.
        attempt: takes a step with as many samples; none where it cannot be tried.
    """
    traceback.clear_frames(error.__traceback__)
    text = f"training.batch_size={batch} does not fit into memory"
    if replicas > 1:
        text += f" with {replicas} seeds at once (training.seeds_at_once=1 takes the least)"
    if attempt is None:
        return NoMemoryError(f"{text}: give a smaller one")
    size = batch // 2
    # With a quarter more: a run also keeps the moments of the optimizer and its best weights.
    while size and not _fits(attempt, size + -(-size // 4)):
        size //= 2
    if not size:
        text += ", nor does 1: make the network (model.width) or the grid (data.resolution) smaller"
        return NoMemoryError(text)
    return NoMemoryError(f"{text}; {size} does: start again with --overwrite --set training.batch_size={size}")


def _fits(attempt: Callable[[int], None], size: int) -> bool:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        attempt(size)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        return False
    return True
