"""Every error of a run's seeds, at several resolutions, in one pass over the data and in bounded memory."""

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from datagen.geometry import Geometry, Grid, Mesh, Resolution, resolution_text
from datagen.store import Dataset, open_dataset
from kitipde.config import DataConfig
from kitipde.errors import InputError
from kitipde.evaluation.coordinates import with_coordinates
from kitipde.evaluation.metrics import (
    Compared,
    Metric,
    Quantities,
    applicable,
    grouped,
    joined,
    metric,
    with_spread,
)
from kitipde.evaluation.metrics import measured as measured_quantities
from kitipde.evaluation.metrics.spectral import Spectra, join_spectra, power_above
from kitipde.evaluation.metrics.spectral import spectra as spectra_of
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
from kitipde.memory import give_back_freed_memory
from kitipde.models.rollout import rollout
from kitipde.problem.rollouts import check_rollout, times_used
from kitipde.problem.statistics import FieldStatistics
from kitipde.problem.windows import Windows, load_windows, split_samples
from kitipde.runs import Replica, Run, open_run

__all__ = ["BATCH_POINTS", "Progress", "Remark", "evaluate_runs", "recorded_numbers", "trained_replicas", "with_frames"]

Progress = Callable[[int, int, str], None]
Remark = Callable[[str], None]

# Values of fields, and grid points that a network works on, held at once: some 100 MB of fields, and 0.5 GB inside a
# network of width 64. A single sample may need more.
_BATCH_VALUES = 2**22
BATCH_POINTS = 2**18
_BATCH_SAMPLES = 64

# Values transformed at once: bounds the float64 copies and their spectra to some 200 MB.
_CHUNK_VALUES = 2**21


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
        progress: told (samples done, samples in all, note).
        remark: told what a person should know.

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
            note = run.name if isinstance(subject.geometry, Mesh) else f"{run.name} at {resolution_text(resolution)}"
            before = number * per_resolution
            measured.append(
                _measure(
                    plan,
                    dataset,
                    models,
                    resolution,
                    means,
                    metrics,
                    lambda done, b=before, n=note: progress(b + done, n),
                )
            )
        first = load_windows(dataset, run.config.data, subject.samples[:1], _read_at(subject, plan.missing[0]))
        found = to_metrics(measured, [replica.seed for replica in plan.replicas], first, run, subject, metrics)
        finest, examples = measured[-1], None if plan.stored is None else plan.stored.examples
        if plan.stored is None or prod(finest.resolution) > max(map(prod, plan.stored.resolutions)):
            examples = _examples(plan, dataset, models[0], finest, device)
    assert examples is not None
    if plan.stored is not None:
        found = merge_resolutions(plan.stored.metrics, found, len(subject.geometry.shape))
    return Evaluation(run, plan.label, subject, found, examples)


def _read_at(subject: Subject, resolution: Resolution) -> Resolution | None:
    """What a reader is asked for: a mesh has one resolution."""
    return resolution if isinstance(subject.geometry, Grid) else None


