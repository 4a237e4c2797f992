"""The training loop of some replicas: a function of their seeds alone, whether it was interrupted or not."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from kitipde.collisions import advance
from kitipde.collisions.statistics import collect, gap_warning
from kitipde.config import RunConfig
from kitipde.errors import InputError
from kitipde.files import write_json
from kitipde.models import example_input, parameter_count
from kitipde.models.flops import count_flops
from kitipde.optim.condensation import condensation
from kitipde.problem.windows import Batch
from kitipde.runs import Replica
from kitipde.training.batches import Fields, batch_order, draw, drawn_frames
from kitipde.training.checkpoint import Checkpoint, copy_best, forget_after, read_checkpoint, save_checkpoint
from kitipde.training.ensemble import Ensemble
from kitipde.training.failures import refuse_not_finite, target_size, told
from kitipde.training.interrupt import Interrupt
from kitipde.training.matrix_products import choose_products, recorded_products, using_products
from kitipde.training.metrics_log import Record, epoch_note
from kitipde.training.objective import UNITS, Objective, make_objective
from kitipde.training.optimizer import MovingAverage, clip_gradients, join_states, make_optimizer, state_of
from kitipde.training.processes import Processes
from kitipde.training.provenance import peak_memory_bytes, provenance
from kitipde.training.schedule import frames_wanted, learning_rate
from kitipde.training.standing import Standing, TrainingData
from kitipde.training.trial import differentiate, trial_loss
from kitipde.training.warm_start import take_weights

__all__ = ["Trainer"]


class Trainer:
    """Some seeds in training, stacked if there are more than one.

    Args:
        config: the settings of the run.
        data: training and validation windows.
        replicas: where everything is written, a folder a seed.
        fabric: device, precision, and the other processes.
        remark: called with what the user should know.
        start: the saved state that all of them continue from; none to begin.
        products: how the run's seeds have computed matrix products until now; None if these are the first.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TrainingData,
        replicas: Sequence[Replica],
        fabric: Fabric,
        remark: Callable[[str], None],
        start: str | None = None,
        products: str | None = None,
    ) -> None:
        self.config, self.replicas, self.fabric, self.remark = config, replicas, fabric, remark
        self.processes, self.products = Processes(fabric), products
        self.ensemble = Ensemble([make_objective(config, replica, data) for replica in replicas])
        seeds = [replica.seed for replica in replicas]
        if start is None:
            take_weights(self.ensemble, config.training.start_from, replicas)
            self.ensemble.each(lambda objective, _: objective.fit(data))
        optimizer = make_optimizer(config.optimizer, self.ensemble.objective.model, self.ensemble.trained(), seeds)
        self.forward, self.optimizer = fabric.setup(self.ensemble, optimizer)
        # Of one forward pass of one sample of one replica.
        example = (each.to(fabric.device) for each in example_input(replicas[0].problem))
        self.flops = count_flops(self.ensemble.objective.model.eval(), *example)
        decay = config.training.ema
        self.average = None if decay is None else MovingAverage(self.ensemble.parameters(), decay)
        self.steps = math.ceil(len(data.train) / config.training.batch_size)
        self.size = target_size(data)
        self.epoch, self.step, self.epoch_seconds = 0, 0, 0.0
        self.standings = [Standing() for _ in replicas]
        self.loss_sum = torch.zeros(len(replicas), dtype=torch.float64, device=fabric.device)
        self.best = [self.ensemble.weights(k) for k in range(len(replicas))]
        self.records = [Record(replica, config.training.tensorboard) for replica in replicas]
        self._start_from(start, data)
        self.train_fields, self.validation_fields = (
            Fields(self.ensemble.fields(windows), fabric.device) for windows in (data.train, data.validation)
        )

    def run(self, report: Callable[[int, int, str], None], interrupt: Interrupt) -> None:
        """Train until the last epoch, or until one of the replicas has stopped early.

        Args:
            report: called with (finished steps, all steps, a note) after each step.
            interrupt: looked at after each step.

        Raises:
            InputError: if the loss is not finite, or the run folder cannot be written to.
            KeyboardInterrupt: when asked to stop, after the state has been saved.
        """
        training = self.config.training
        size = min(training.batch_size, self.train_fields.samples)
        attempt = self._try_step if self.processes.count == 1 else None
        trouble = told(self.replicas[0].path.parent, size, len(self.replicas), attempt)
        with trouble, using_products(self._choose_products(size)):
            if training.start_from is not None and self.epoch == self.step == 0:
                self._validate_start()
            self._write_facts()
            saved, note = time.monotonic(), ""
            while not self._finished():
                started = time.monotonic() - self.epoch_seconds
                self._begin_epoch()
                for batch in self._batches():
                    self._take_step(*batch)
                    self.step += 1
                    self.epoch_seconds = time.monotonic() - started
                    report(self.epoch * self.steps + self.step, training.epochs * self.steps, note)
                    if self.processes.asked_to_stop(interrupt, self.epoch * self.steps + self.step):
                        self._save()
                        raise KeyboardInterrupt
                note = self._finish_epoch(started)
                due = time.monotonic() - saved > training.checkpoint_seconds
                if self.processes.any(due) or self._finished():
                    self._save()
                    saved = time.monotonic()
            self._write_facts()

    # --- an epoch

    def _begin_epoch(self) -> None:
        def begin(objective: Objective, k: int) -> None:
            advance(objective, self.epoch / self.config.training.epochs, self._learning_rate(1.0, self.epoch))
            if self.step == 0:
                objective.key(self.replicas[k].seed, self.epoch)
                self.processes.set_apart(objective)

        self.ensemble.each(begin)
        self.ensemble.train()

    def _batches(self) -> Iterator[tuple[Batch, Tensor | int]]:
        """This process's share of the steps that are left of the epoch."""
        training, seeds = self.config.training, [replica.seed for replica in self.replicas]
        samples, frames = self.train_fields.samples, self.train_fields.frames
        order = torch.stack([batch_order(seed, self.epoch, samples) for seed in seeds])
        order = order.to(self.train_fields.home)
        indices = [self._share(batch) for batch in order.split(training.batch_size, dim=1)][self.step :]
        starts: Sequence[Tensor | int] = [0] * len(indices)
        if training.unroll == "one-step":
            starts = drawn_frames(frames, samples, seeds, self.epoch, indices, self.fabric.device)
        elif training.unroll == "pushforward":
            # The same for all seeds, which stacked replicas cannot do without.
            starts = draw(frames, self.steps, self.epoch).tolist()[self.step :]
        yield from zip(self.train_fields.batches(indices), starts, strict=True)

    def _share(self, batch: Tensor) -> Tensor:
        """The samples of a batch that are this process's; one that will count for nothing if there are too few."""
        mine = self.processes.share(batch)
        return mine if mine.shape[1] else batch[:, :1]

    def _take_step(self, batch: Batch, starts: Tensor | int) -> None:
        training = self.config.training
        first = self.step * training.batch_size
        size = min(training.batch_size, self.train_fields.samples - first)
        # Gradients are averaged over the processes, each of which sums over its share of the batch.
        weight = float(self.processes.count) if self.processes.rank < size else 0.0
        if training.batch_reduction == "mean":
            weight /= size
        done = self.epoch * self.steps + self.step
        wanted = frames_wanted(training, batch.targets.shape[2], done, training.epochs * self.steps)
        batch = batch._replace(targets=batch.targets[:, :, :wanted])
        if self.config.schedule.name == "onecycle":
            self._set_rate(self.epoch + self.step / self.steps)
        elif self.step == 0:
            self._set_rate(self.epoch)
        self.optimizer.zero_grad(set_to_none=True)
        errors = self.forward(batch, starts)
        # Of the frames that were predicted: some ways to unroll predict one of them.
        scale = weight / errors.shape[2] if training.frame_reduction == "mean" else weight
        self.fabric.backward(scale * errors.sum())
        if training.clip_norm is not None:
            clip_gradients(self.ensemble.parameters(), len(self.replicas), training.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(done)
        if weight:
            self.loss_sum += errors.detach().sum(dim=(1, 2)) / errors.shape[2]

    def _set_rate(self, moment: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(self.config.optimizer.learning_rate, moment)

    def _learning_rate(self, highest: float, moment: float) -> float:
        return learning_rate(self.config.schedule, highest, moment, self.config.training.epochs)

    def _finish_epoch(self, started: float) -> str:
        """Validate, remember the best weights, write the epoch's lines; returns what the progress bar shows."""
        train = (self.processes.total(self.loss_sum) / self.train_fields.samples).tolist()
        rows: list[dict[str, Any]] = [{"epoch": self.epoch + 1, "train_loss": loss} for loss in train]
        improved = self._validate(rows) if self.config.training.validates(self.epoch + 1) else {}
        for replica, row in zip(self.replicas, rows, strict=True):
            if not (math.isfinite(row["train_loss"]) and math.isfinite(row.get("validation_loss", 0.0))):
                refuse_not_finite(replica, self.epoch + 1, self.config, self.size)
            row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        self._count_collisions(rows)
        if self.config.training.track_condensation:
            for k, row in enumerate(rows):
                layers = condensation(self.ensemble.objective.model, self.ensemble.weights(k))
                row["condensation"] = {layer.name: layer.degree for layer in layers}
        seconds = (time.monotonic() - started) / len(self.replicas)
        for k, (row, standing) in enumerate(zip(rows, self.standings, strict=True)):
            if k in improved:
                standing.best_loss, standing.best_epoch = row["validation_loss"], self.epoch + 1
                self.best[k] = improved[k]
            row["seconds"] = seconds
            standing.seconds += seconds
        self.epoch, self.step, self.epoch_seconds = self.epoch + 1, 0, 0.0
        self.loss_sum.zero_()
        if self.processes.first:
            for record, row in zip(self.records, rows, strict=True):
                record.append(row)
        return epoch_note(rows, self.train_fields.samples)

    def _validate(self, rows: Sequence[dict[str, Any]]) -> dict[int, dict[str, Tensor]]:
        """Add the validation loss to each replica's row; returns the weights of those that have never been better."""
        with nullcontext() if self.average is None else self.average.in_place():
            validation = self._evaluate(self.validation_fields, self.validation_fields.samples)
            for row, loss in zip(rows, validation, strict=True):
                row["validation_loss"] = loss
            return {
                k: self.ensemble.weights(k) for k, loss in enumerate(validation) if loss < self.standings[k].best_loss
            }

    def _validate_start(self) -> None:
        """Epoch 0: weights of another run are candidates for the best, so that training never ends worse than them."""
        losses = self._evaluate(self.validation_fields, self.validation_fields.samples)
        for standing, loss in zip(self.standings, losses, strict=True):
            if math.isfinite(loss):
                standing.start_loss = standing.best_loss = loss

    def _count_collisions(self, rows: Sequence[dict[str, Any]]) -> None:
        """What collisions did, layer by layer, and how much the network has come to need them."""
        if self.config.residual.kind == "plain":
            return
        self.processes.gather(self.ensemble.tallies())
        counted = self.ensemble.each(lambda objective, _: collect(objective))
        for row, statistics in zip(rows, counted, strict=True):
            row["collisions"] = {str(layer): asdict(values) for layer, values in statistics.items()}
        if not self.config.training.validates(self.epoch + 1):
            return
        probe = self._evaluate(self.train_fields, min(self.train_fields.samples, self.validation_fields.samples))
        # What dies out is not missed in the end; in the first epochs losses fall too fast for the two to be compared.
        constant = self.config.residual.schedule == "constant"
        comparable = constant and self.epoch + 1 >= max(2, self.config.training.epochs // 10)
        for row, statistics, without, standing in zip(rows, counted, probe, self.standings, strict=True):
            row["train_loss_without_collisions"] = without
            if comparable and not standing.warned and (text := gap_warning(row["train_loss"], without, statistics)):
                self.remark(text)
                standing.warned = True

    @torch.no_grad()
    def _evaluate(self, fields: Fields, count: int) -> list[float]:
        """Mean relative error of each replica over the first samples of a split and all frames, in evaluation mode."""
        self.ensemble.eval()
        mine = self.processes.share(torch.arange(count, device=fields.home))
        indices = [
            part.expand(len(self.replicas), -1) for part in mine.split(self.config.training.batch_size) if len(part)
        ]
        total = torch.zeros_like(self.loss_sum)
        for batch in fields.batches(indices):
            total += self.forward(batch).double().sum(dim=(1, 2))
        return (self.processes.total(total) / (count * fields.frames)).tolist()

    # --- the end, and being told to stop

    def _finished(self) -> bool:
        """At the last epoch, or one of the replicas stops early: the others then go on without it."""
        return self.epoch >= self.config.training.epochs or any(
            standing.stopped(self.config.training, self.epoch) for standing in self.standings
        )

    # --- states and facts

    def _save(self) -> None:
        self.processes.gather([self.loss_sum, *self.ensemble.tallies()])
        for replica, finite in zip(self.replicas, self.loss_sum.isfinite().tolist(), strict=True):
            if not finite:
                refuse_not_finite(replica, self.epoch + 1, self.config, self.size)
        if not self.processes.first:
            return
        name = f"{self.epoch:06d}-{self.step:06d}"
        optimizer = self.optimizer.state_dict()
        for k, replica in enumerate(self.replicas):
            self.records[k].flush()
            rest = {
                "epoch": self.epoch,
                "step": self.step,
                "epoch_seconds": self.epoch_seconds,
                "loss_sum": self.loss_sum[k].clone(),
                "standing": asdict(self.standings[k]),
                "optimizer": state_of(optimizer, k, len(self.replicas)),
                "counters": {name: counter.clone() for name, counter in self.ensemble.counters(k).items()},
                "matrix_products": self.products,
            }
            if self.average is not None:
                average = self.average.average
                rest["average"] = [each[k].clone() for each in average] if len(self.replicas) > 1 else average
            checkpoint = Checkpoint(self.ensemble.weights(k), self.best[k], rest)
            save_checkpoint(replica.checkpoints_path, name, checkpoint, self.config.training.checkpoints_kept)
            # Before the first validation the best are random ones, which are no result.
            if self.standings[k].has_best:
                copy_best(replica.checkpoints_path, name, replica.best_path)

    def _start_from(self, name: str | None, data: TrainingData) -> None:
        if name is None:
            if self.processes.first:
                for replica, record in zip(self.replicas, self.records, strict=True):
                    replica.path.mkdir(parents=True, exist_ok=True)
                    forget_after(replica.checkpoints_path, "")
                    record.restart(0)
            return
        try:
            self._continue_from(name, data)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            place = self.replicas[0].checkpoints_path / name
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"the state {place} is not one of this run: {reason}; remove it, or begin anew") from error

    def _continue_from(self, name: str, data: TrainingData) -> None:
        states = [read_checkpoint(replica.checkpoints_path, name) for replica in self.replicas]
        for k, state in enumerate(states):
            self.ensemble.load_weights(k, state.weights)
        # States of earlier versions lack the units of the loss: they follow from the weights and the data.
        self.ensemble.each(lambda objective, _: objective.fit(data))
        for k, (replica, (_, best, rest)) in enumerate(zip(self.replicas, states, strict=True)):
            self.best[k] = {name: tensor.to(self.fabric.device) for name, tensor in best.items()}
            self.standings[k] = Standing(**rest["standing"])
            self.epoch, self.step, self.epoch_seconds = rest["epoch"], rest["step"], float(rest["epoch_seconds"])
            self.standings[k].check(self.epoch, self.config.training.epochs, self.step, self.steps)
            for place, counter in self.ensemble.counters(k).items():
                if place in rest["counters"] or place not in UNITS:
                    counter.copy_(rest["counters"][place])
                if place.endswith("_tally") and not self.processes.first:
                    counter.zero_()
            if self.processes.first:
                self.loss_sum[k] = rest["loss_sum"]
                forget_after(replica.checkpoints_path, name)
                # A kill may have come between a state and its best weights in the run's folder.
                if self.standings[k].has_best:
                    copy_best(replica.checkpoints_path, name, replica.best_path)
                # Lines of epochs that the state does not know yet will be written again.
                self.records[k].restart(self.epoch)
            self.products = recorded_products(rest)
        self.ensemble.each(lambda objective, _: self.processes.set_apart(objective))
        self.optimizer.load_state_dict(join_states([state.rest["optimizer"] for state in states]))
        if self.average is not None:
            for held, *parts in zip(self.average.average, *(state.rest["average"] for state in states), strict=True):
                held.copy_(torch.stack(parts) if len(parts) > 1 else parts[0])

    def _write_facts(self) -> None:
        if not self.processes.first:
            return
        shared = {
            "trained_together": [each.seed for each in self.replicas],
            "processes": self.processes.count,
            "matrix_products": self.products,
            "parameters": parameter_count(self.ensemble) // len(self.replicas),
            "flops": self.flops,
            "epochs": self.epoch,
            "peak_memory_bytes": peak_memory_bytes(self.fabric.device),
            **provenance(self.fabric.device),
        }
        for replica, standing in zip(self.replicas, self.standings, strict=True):
            stopped = standing.stopped(self.config.training, self.epoch)
            finished = stopped or self.epoch >= self.config.training.epochs
            own = {"finished": finished, "stopped_early": stopped, "seed": replica.seed}
            write_json(replica.path / "facts.json", {**own, **standing.facts(self.epoch), **shared})

    # --- steps that are tried

    def _choose_products(self, size: int) -> str:
        """How matrix products are computed from here on, for which those of a step may be tried."""
        training, share = self.config.training, -(-size // self.processes.count)
        self.products = choose_products(
            training,
            self.products,
            self.fabric.device,
            lambda: differentiate(self.ensemble, self.train_fields, training, share),
            self.processes.any,
            self.remark,
        )
        return self.products

    def _try_step(self, samples: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(trial_loss(self.ensemble, self.train_fields, self.config.training, samples))
        self.optimizer.zero_grad(set_to_none=True)
