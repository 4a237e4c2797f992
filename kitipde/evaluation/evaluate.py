"""Every error of a run's seeds, at several resolutions, in one pass over the data and in bounded memory."""

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import nn

from datagen.geometry import Resolution, resolution_text
from datagen.store import Dataset, open_dataset
from kitipde.errors import InputError
from kitipde.evaluation.coordinates import with_coordinates
from kitipde.evaluation.measure import measure, predicted
from kitipde.evaluation.metrics import (
    applicable,
    grouped,
    metric,
    with_spread,
)
from kitipde.evaluation.records import Evaluation, Examples, Measured, merge_resolutions, to_metrics
from kitipde.evaluation.run_labels import label_runs
from kitipde.evaluation.storage import fingerprint, read_evaluation, storing, write_evaluation
from kitipde.evaluation.test_data import (
    Subject,
    check_resolutions,
    choose_subject,
    default_resolutions,
    possible_resolutions,
)
from kitipde.problem.rollouts import check_rollout, times_used
from kitipde.problem.statistics import FieldStatistics
from kitipde.problem.windows import load_windows, split_samples
from kitipde.runs import Replica, Run, open_run

__all__ = ["Progress", "Remark", "evaluate_runs", "trained_replicas", "with_frames"]

Progress = Callable[[int, int, str], None]
Remark = Callable[[str], None]


def evaluate_runs(
    paths: Sequence[str | Path],
    data: str | Path | None = None,
    resolutions: Sequence[Sequence[int]] = (),
    *,
    frames: int | None = None,
    coordinates: str | None = None,
    stored: bool = False,
    progress: Progress = lambda done, total, note: None,
    remark: Remark = lambda text: None,
) -> tuple[Evaluation, ...]:
    """Evaluate several runs, each on its own test split or all on one file; results are stored beside each run.

    What is stored and still true — same weights, same data, same frames — is read, not computed again.

    Args:
        paths: run folders.
        data: a dataset file; None for the one that each run was trained on.
        resolutions: points along each axis, or all, to evaluate at; none for half, all and twice those of training.
        frames: frames to predict; None for as many as in training.
        coordinates: what an FNO trained with published coordinates is given on other grids: their interpolant, or those
            of each grid, as published; None for what its settings say.
        stored: without `resolutions`, take those of an earlier evaluation, if there is one, and that of training.
        progress: called with (samples done, samples in all, note).
        remark: called with what the user should know.

    Raises:
        InputError: if a folder is no run or has no weights, its data are missing, changed or of another kind, or a
            resolution does not fit the grid. Nothing has been computed then.
    """
    runs = [open_run(path) for path in paths]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InputError(f"a run is given twice: {', '.join(str(run.path) for run in runs)}")
    if coordinates is not None:
        runs = [with_coordinates(run, coordinates) for run in runs]
    labels = label_runs(runs)
    plans = [_plan(run, label, data, resolutions, frames, remark) for run, label in zip(runs, labels, strict=True)]
    if stored and not resolutions:
        plans = _with_stored_resolutions(plans)
    total = sum(plan.work for plan in plans)
    done, evaluations = 0, []
    for plan in plans:
        before = done
        evaluations.append(
            _carry_out(plan, lambda made, note, before=before: progress(before + made, total, note), remark)
        )
        done += plan.work
    return tuple(evaluations)


@dataclass(frozen=True)
class _Plan:
    """What will be computed, after everything that can be wrong has been checked."""

    run: Run
    label: str
    subject: Subject
    replicas: tuple[Replica, ...]
    resolutions: tuple[Resolution, ...]
    stamp: str
    stored: Evaluation | None

    @property
    def work(self) -> int:
        """Samples to predict."""
        return len(self.subject.samples) * len(self.missing) * len(self.replicas)

    @property
    def missing(self) -> tuple[Resolution, ...]:
        """Resolutions that are not stored."""
        known = () if self.stored is None else self.stored.resolutions
        return tuple(resolution for resolution in self.resolutions if resolution not in known)


