"""Two runs against each other: whether they may be compared, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.geometry import Resolution, resolution_text
from datagen.store import open_dataset
from kitipde.errors import InputError
from kitipde.evaluation.coordinates import coordinates_of
from kitipde.evaluation.evaluate import evaluate_runs
from kitipde.evaluation.metrics import metric
from kitipde.evaluation.records import Evaluation
from kitipde.evaluation.shared_starts import Arm, compare_arms, starts_of
from kitipde.evaluation.statistics import Comparison, pair_seeds
from kitipde.problem.windows import split_samples
from kitipde.runs import Run, open_run

__all__ = ["RunComparison", "compare_evaluations", "compare_runs"]


@dataclass(frozen=True)
class RunComparison:
    """What comparing run B with run A found.

    Attributes:
        a: name of the reference.
        b: name of the other.
        metric: name of the error.
        field: the field that the error is of; None for all.
        resolution: points along each axis; of a mesh, its nodes.
        errors_a: mean error of each seed of A.
        errors_b: mean error of each seed of B.
        seeds_a: the seeds of A.
        seeds_b: the seeds of B; with pairing, those of A.
        points: what these are, in words.
        result: ratio, interval, test.
        verdict: in words.
        remarks: what limits the comparison.
    """

    a: str
    b: str
    metric: str
    field: str | None
    resolution: Resolution
    errors_a: tuple[float, ...]
    errors_b: tuple[float, ...]
    seeds_a: tuple[int, ...]
    seeds_b: tuple[int, ...]
    points: str
    result: Comparison
    verdict: str
    remarks: tuple[str, ...]


def compare_runs(
    a: str | Path,
    b: str | Path,
    data: str | Path | None = None,
    resolution: Sequence[int] | None = None,
    metric_name: str = "relative_l2",
    *,
    field: str | None = None,
    coordinates: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    remark: Callable[[str], None] = lambda text: None,
) -> RunComparison:
    """Evaluate two runs on the same samples and compare them.

    Args:
        a: folder of the reference run.
        b: folder of the other.
        data: a dataset file; None for the one that both were trained on.
        resolution: points along each axis, or all; None for the one that both were trained at. A mesh has its own.
        metric_name: of the error, as in `kitipde.evaluation.METRICS`.
        field: the field that the error is of; None for all.
        coordinates: on grids other than that of the training, as for `evaluate_runs`.
        progress: called with (samples done, samples in all, note).
        remark: called with what the user should know.

    Raises:
        InputError: if the two cannot be compared: other data, other test samples, another training resolution.
    """
    metric(metric_name)
    runs = open_run(a), open_run(b)
    if data is None:
        _check_same_data(*runs)
    if resolution is None:
        resolution = _common_resolution(*runs)
    first, second = evaluate_runs([a, b], data, [resolution], coordinates=coordinates, progress=progress, remark=remark)
    return compare_evaluations(first, second, resolution, metric_name, field)


def compare_evaluations(
    a: Evaluation,
    b: Evaluation,
    resolution: Sequence[int],
    metric_name: str = "relative_l2",
    field: str | None = None,
) -> RunComparison:
    """Compare two evaluations of the same samples.

    Raises:
        InputError: if they are not of the same samples, or no errors are left to compare.
    """
    remarks = []
    places = _common_samples(a, b, metric_name, remarks)
    _check_same_task(a.run, b.run)
    published = [one.label for one in (a, b) if coordinates_of(one.run) == "published"]
    if published:
        remarks.append(f"coordinates as published, each grid's own: {', '.join(published)}")
    if metric(metric_name).finish is not None:
        remarks.append("this error is one number a batch of 16 samples: what is called a sample here is such a batch")
    errors_a, errors_b = (
        np.abs(one.errors(metric_name, resolution, field))[:, columns]
        for one, columns in zip((a, b), places, strict=True)
    )
    seeds_a, seeds_b, paired = _pair(a, b, remarks)
    errors_a = errors_a[[a.seeds.index(seed) for seed in seeds_a]]
    errors_b = errors_b[[b.seeds.index(seed) for seed in seeds_b]]
    defined = ~(np.isnan(errors_a).any(0) | np.isnan(errors_b).any(0))
    if not defined.all():
        remarks.append(f"{int((~defined).sum())} samples left out: their truth is zero, so the error is undefined")
    errors_a, errors_b = errors_a[:, defined], errors_b[:, defined]
    _check_finite(a, errors_a)
    _check_finite(b, errors_b)
    if errors_a.shape[1] < 2:
        raise InputError(
            f"{metric_name} is defined for {errors_a.shape[1]} test samples; a comparison needs at least 2"
        )
    if errors_a.mean() == 0 or errors_b.mean() == 0:
        raise InputError(f"{metric_name} is 0 on every sample for one of the runs: there is no ratio")
    result, words = compare_arms(
        Arm(a.label, errors_a, starts_of(a.run, seeds_a)),
        Arm(b.label, errors_b, starts_of(b.run, seeds_b)),
        paired=paired,
    )
    return RunComparison(
        a=a.label,
        b=b.label,
        metric=metric_name,
        field=field,
        resolution=a.resolved(resolution),
        errors_a=tuple(errors_a.mean(1).tolist()),
        errors_b=tuple(errors_b.mean(1).tolist()),
        seeds_a=seeds_a,
        seeds_b=seeds_b,
        points="nodes" if a.run.facts.problem.domain.kind == "mesh" else "points per axis",
        result=result,
        verdict=words,
        remarks=tuple(remarks),
    )


def _common_samples(
    a: Evaluation, b: Evaluation, metric_name: str, remarks: list[str]
) -> tuple[slice | list[int], slice | list[int]]:
    """Where in each evaluation the samples are that both are of.

    Raises:
        InputError: if the two are of other samples. On a file that neither run was trained on each leaves out those
            that it has seen: there the others are compared.
    """
    first, second = a.subject, b.subject
    same = first.recipe == second.recipe
    if same and first.samples == second.samples:
        return slice(None), slice(None)
    common = sorted({*first.samples} & {*second.samples})
    by_sample = metric(metric_name).finish is None
    if not (same and common and by_sample) or first.own or second.own:
        raise InputError(
            f"{a.run.path} and {b.run.path} cannot be compared: the first was evaluated on {first.description}, "
            f"the second on {second.description}"
        )
    remarks.append(f"compared on the {len(common)} samples of {first.path.name} that neither run was trained on")
    found, wanted = ({sample: place for place, sample in enumerate(each.samples)} for each in (first, second))
    return [found[sample] for sample in common], [wanted[sample] for sample in common]


def _check_same_data(a: Run, b: Run) -> None:
    if a.dataset_identity != b.dataset_identity and a.dataset_recipe != b.dataset_recipe:
        raise InputError(
            f"{a.path} and {b.path} cannot be compared: they were trained on other data "
            f"({a.dataset_path.name}, identity {a.dataset_identity[:12]}, and {b.dataset_path.name}, "
            f"{b.dataset_identity[:12]}); give both a common test file with --data"
        )


def _check_same_task(a: Run, b: Run) -> None:
    for key in ("inputs", "targets", "input_frames", "output_frames", "start", "stride", "downsample"):
        values = getattr(a.config.data, key), getattr(b.config.data, key)
        if values[0] != values[1]:
            raise InputError(f"{a.path} and {b.path} cannot be compared: data.{key} is {values[0]} and {values[1]}")


def _common_resolution(a: Run, b: Run) -> Resolution:
    first, second = a.facts.resolution, b.facts.resolution
    if first != second:
        raise InputError(
            f"{a.path} was trained at {resolution_text(first)} points per axis and {b.path} at "
            f"{resolution_text(second)}: say at which to compare them with --resolution"
        )
    return first


def _pair(a: Evaluation, b: Evaluation, remarks: list[str]) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """The seeds to compare, and whether they go in pairs: the same seed saw the same batches in the same order."""
    trained = [_training_samples(one.run) for one in (a, b)]
    if trained[0] != trained[1]:
        remarks.append(f"seeds are not paired: the runs were trained on {trained[0]} and {trained[1]} samples")
        return a.seeds, b.seeds, False
    if a.run.config.training.batch_size != b.run.config.training.batch_size:
        remarks.append("seeds are not paired: the runs have other batch sizes, so the same seed saw other batches")
        return a.seeds, b.seeds, False
    common = pair_seeds(a.seeds, b.seeds)
    if common:
        if not len(common) == len(a.seeds) == len(b.seeds):
            listed = ", ".join(map(str, common))
            remarks.append(f"only the seeds that both runs have are compared: {listed}")
        return common, common, True
    remarks.append(f"seeds are not paired: {a.label} has {_list(a.seeds)}, {b.label} has {_list(b.seeds)}")
    return a.seeds, b.seeds, False


def _training_samples(run: Run) -> str:
    """How many, as far as the settings or their file tell."""
    if run.config.data.train is not None or not run.dataset_path.is_file():
        return str(run.config.data.train or "the rest of the")
    with open_dataset(run.dataset_path) as dataset:
        return str(len(split_samples(dataset.samples, run.config.data).train))


def _list(seeds: tuple[int, ...]) -> str:
    return "seeds " + ", ".join(map(str, seeds)) if len(seeds) != 1 else f"seed {seeds[0]}"


def _check_finite(evaluation: Evaluation, errors: np.ndarray) -> None:
    diverged = int((~np.isfinite(errors).all(1)).sum())
    if diverged:
        raise InputError(
            f"{evaluation.run.path} cannot be compared: {diverged} of its {len(errors)} seeds give predictions "
            "that are not finite"
        )
