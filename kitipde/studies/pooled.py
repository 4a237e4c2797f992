"""Studies of the same kind whose seeds were trained on several machines, joined by the errors that each has kept.

`results.json` of a study holds the error of each seed on each test sample: that is enough to compare its models anew,
with more seeds or without the runs.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import TypeAdapter

from kitipde.errors import InputError, unknown
from kitipde.evaluation.shared_starts import Arm, compare_arms
from kitipde.evaluation.statistics import pair_seeds
from kitipde.evaluation.summary import estimate
from kitipde.studies.results import Row, Table

__all__ = ["pooled_results"]


def pooled_results(paths: Sequence[Path], reference: str | None = None) -> Table:
    """The table of all seeds in some `results.json`.

    Args:
        paths: the files; models of which a file has none of its own seeds may be missing in it.
        reference: name of the model that the others are compared with; by default the first of each problem.

    Raises:
        InputError: if one is no result of a study with the errors of its seeds, they are of different studies, sizes or
            data, two have the same seed, or a problem has no such reference.
    """
    tables = [_read(path) for path in paths]
    first = tables[0]
    for path, table in zip(paths[1:], tables[1:], strict=True):
        if (table.study, table.preset) != (first.study, first.preset):
            raise InputError(
                f"{path} is {table.study} at size {table.preset}, {paths[0]} is {first.study} at size {first.preset}: "
                "only studies of the same kind can be pooled"
            )
    rows: dict[tuple[str, str], Row] = {}
    for path, table in zip(paths, tables, strict=True):
        for row in table.rows:
            known = rows.get((row.problem, row.name))
            rows[row.problem, row.name] = row if known is None else _with_seeds_of(known, row, path)
    problems: dict[str, list[Row]] = {}
    for row in rows.values():
        problems.setdefault(row.problem, []).append(row)
    return replace(
        first,
        command="; ".join(dict.fromkeys(table.command for table in tables)),
        machine="; ".join(dict.fromkeys(table.machine for table in tables)),
        date=max(table.date for table in tables),
        version="; ".join(dict.fromkeys(table.version for table in tables)),
        rows=tuple(row for each in problems.values() for row in _compared_all(each, reference)),
    )


def _compared_all(rows: Sequence[Row], reference: str | None) -> list[Row]:
    """A problem's rows, the reference first."""
    known = {row.name: row for row in rows}
    if reference is not None and reference not in known:
        raise unknown(f"model of {rows[0].problem}", reference, known)
    first = rows[0] if reference is None else known[reference]
    return [_compared(row, first) for row in (first, *(row for row in rows if row is not first))]


def _read(path: Path) -> Table:
    try:
        table = TypeAdapter(Table).validate_json(path.read_bytes())
        for row in table.rows:
            if (_matrix(row, sorted(row.errors, key=int)) < 0).any():
                raise ValueError(f"an error of {row.name} is negative")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no results.json of a study with the errors of its seeds") from error
    if not table.rows or not all(row.errors for row in table.rows):
        raise InputError(f"{path} holds no errors")
    return table


def _samples(row: Row) -> int:
    return len(next(iter(row.errors.values())))


def _with_seeds_of(known: Row, row: Row, path: Path) -> Row:
    """The first row with the seeds of the second too."""
    both = f"{row.problem}, {row.name}"
    if both_have := sorted(known.errors.keys() & row.errors.keys(), key=int):
        raise InputError(f"{path}: another file has seed {', '.join(both_have)} of {both} already")
    if (known.metric, known.data, _samples(known)) != (row.metric, row.data, _samples(row)):
        raise InputError(f"{path}: {both} was tested on other data, or by another error, than in the files before")
    return replace(
        known,
        errors={**known.errors, **row.errors},
        starts={**known.starts, **row.starts},
        train_error=_mean(known, row, "train_error"),
        seconds=_mean(known, row, "seconds"),
        # Of these only the means of each file are known.
        rmse=None,
        mse=None,
        nrmse=None,
    )


def _mean(a: Row, b: Row, name: str) -> float | None:
    values = getattr(a, name), getattr(b, name)
    if None in values:
        return None
    return (values[0] * len(a.errors) + values[1] * len(b.errors)) / (len(a.errors) + len(b.errors))


def _compared(row: Row, reference: Row) -> Row:
    """The row with what follows from its errors and those of the reference."""
    seeds = sorted(row.errors, key=int)
    errors = _matrix(row, seeds)
    # What it was before may have been against another reference.
    nothing = {"ratio": None, "low": None, "high": None, "published_ratio": None}
    row = replace(row, seeds=len(seeds), error=estimate(errors), verdict="", **nothing)
    if row.name == reference.name:
        return row
    if row.published is not None and reference.published is not None:
        row = replace(row, published_ratio=row.published / reference.published)
    if (row.metric, row.data, _samples(row)) != (reference.metric, reference.data, _samples(reference)):
        raise InputError(
            f"{row.problem}: {row.name} and {reference.name} were tested on other data, or by another error, and "
            "cannot be compared"
        )
    all_theirs = sorted(reference.errors, key=int)
    common = pair_seeds(seeds, all_theirs)
    theirs, ours = _matrix(reference, common or all_theirs), _matrix(row, common or seeds)
    defined = ~(np.isnan(ours).any(0) | np.isnan(theirs).any(0))
    ours, theirs = ours[:, defined], theirs[:, defined]
    if ours.shape[1] < 2:
        return replace(row, verdict="no comparison: the error is defined for fewer than two test samples")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return replace(row, verdict="no comparison: some predictions are not finite")
    if ours.mean() == 0 or theirs.mean() == 0:
        return replace(row, verdict="no comparison: an error of zero has no ratio")
    result, words = compare_arms(
        Arm(reference.name, theirs, [reference.starts.get(seed) for seed in common or all_theirs]),
        Arm(row.name, ours, [row.starts.get(seed) for seed in common or seeds]),
        paired=bool(common),
    )
    if not common:
        words += f" Not paired: {reference.name} has other seeds."
    elif not len(common) == len(seeds) == len(all_theirs):
        words += f" Of the seeds that both have: {', '.join(common)}."
    return replace(row, ratio=result.ratio, low=result.low, high=result.high, verdict=words)


def _matrix(row: Row, seeds: Sequence[str]) -> Float[np.ndarray, "seeds samples"]:
    return np.array([[math.nan if each is None else float(each) for each in row.errors[seed]] for seed in seeds])