def with_frames(run: Run, frames: int) -> Run:
    """The same run, asked for another number of frames.

    Raises:
        InputError: if there are none.
    """
    if frames < 1:
        raise InputError(f"--frames {frames} must be at least 1")
    data = run.config.data.model_copy(update={"output_frames": frames})
    return replace(run, config=run.config.model_copy(update={"data": data}))


def _plan(
    run: Run,
    label: str,
    data: str | Path | None,
    resolutions: Sequence[Sequence[int]],
    frames: int | None,
    remark: Remark,
) -> _Plan:
    subject = choose_subject(run, None if data is None else Path(data))
    with open_dataset(subject.path) as dataset:
        check_rollout(run.config, subject.path, times_used(dataset, run.config.data, frames), frames)
    if frames is not None:
        run = with_frames(run, frames)
    if subject.remark is not None:
        remark(f"{run.name}: {subject.remark}")
    check_resolutions(subject, resolutions, run.config.data.downsample)
    replicas = trained_replicas(run, remark)
    stamp = fingerprint(run, subject, replicas)
    stored = read_evaluation(run, label, subject, stamp)
    wanted = possible_resolutions(subject, resolutions, run.config.data.downsample) if resolutions else ()
    return _Plan(run, label, subject, replicas, wanted or default_resolutions(run, subject), stamp, stored)


def _with_stored_resolutions(plans: Sequence[_Plan]) -> list[_Plan]:
    """The same plans for every resolution that any of the runs has been evaluated at, and those of training."""
    known = {resolution for plan in plans if plan.stored is not None for resolution in plan.stored.resolutions}
    if not known:
        return list(plans)
    wanted = known | {plan.run.facts.resolution for plan in plans}
    return [replace(plan, resolutions=_possible(plan, wanted)) for plan in plans]


def _possible(plan: _Plan, wanted: set[Resolution]) -> tuple[Resolution, ...]:
    """Those that the plan's own grid gives."""
    possible = possible_resolutions(plan.subject, wanted, plan.run.config.data.downsample)
    return possible or plan.resolutions


def trained_replicas(run: Run, remark: Remark) -> tuple[Replica, ...]:
    """The seeds that have weights; which have none, or have not finished, is remarked.

    Raises:
        InputError: if none has.
    """
    replicas = tuple(replica for replica in run.replicas if replica.best_path.is_file())
    if not replicas:
        raise InputError(
            f"{run.path} has no trained weights yet; train it with `kitipde train --resume --out "
            f"{shlex.quote(str(run.path))}`"
        )
    for replica in map(run.replica, run.seeds):
        if replica not in replicas:
            remark(f"{run.name}: seed {replica.seed} has no weights yet and is left out")
        elif not replica.facts().get("finished", False):
            remark(f"{run.name}: the training of seed {replica.seed} has not finished")
    return replicas


def _carry_out(plan: _Plan, progress: Callable[[int, str], None], remark: Remark) -> Evaluation:
    models: Sequence[nn.Module] = ()
    if plan.missing:
        plan, models = _with_models(plan)
    if plan.missing or plan.stored is None:
        evaluation = _compute(plan, models, progress, remark)
        with storing(plan.run, remark):
            write_evaluation(evaluation, plan.stamp)
    else:
        evaluation = plan.stored
    kept = [resolution_text(each) for each in plan.resolutions]
    return replace(evaluation, metrics=evaluation.metrics.sel(resolution=kept))


def _with_models(plan: _Plan) -> tuple[_Plan, list[nn.Module]]:
    """The trained networks, and the plan for them: a training that goes on may have replaced weights since."""
    while True:
        models = [replica.load_model() for replica in plan.replicas]
        stamp = fingerprint(plan.run, plan.subject, plan.replicas)
        if stamp == plan.stamp:
            return plan, models
        plan = replace(plan, stamp=stamp, stored=read_evaluation(plan.run, plan.label, plan.subject, stamp))