def _measure(
    plan: _Plan,
    dataset: Dataset,
    models: Sequence[nn.Module],
    resolution: Resolution,
    means: tuple[float, ...],
    metrics: Sequence[Metric],
    progress: Callable[[int], None],
) -> Measured:
    device = next(models[0].parameters()).device
    quantities: list[list[Quantities]] = [[] for _ in models]
    spectra: list[list[Spectra]] = [[] for _ in models]
    problem, config, done = plan.run.facts.problem, plan.run.config.data, 0
    for windows in _batches(dataset, config, plan.subject, resolution):
        recorded = recorded_numbers(dataset, config, windows.samples)
        for model, own, own_spectra in zip(models, quantities, spectra, strict=True):
            whole = Compared(
                _predict(model, windows, device),
                windows.targets,
                windows.inputs,
                windows.geometry,
                problem.targets,
                problem.inputs,
                means,
                recorded,
                _region(plan.run, windows.geometry),
            )
            size = max(1, _CHUNK_VALUES // max(1, whole.target[0].numel()))
            for start in range(0, len(windows), size):
                part = whole.part(slice(start, start + size))
                own.append(measured_quantities(part, metrics))
                if part.on_periodic_grid:
                    own_spectra.append(spectra_of(part))
            done += len(windows)
            progress(done)
        give_back_freed_memory()
    return Measured(
        resolution,
        tuple(joined(parts) for parts in quantities),
        tuple(join_spectra(parts) for parts in spectra if parts),
        _lost_power(dataset, config, plan.subject, resolution),
    )


def _region(run: Run, geometry: Geometry) -> Bool[np.ndarray, " nodes"] | None:
    """The nodes of the region of interest that the network's settings have; none if they have none."""
    ends = getattr(run.config.model, "region", None)
    if ends is None or not isinstance(geometry, Mesh):
        return None
    inside = [(low < at) & (at < high) for at, (low, high) in zip(geometry.positions.T, ends, strict=True)]
    return np.logical_and.reduce(inside)


def recorded_numbers(dataset: Dataset, config: DataConfig, samples: Sequence[int]) -> dict[str, Tensor]:
    """Numbers that the file has of each sample and frame, at the predicted frames, [samples, frames]."""
    if config.targets is None or "time" not in dataset.fields[config.targets[0]]:
        return {}
    first = config.start + config.given_frames * config.stride
    names = [name for name in dataset.parameters if dataset.dimensions(name) == ("sample", "time")]
    frames = slice(first, first + (config.wanted_frames - 1) * config.stride + 1, config.stride)
    return {name: torch.from_numpy(dataset.parameter(name)[list(samples), frames]) for name in names}


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
                    windows = load_windows(dataset, trained, samples, trained.resolution)
                    return tuple(FieldStatistics.of(field).mean for field in windows.targets.unbind(2))
        except InputError:
            continue
    remark(f"{run.name}: no relative L2 of deviations, because the mean of its training targets is not known")
    return (math.nan,) * len(targets)


def _batches(dataset: Dataset, config: DataConfig, subject: Subject, resolution: Resolution) -> Iterator[Windows]:
    points, samples = prod(resolution), subject.samples
    names = len({*(config.inputs or ()), *(config.targets or ())})
    values = points * names * (config.given_frames + config.wanted_frames)
    size = max(1, min(_BATCH_VALUES // values, BATCH_POINTS // points, _BATCH_SAMPLES))
    for start in range(0, len(samples), size):
        yield load_windows(dataset, config, samples[start : start + size], _read_at(subject, resolution))


@torch.no_grad()
def _predict(model: nn.Module, windows: Windows, device: torch.device) -> Tensor:
    given = (windows.inputs.to(device), windows.targets.shape[1], windows.context.to(device), windows.known.to(device))
    return rollout(model, *given).cpu()


def _lost_power(dataset: Dataset, config: DataConfig, subject: Subject, resolution: Resolution) -> float:
    """Share of the truth's power that the grid cannot hold, from the first samples at the stored resolution."""
    geometry = subject.geometry
    if not (isinstance(geometry, Grid) and geometry.periodic and geometry.uniform):
        return math.nan
    values = max(1, 2**22 // (config.wanted_frames * len(config.targets or ()) * geometry.points))
    windows = load_windows(dataset, config, subject.samples[: min(values, 16)], None)
    return power_above(windows.targets, resolution)


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
    """Fields of the first test sample, which nobody chose, and of the worst one, as the first seed predicts them."""
    subject, problem = plan.subject, plan.run.facts.problem
    errors = grouped(with_spread(measured.quantities[0]), problem.groups)
    # Of several fields by what they share, the relative error.
    name = "rmse" if len(problem.groups) == 1 else "relative_l2"
    worst = int(metric(name).rollout(errors).mean(-1).nan_to_num(-1.0).argmax())
    samples = [subject.samples[position] for position in dict.fromkeys((0, worst))]
    windows = load_windows(dataset, plan.run.config.data, samples, _read_at(subject, measured.resolution))
    return Examples(
        seed=plan.replicas[0].seed,
        samples=tuple(samples),
        inputs=windows.inputs.numpy(),
        truth=windows.targets.numpy(),
        prediction=_predict(model, windows, device).numpy(),
        geometry=windows.geometry,
        times=windows.times,
        given=problem.inputs,
        fields=problem.targets,
        units=windows.units,
    )
