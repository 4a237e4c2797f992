"""The training loop of one replica: a function of its seed alone, whether it was interrupted or not."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from kitipde.collisions.diagnostics import CollisionStatistics, collect, gap_warning
from kitipde.collisions.schedule import advance
from kitipde.config import OptimizerConfig, RunConfig
from kitipde.data.windows import Windows
from kitipde.errors import InputError
from kitipde.files import write_atomically, write_json
from kitipde.models import build_model, parameter_count, rollout
from kitipde.runs import Replica
from kitipde.training.checkpoint import Weights, load_checkpoint, save_checkpoint
from kitipde.training.interrupt import Interrupt
from kitipde.training.losses import relative_l2
from kitipde.training.provenance import peak_memory_bytes, provenance
from kitipde.training.schedule import learning_rate

__all__ = ["Trainer", "TrainingData", "batch_order", "make_optimizer"]


@dataclass(frozen=True)
class TrainingData:
    """The two splits that training may see."""

    train: Windows
    validation: Windows


@dataclass
class Position:
    """How far a replica has come; part of each saved state.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the current epoch.
        loss_sum: relative error summed over the samples and frames of the current epoch; on the device.
        best_loss: lowest validation loss so far.
        best_epoch: the epoch (from 1) that had it.
        epoch_seconds: time spent in the current epoch before it was interrupted.
        seconds: time spent in the finished epochs.
        warned: whether the gap between collisions on and off has been told.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    best_loss: float = math.inf
    best_epoch: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    warned: bool = False


