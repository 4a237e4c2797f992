"""From one CPU to many GPUs on many machines: the same program, started once for each device.

With `training.devices=2` the program starts itself a second time; `torchrun` and SLURM's `srun` start all of them, and
Lightning Fabric finds out from the environment which of them this is.
"""

import logging
import os
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from kitipde.config import TrainingConfig
from kitipde.errors import InputError
from kitipde.memory import keep_freed_memory

__all__ = ["launch", "on_first"]

Result = TypeVar("Result")


def launch(config: TrainingConfig) -> Fabric:
    """Join the processes that share the work; returns in each of them.

    Raises:
        InputError: if there are fewer GPUs than asked for, or they lack the precision.
    """
    devices, nodes = config.devices, config.nodes
    if "LOCAL_WORLD_SIZE" in os.environ:
        # torchrun has been told already, and it alone knows.
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device=cuda, but torch finds no GPU here; allowed: auto, cpu")
    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if on_gpu and devices > torch.cuda.device_count():
        raise InputError(f"training.devices={devices}, but this machine has {torch.cuda.device_count()} GPUs")
    if config.deterministic:
        # cuBLAS reads this when the first product is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic)
    # Products only: `high` is TF32 on GPUs that have it. Collisions switch it off for their distances.
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    # What Lightning says about its own start is no news to who asked for two processes.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=devices,
        num_nodes=nodes,
        # Buffers are counters of each process; the statistics of the data are the same everywhere.
        strategy=DDPStrategy(broadcast_buffers=False) if devices * nodes > 1 else "auto",
        # Its mixed precision would round the fields themselves: the objective has an autocast of its own.
        precision="32-true",
    )
    fabric.launch()
    if not on_gpu:
        keep_freed_memory()
    return fabric


def on_first(fabric: Fabric, function: Callable[[], Result]) -> Result:
    """Call a function in the first process; all of them get its result, or its complaint about the input."""
    outcome: tuple[Result | None, str | None] = (None, None)
    if fabric.is_global_zero:
        try:
            outcome = (function(), None)
        except InputError as error:
            outcome = (None, str(error))
    result, complaint = fabric.broadcast(outcome)
    if complaint is not None:
        raise InputError(complaint)
    return result  # pyright: ignore[reportReturnType]
