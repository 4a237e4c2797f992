"""What a study found: a row for each arm of each problem, with the paper's number beside ours."""

import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import kitipde
from kitipde.errors import InputError
from kitipde.evaluation.comparison import compare_evaluations
from kitipde.evaluation.evaluate import evaluate_runs
from kitipde.evaluation.records import Evaluation
from kitipde.evaluation.shared_starts import starts_of
from kitipde.evaluation.summary import Estimate, summarise
from kitipde.files import write_atomically, write_json
from kitipde.runs import open_run
from kitipde.studies.plans import Study
from kitipde.studies.problems import Arm, Problem

__all__ = ["Row", "Table", "collect_results", "markdown", "read_results", "write_results"]


@dataclass(frozen=True)
class Row:
    """An arm on a problem.

    Attributes:
        problem: its title.
        arm: its title.
        name: the run folder's name.
        value: what the study varies, if it does.
        seeds: how many.
        metric: the name of the error that is compared.
        error: of the whole rollout on the test split.
        rmse: in the units of the field; this and the two that follow are of grids only.
        mse: in their square.
        nrmse: RMSE over the deviation of the truth.
        train_error: relative L2 in evaluation mode on training samples at the end; of KITI arms, on a part of them.
        ratio: error over that of the reference; none for the reference itself.
        low: lower end of its 95 % interval.
        high: upper end.
        verdict: in words.
        published: the paper's number for this arm, where it has one.
        published_ratio: the paper's ratio to its own reference.
        seconds: training time of a seed.
        data: recipe of the test samples, or the identity of a file from elsewhere.
        errors: of each seed, by its number, the error on each test sample; null where it is undefined.
        starts: of each seed that starts from pretrained weights, by its number, which weights these are.
    """

    problem: str
    arm: str
    name: str
    value: float | None
    seeds: int
    metric: str
    error: Estimate
    rmse: Estimate | None
    mse: Estimate | None
    nrmse: Estimate | None
    train_error: float | None
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str
    published: float | None
    published_ratio: float | None
    seconds: float | None
    data: str
    errors: dict[str, list[float | str | None]]
    starts: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Table:
    """A study's rows, and where and when they were made.

    Attributes:
        study: its name.
        title: in words.
        preset: size of the problems.
        command: what made it.
        machine: in words.
        date: of the evaluation.
        version: of this program.
        rows: in the order of the study.
    """

    study: str
    title: str
    preset: str
    command: str
    machine: str
    date: str
    version: str
    rows: tuple[Row, ...]


def collect_results(
    study: Study,
    preset: str,
    folder: Path,
    command: str,
    progress: Callable[[int, int, str], None],
    remark: Callable[[str], None],
) -> Table:
    """Evaluate the trained arms of a study on their test splits and compare each with the reference.

    Args:
        study: what was trained.
        preset: size of its problems.
        folder: holds PROBLEM/ARM run folders.
        command: what the table says it was made with.
        progress: called with (samples done, samples in all, note).
        remark: called with what the user should know.
    """
    rows: list[Row] = []
    for problem in study.problems:
        paths = [folder / problem.name / arm.name for arm in problem.arms]
        at = [] if problem.resolution is None else [(problem.resolution,)]
        evaluations = evaluate_runs(paths, resolutions=at, progress=progress, remark=remark)
        for arm, evaluation in zip(problem.arms, evaluations, strict=True):
            rows.append(_row(study, problem, arm, evaluation, evaluations[0]))
    return Table(
        study.name,
        study.title,
        preset,
        command,
        _machine(),
        datetime.now(UTC).date().isoformat(),
        kitipde.__version__,
        tuple(rows),
    )