def _compute(
    plan: _Plan, models: Sequence[nn.Module], progress: Callable[[int, str], None], remark: Remark
) -> Evaluation:
    """Measure what is missing and join it to what is stored."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [model.to(device) for model in models]
    per_resolution = len(plan.subject.samples) * len(models)
    means = _training_means(plan, remark)
    run, subject = plan.run, plan.subject
    metrics = applicable(subject.geometry, run.facts.problem.targets)
    with open_dataset(subject.path) as dataset:
        _check_mesh(plan, models[0], dataset)
        measured = []
        for number, resolution in enumerate(plan.missing):
            note = f"{run.name} at {resolution_text(resolution)}"
            before = number * per_resolution
            measured.append(
                measure(
                    run,
                    subject,
                    dataset,
                    models,
                    resolution,
                    means,
                    metrics,
                    lambda done, b=before, n=note: progress(b + done, n),
                )
            )
        first = load_windows(dataset, run.config.data, subject.samples[:1], plan.missing[0])
        found = to_metrics(measured, [replica.seed for replica in plan.replicas], first, run, subject, metrics)
        finest, examples = measured[-1], None if plan.stored is None else plan.stored.examples
        if plan.stored is None or prod(finest.resolution) > max(map(prod, plan.stored.resolutions)):
            examples = _examples(plan, dataset, models[0], finest, device)
    assert examples is not None
    if plan.stored is not None:
        found = merge_resolutions(plan.stored.metrics, found, len(subject.geometry.shape))
    return Evaluation(run, plan.label, subject, found, examples)


def _training_means(plan: _Plan, remark: Remark) -> tuple[float, ...]:
    """Means of the training targets; of a run that did not keep them, from its dataset; NaN where that is gone."""
    run, targets = plan.run, plan.run.facts.problem.targets
    if set(targets) <= run.facts.target_means.keys():
        return tuple(run.facts.target_means[name] for name in targets)
    trained = open_run(run.path).config.data
    for path in (plan.subject.path, run.dataset_path) if plan.subject.own else (run.dataset_path,):
        try:
            with open_dataset(path) as dataset:
                if dataset.identity == run.dataset_identity:
                    samples = split_samples(dataset.samples, trained).train
                    windows = load_windows(dataset, trained, samples, trained.resolution, training=True)
                    return tuple(FieldStatistics.of(field).mean for field in windows.targets.unbind(2))
        except InputError:
            continue
    remark(f"{run.name}: no relative L2 of deviations, because the mean of its training targets is not known")
    return (math.nan,) * len(targets)


def _check_mesh(plan: _Plan, model: nn.Module, dataset: Dataset) -> None:
    """A network that keeps the places of its nodes knows no others."""
    known = dict(model.named_buffers()).get("network.positions")
    if known is None:
        return
    at = dataset.geometry.positions
    places = torch.from_numpy(at - at.min(0)).float()
    if known.shape != places.shape or not torch.allclose(known.cpu(), places, rtol=1e-5, atol=1e-5):
        raise InputError(
            f"{plan.subject.path} has another mesh ({len(places)} nodes) than the data of {plan.run.path} "
            f"({len(known)} nodes): its model knows only the nodes that it was trained on"
        )


def _examples(plan: _Plan, dataset: Dataset, model: nn.Module, measured: Measured, device: torch.device) -> Examples:
    """Fields of the first test sample, which is not selected, and of the worst one, as the first seed predicts them."""
    subject, problem = plan.subject, plan.run.facts.problem
    errors = grouped(with_spread(measured.quantities[0]), problem.groups)
    # Of several fields by what they share, the relative error.
    name = "rmse" if len(problem.groups) == 1 else "relative_l2"
    worst = int(metric(name).rollout(errors).mean(-1).nan_to_num(-1.0).argmax())
    samples = [subject.samples[position] for position in dict.fromkeys((0, worst))]
    windows = load_windows(dataset, plan.run.config.data, samples, measured.resolution)
    return Examples(
        seed=plan.replicas[0].seed,
        samples=tuple(samples),
        inputs=windows.inputs.numpy(),
        truth=windows.targets.numpy(),
        prediction=predicted(model, windows, device).numpy(),
        geometry=windows.geometry,
        times=windows.times,
        given=problem.inputs,
        fields=problem.targets,
        units=windows.units,
    )
