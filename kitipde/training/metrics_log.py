"""The metrics of a replica, a line an epoch, and the same for TensorBoard if it is wanted."""

import importlib.util
import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

from kitipde.errors import InputError
from kitipde.files import write_atomically
from kitipde.runs import Replica

__all__ = ["Record", "check_tensorboard", "epoch_note"]


def check_tensorboard() -> None:
    """Before anything is written.

    Raises:
        InputError: if TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("training.tensorboard=true needs TensorBoard: pip install 'kitipde[tracking]'")


class Record:
    """Appends the rows of one replica.

    Args:
        replica: where.
        tensorboard: whether event files are written too.
    """

    def __init__(self, replica: Replica, tensorboard: bool) -> None:
        self.replica, self.tensorboard = replica, tensorboard
        self.writer: Any = None

    def restart(self, epochs: int) -> None:
        """Keep the rows of the first epochs and no others."""
        rows = self.replica.metrics()[:epochs]
        if rows or self.replica.metrics_path.exists():
            write_atomically(self.replica.metrics_path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        if not self.tensorboard:
            return
        from torch.utils.tensorboard import SummaryWriter

        # Written anew: event files cannot be shortened.
        folder = self.replica.path / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder))
        for row in rows:
            self._show(row)

    def append(self, row: dict[str, Any]) -> None:
        """One more epoch."""
        with self.replica.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.writer is not None:
            self._show(row)

    def flush(self) -> None:
        """Everything appended so far survives a power cut: no saved state may know more epochs than there are rows."""
        if self.replica.metrics_path.exists():
            with self.replica.metrics_path.open("rb") as file:
                os.fsync(file.fileno())
        if self.writer is not None:
            self.writer.flush()

    def _show(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name == "collisions":
                for layer, statistics in value.items():
                    for quantity, number in statistics.items():
                        self.writer.add_scalar(f"{quantity}/layer-{layer}", number, row["epoch"])
            elif name == "condensation":
                for layer, degree in value.items():
                    self.writer.add_scalar(f"condensation/{layer}", degree, row["epoch"])
            elif name != "epoch":
                self.writer.add_scalar(name, value, row["epoch"])


def epoch_note(rows: Sequence[dict[str, Any]], samples: int) -> str:
    """What a person watching is told of an epoch: means over the replicas, and training samples per second of all."""

    def mean(name: str) -> float:
        return sum(row[name] for row in rows) / len(rows)

    text = f"epoch {rows[0]['epoch']}  train {mean('train_loss'):.4g}"
    if "validation_loss" in rows[0]:
        text += f"  validation {mean('validation_loss'):.4g}"
    layers = [layer for row in rows for layer in row.get("collisions", {}).values()]
    if layers:
        rate = sum(layer["collisions_per_particle"] for layer in layers) / len(layers)
        text += f"  collisions {rate:.3g}/particle"
    return f"{text}  {samples / mean('seconds'):.4g} samples/s"