def write_results(table: Table, folder: Path) -> None:
    """`results.json` and `results.md` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", asdict(table))
    write_atomically(folder / "results.md", markdown(table).encode())


def markdown(table: Table) -> str:
    """A page with the table, its command and what it means."""
    lines = [
        f"# {table.title}",
        "",
        f"    {table.command}",
        "",
        f"{table.machine}; {table.date}; kitipde {table.version}. Error of whole rollouts on the test split "
        f"({_metrics(table)}), mean ± standard deviation over seeds; the epoch is chosen on the validation split. "
        "Ratios are to the first model of each problem, with 95 % intervals over seeds and test samples.",
        "",
        "| problem | model | seeds | error | RMSE | ratio | 95 % interval | paper | paper's ratio | s a seed |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.problem} | {row.arm} | {row.seeds} | {row.error} | {row.rmse or ''} | {_number(row.ratio, '.3f')} | "
        f"{_interval(row)} | {_number(row.published, 'g')} | {_number(row.published_ratio, '.3f')} | "
        f"{_number(row.seconds, '.0f')} |"
        for row in table.rows
    ]
    verdicts = [f"- {row.problem}, {row.arm}: {row.verdict}" for row in table.rows if row.verdict]
    return "\n".join([*lines, "", *verdicts, ""])


def _row(
    study: Study,
    problem: Problem,
    arm: Arm,
    evaluation: Evaluation,
    reference: Evaluation,
) -> Row:
    (summary,) = summarise([evaluation])
    error, resolution, on_grid = summary.errors[problem.metric], summary.resolution, problem.resolution is not None
    # On a mesh the fields have units of their own, so that these would be means of nothing.
    rmse, mse, nrmse = (summary.errors[name] if on_grid else None for name in ("rmse", "mse", "nrmse"))
    starts = dict(zip(evaluation.seeds, starts_of(evaluation.run, evaluation.seeds), strict=True))
    published = study.published.get((problem.name, arm.name))
    base = study.published.get((problem.name, problem.arms[0].name))
    ratio = low = high = None
    verdict = ""
    if evaluation is not reference:
        try:
            comparison = compare_evaluations(reference, evaluation, resolution, problem.metric)
        except InputError as trouble:
            # Of a network that diverged, say: the other rows are none the worse.
            verdict = f"no comparison: {trouble}"
        else:
            result, verdict = comparison.result, comparison.verdict
            ratio, low, high = result.ratio, result.low, result.high
    return Row(
        problem=problem.title,
        arm=arm.title,
        name=arm.name,
        value=arm.value,
        seeds=len(evaluation.seeds),
        metric=problem.metric,
        error=error,
        rmse=rmse,
        mse=mse,
        nrmse=nrmse,
        train_error=_train_error(evaluation.run.path),
        ratio=ratio,
        low=low,
        high=high,
        verdict=verdict,
        published=published,
        published_ratio=None if published is None or base is None or ratio is None else published / base,
        seconds=_mean([replica.facts()["seconds"] for replica in evaluation.run.replicas]),
        data=evaluation.subject.recipe,
        errors={
            str(seed): [_kept(error) for error in errors.tolist()]
            for seed, errors in zip(evaluation.seeds, evaluation.errors(problem.metric, resolution), strict=True)
        },
        starts={str(seed): start for seed, start in starts.items() if start is not None},
    )


def _kept(error: float) -> float | str | None:
    """Six digits; what JSON has no number for is null (undefined) or a word."""
    if math.isnan(error):
        return None
    return float(f"{abs(error):.6g}") if math.isfinite(error) else "inf"


def _metrics(table: Table) -> str:
    """Which error is whose."""
    problems: dict[str, list[str]] = {}
    for row in table.rows:
        titles = problems.setdefault(row.metric, [])
        titles += [] if row.problem in titles else [row.problem]
    return "; ".join(f"{name}: {', '.join(titles)}" for name, titles in problems.items())


def _train_error(path: Path) -> float | None:
    """Without collisions, as the test is: with them the training loss is another quantity."""
    last: list[dict[str, Any]] = [rows[-1] for replica in open_run(path).replicas if (rows := replica.metrics())]
    return _mean([row.get("train_loss_without_collisions", row["train_loss"]) for row in last])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''}, {platform.machine()}, no GPU"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _interval(row: Row) -> str:
    return "" if row.low is None or row.high is None else f"{row.low:.3f}–{row.high:.3f}"


def read_results(folder: Path) -> dict[str, Any]:
    """What `write_results` wrote."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))