class Trainer:
    """One seed in training.

    Args:
        config: the settings of the run.
        data: training and validation windows.
        replica: where everything is written.
        remark: told what a person should know.
    """

    def __init__(self, config: RunConfig, data: TrainingData, replica: Replica, remark: Callable[[str], None]) -> None:
        self.config, self.replica, self.remark = config, replica, remark
        self.fabric = Fabric(accelerator=config.training.device, devices=1)
        # Initialised on the CPU: a seed means the same weights on every device.
        torch.manual_seed(replica.seed)
        model = build_model(config, replica.dimension)
        if config.data.normalize == "standard":
            model.fit(data.train.inputs, data.train.targets)
        self.model, self.optimizer = self.fabric.setup(model, make_optimizer(config.optimizer, model))
        self.train_fields = self._on_device(data.train)
        self.validation_fields = self._on_device(data.validation)
        # As many training samples as there are validation samples show the loss without collisions well enough.
        count = min(len(data.train), len(data.validation))
        self.probe_fields = (self.train_fields[0][:count], self.train_fields[1][:count])
        self.steps = math.ceil(len(data.train) / config.training.batch_size)
        self.position = Position(loss_sum=torch.zeros((), dtype=torch.float64, device=self.fabric.device))
        self.best: Weights = self._weights()

    def run(self, report: Callable[[int, int, str], None], interrupt: Interrupt) -> None:
        """Train from where the replica stands to its last epoch.

        Args:
            report: told (finished steps, all steps, a note) after each step.
            interrupt: looked at after each step.

        Raises:
            InputError: if the loss is not finite, or no saved state is intact.
            KeyboardInterrupt: when asked to stop, after the state has been saved.
        """
        self._resume()
        self._write_facts(finished=False)
        position, training = self.position, self.config.training
        saved, note = time.monotonic(), ""
        while position.epoch < training.epochs:
            started = time.monotonic() - position.epoch_seconds
            self._begin_epoch()
            order = batch_order(self.replica.seed, position.epoch, len(self.train_fields[0]))
            for step in range(position.step, self.steps):
                batch = order[step * training.batch_size : (step + 1) * training.batch_size]
                self._step(batch.to(self.fabric.device))
                position.step = step + 1
                position.epoch_seconds = time.monotonic() - started
                report(position.epoch * self.steps + position.step, training.epochs * self.steps, note)
                if interrupt.requested:
                    self._save()
                    raise KeyboardInterrupt
            note = self._finish_epoch(started)
            if time.monotonic() - saved > training.checkpoint_seconds or position.epoch == training.epochs:
                self._save()
                saved = time.monotonic()
        self._write_facts(finished=True)

    def _begin_epoch(self) -> None:
        config, epoch = self.config, self.position.epoch
        rate = learning_rate(config.schedule, config.optimizer.learning_rate, epoch, config.training.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        advance(self.model, epoch / config.training.epochs)
        self.model.train()

    def _step(self, batch: Tensor) -> None:
        inputs, targets = (fields[batch] for fields in self.train_fields)
        errors = relative_l2(rollout(self.model, inputs, targets.shape[1]), targets)
        per_sample = errors.sum(dim=1)
        objective = per_sample.sum() if self.config.training.batch_reduction == "sum" else per_sample.mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(objective)
        self.optimizer.step()
        self.position.loss_sum += errors.detach().sum()

    def _finish_epoch(self, started: float) -> str:
        """Validate, remember the best weights, write the epoch's line; returns what the progress bar shows."""
        position, config = self.position, self.config
        train_loss = float(position.loss_sum) / (len(self.train_fields[0]) * self.train_fields[1].shape[1])
        validation_loss = self._evaluate(self.validation_fields)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise InputError(
                f"the loss is not finite in epoch {position.epoch + 1}: lower optimizer.learning_rate "
                f"(now {config.optimizer.learning_rate:g}); the last good state is in {self.replica.checkpoints_path}"
            )
        row: dict[str, Any] = {
            "epoch": position.epoch + 1,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        statistics = collect(self.model)
        if config.residual.kind != "plain":
            row["train_loss_without_collisions"] = self._evaluate(self.probe_fields)
            row["collisions"] = {str(layer): asdict(values) for layer, values in statistics.items()}
            self._warn_of_gap(train_loss, row["train_loss_without_collisions"], statistics)
        if validation_loss < position.best_loss:
            position.best_loss, position.best_epoch = validation_loss, position.epoch + 1
            self.best = self._weights()
        row["seconds"] = time.monotonic() - started
        position.epoch, position.step = position.epoch + 1, 0
        position.seconds, position.epoch_seconds = position.seconds + row["seconds"], 0.0
        position.loss_sum.zero_()
        with self.replica.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return f"epoch {position.epoch}  train {train_loss:.4g}  validation {validation_loss:.4g}"

    def _warn_of_gap(
        self, train_loss: float, without_collisions: float, statistics: dict[int, CollisionStatistics]
    ) -> None:
        # In the first epochs every loss falls too fast for the two to be compared.
        if self.position.warned or self.position.epoch + 1 < max(2, self.config.training.epochs // 10):
            return
        warning = gap_warning(train_loss, without_collisions, statistics)
        if warning is not None:
            self.remark(warning)
            self.position.warned = True

    @torch.no_grad()
    def _evaluate(self, fields: tuple[Tensor, Tensor]) -> float:
        """Mean relative error over samples and frames in evaluation mode."""
        self.model.eval()
        size = self.config.training.batch_size
        errors = [
            relative_l2(rollout(self.model, inputs, targets.shape[1]), targets)
            for inputs, targets in zip(*(field.split(size) for field in fields), strict=True)
        ]
        return float(torch.cat(errors).mean())

    def _save(self) -> None:
        position = asdict(self.position)
        state = {
            "position": position,
            "optimizer": self.optimizer.state_dict(),
            "diagnostics": self._diagnostics(),
            "cpu_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.fabric.device.type == "cuda" else [],
        }
        name = f"{self.position.epoch:06d}-{self.position.step:06d}"
        save_checkpoint(self.replica.checkpoints_path, name, self._weights(), self.best, state)
        best = self.replica.checkpoints_path / name / "best.safetensors"
        write_atomically(self.replica.best_path, best.read_bytes())

    def _resume(self) -> None:
        self.replica.path.mkdir(parents=True, exist_ok=True)
        loaded = load_checkpoint(self.replica.checkpoints_path)
        if loaded is None:
            self.replica.metrics_path.unlink(missing_ok=True)
            return
        weights, best, state, remarks = loaded
        for text in remarks:
            self.remark(text)
        self.model.load_state_dict(weights)
        self.best = {name: tensor.to(self.fabric.device) for name, tensor in best.items()}
        self.optimizer.load_state_dict(state["optimizer"])
        for name, buffer in self._diagnostics().items():
            buffer.copy_(state["diagnostics"][name])
        torch.set_rng_state(state["cpu_rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.position = Position(**state["position"])
        self.position.loss_sum = self.position.loss_sum.to(self.fabric.device)
        # Lines of epochs that the state does not know yet will be written again.
        rows = self.replica.metrics()[: self.position.epoch]
        write_atomically(self.replica.metrics_path, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def _weights(self) -> Weights:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _diagnostics(self) -> dict[str, Tensor]:
        """Buffers that are no part of the weights: sums of the collision statistics of the current epoch."""
        persistent = self.model.state_dict().keys()
        return {name: buffer for name, buffer in self.model.named_buffers() if name not in persistent}

    def _write_facts(self, finished: bool) -> None:
        position, device = self.position, self.fabric.device
        facts = {
            "finished": finished,
            "seed": self.replica.seed,
            "parameters": parameter_count(self.model),
            "epochs": position.epoch,
            "best_epoch": position.best_epoch,
            "best_validation_loss": position.best_loss if position.best_epoch else None,
            "seconds": position.seconds,
            "seconds_per_epoch": position.seconds / position.epoch if position.epoch else None,
            "peak_memory_bytes": peak_memory_bytes(device),
            **provenance(device),
        }
        write_json(self.replica.path / "facts.json", facts)

    def _on_device(self, windows: Windows) -> tuple[Tensor, Tensor]:
        return windows.inputs.to(self.fabric.device), windows.targets.to(self.fabric.device)


def make_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, whose weight decay is part of the gradient, or AdamW, whose is not."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    return kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def batch_order(seed: int, epoch: int, samples: int) -> Tensor:
    """The order of the training samples in an epoch: a function of seed and epoch, the same for every residual kind.

    Comparisons between residuals are therefore paired, and nothing about it needs saving.
    """
    (entropy,) = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.randperm(samples, generator=torch.Generator().manual_seed(int(entropy >> np.uint64(1))))
