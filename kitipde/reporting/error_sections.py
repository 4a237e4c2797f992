"""The report's sections on errors: their tables, against resolution, wavenumber and time, and their definitions."""

from collections.abc import Sequence
from math import prod

from datagen.geometry import resolution_text
from kitipde.evaluation.metrics import Metric
from kitipde.evaluation.records import Evaluation
from kitipde.evaluation.summary import Estimate, Summary, summarise
from kitipde.reporting.curves import (
    has_spectra,
    resolution_figure,
    resolution_matrix_figure,
    special_metrics,
    special_time_figure,
    spectrum_figure,
    time_figure,
)
from kitipde.reporting.flows import force_figure, has_forces
from kitipde.reporting.page import Cell, Picture, Section, Table
from kitipde.reporting.panels import labelled
from kitipde.reporting.style import png

__all__ = ["definition_section", "error_section", "frame_section"]

# Sizes of the error; the other metrics of a field say where it lies.
_SIZES = ("relative_l2", "relative_l2_deviation", "nrmse", "rmse", "mse", "max_error")
_WHERE = (
    "where the error lies: with derivatives (relative H1), by wavenumber (RMSE of the modes), and how far the field's "
    "mean and, relatively, its mean square have drifted from the truth's by the last frame, as far as they are defined "
    "here."
)
_PLACE = ("run", "trained at", "tested at")


def error_section(evaluations: Sequence[Evaluation]) -> Section:
    """Tables of all errors, error against resolution, spectra."""
    rows = summarise(evaluations)
    bars = "; bars are one standard deviation over seeds" if any(row.seeds > 1 for row in rows) else ""
    pictures = []
    if len({row.resolution for row in rows}) > 1:
        pictures.append(
            Picture(
                "error-against-resolution",
                f"Relative L2 error against the resolution of the test data{bars}.",
                f"Line chart. {_error_words(rows)}",
                png(resolution_figure(evaluations)),
            )
        )
    if len({evaluation.run.facts.resolution for evaluation in evaluations}) > 1:
        pictures.append(
            Picture(
                "resolution-matrix",
                "Relative L2 error by training resolution (rows) and test resolution (columns).",
                f"Heat map with the numbers written in. {_error_words(rows)}",
                png(resolution_matrix_figure(evaluations)),
            )
        )
    with_spectra = [evaluation for evaluation in evaluations if has_spectra(evaluation)]
    if with_spectra:
        several = any(len(evaluation.fields) > 1 for evaluation in with_spectra)
        where = "above, errors below" if several else "on the left, errors on the right"
        pictures.append(
            Picture(
                "spectrum",
                f"Mean power by wavenumber at the last frame: truth and predictions {where}.",
                "Line charts on logarithmic axes: power of the truth and of each model's prediction, and power of each "
                "model's error, against wavenumber.",
                png(spectrum_figure(with_spectra)),
            )
        )
    return Section("errors", "Errors", _lost_power(rows), _error_tables(evaluations, rows), tuple(pictures))


def _error_tables(evaluations: Sequence[Evaluation], rows: Sequence[Summary]) -> tuple[Table, ...]:
    """Sizes of errors; where they lie; each field's; those of certain fields together. None of no columns."""
    spread = " ± standard deviation over seeds" if any(row.seeds > 1 for row in rows) else " (one seed)"
    several = any(len(evaluation.fields) > 1 for evaluation in evaluations)
    over = "fields and test samples; the components of a vector count as one field" if several else "test samples"
    defined = {entry.name: entry for evaluation in evaluations for entry in evaluation.defined}
    by_field = [entry for entry in defined.values() if entry.by_field]
    sizes = [entry for name in _SIZES for entry in by_field if entry.name == name]
    parts = [entry for entry in by_field if entry.name not in _SIZES]
    together = [entry for entry in defined.values() if not entry.by_field]
    mean = f"Mean over {over}{spread}. Press a column's name to sort."
    if several:
        # A mean over fields of other units means nothing.
        tables = [
            _table(mean, evaluations, rows, [entry for entry in (*sizes, *parts) if entry.units == "1"]),
            _field_table("Each field, in its units.", evaluations, rows, sizes),
            _field_table(f"Each field: {_WHERE}", evaluations, rows, parts),
        ]
    else:
        where = _WHERE[:1].upper() + _WHERE[1:]
        tables = [_table(mean, evaluations, rows, sizes), _table(where, evaluations, rows, parts)]
    tables.append(_table("Errors of quantities that several fields make together.", evaluations, rows, together))
    return tuple(table for table in tables if table is not None)


def _table(
    caption: str, evaluations: Sequence[Evaluation], rows: Sequence[Summary], metrics: Sequence[Metric]
) -> Table | None:
    if not metrics:
        return None
    header = (_heading(entry, _units(evaluations, entry)) for entry in metrics)
    cells = tuple(_row(row, [row.errors.get(entry.name) for entry in metrics]) for row in rows)
    return Table(caption, (*_PLACE, *header), cells)


def _field_table(
    caption: str, evaluations: Sequence[Evaluation], rows: Sequence[Summary], metrics: Sequence[Metric]
) -> Table:
    """One row per run, resolution and field; numbers are in the units of the field."""
    units = {
        field: of
        for evaluation in evaluations
        for field, of in zip(evaluation.fields, evaluation.examples.units, strict=True)
    }
    cells = []
    for row in rows:
        for field, errors in row.fields.items():
            name, *places = _row(row, [errors.get(entry.name) for entry in metrics])
            # Units such as m s-1 stay in one line.
            title = labelled(field, units[field].replace(" ", "\u00a0").replace("-", "\u2011"))
            cells.append((name, Cell(title), *places))
    header = ("run", "field", *_PLACE[1:], *(_heading(entry, "1") for entry in metrics))
    return Table(caption, header, tuple(cells))


def _heading(entry: Metric, units: str) -> str:
    # Bands without breaks between the numbers of a range.
    title = entry.title.removeprefix("RMSE, ")
    title = title.replace(" ", "\u00a0") if title.startswith("modes") else title
    return labelled(title, units)


def _units(evaluations: Sequence[Evaluation], entry: Metric) -> str:
    """Those of a metric, if all runs have the same."""
    every = {
        str(evaluation.metrics[f"overall_{entry.name}"].attrs["units"])
        for evaluation in evaluations
        if f"overall_{entry.name}" in evaluation.metrics
    }
    return every.pop() if len(every) == 1 else "1"


def frame_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """Errors and forces against time; None for data without time."""
    rolling = [evaluation for evaluation in evaluations if evaluation.metrics.sizes["time"] > 1]
    if not rolling:
        return None
    rows = [row for row in summarise(rolling) if row.correlation_time is not None and row.resolution == row.trained_at]
    table = Table(
        "Time until the correlation with the truth falls below 0.8 (the last frame's time if it does not).",
        (*_PLACE, "correlation time"),
        tuple(_row(row, (row.correlation_time,)) for row in rows),
    )
    pictures = [
        Picture(
            "error-against-time",
            "Error and correlation of each frame of the rollout; bands reach from the best to the worst seed.",
            "Line charts against time: relative L2 error and correlation with the truth, for each model.",
            png(time_figure(rolling)),
        )
    ]
    if special := special_metrics(rolling):
        titles = ", ".join(entry.title for entry in special)
        pictures.append(
            Picture(
                "flow-error-against-time",
                "The same for quantities that several fields make together.",
                f"Line charts against time, for each model: {titles}.",
                png(special_time_figure(rolling, special)),
            )
        )
    shared = [one for one in rolling if has_forces(one) and _same_sample(one, rolling[0])]
    if shared:
        pictures.append(
            Picture(
                "forces",
                "Coefficients of lift and drag of the first test sample, from the pressure on the airfoil.",
                "Two line charts against time: lift and drag coefficient of the truth and of each model.",
                png(force_figure(shared)),
            )
        )
    return Section("time", "Error against time", tables=(table,) if rows else (), pictures=tuple(pictures))


def _same_sample(one: Evaluation, other: Evaluation) -> bool:
    same = one.subject.identity == other.subject.identity
    return same and one.examples.samples[0] == other.examples.samples[0]


def definition_section(evaluations: Sequence[Evaluation]) -> Section:
    """What each number means, of the errors that are defined here."""
    defined = {entry.name: entry for evaluation in evaluations for entry in evaluation.defined}
    rows = tuple((Cell(entry.title), Cell(entry.definition)) for entry in defined.values())
    text = "p is the prediction, t the truth, e = p − t, ⟨·⟩ the mean over the domain of a frame."
    if any(has_spectra(evaluation) for evaluation in evaluations):
        text += " Hats are Fourier coefficients, m is the wavenumber in units of the domain's fundamental, k = 2πm/L."
    text += " Sums go over the frames of a rollout."
    return Section(
        "definitions", "Definitions", text, (Table("Errors and their formulas.", ("error", "formula"), rows),)
    )


def _row(row: Summary, estimates: Sequence[Estimate | None]) -> tuple[Cell, ...]:
    places = (Cell(resolution_text(each), float(prod(each))) for each in (row.trained_at, row.resolution))
    return (Cell(row.label), *places, *map(_estimate_cell, estimates))


def _estimate_cell(estimate: Estimate | None) -> Cell:
    # A run may not have a metric, and a grid that is too coarse has no modes in a band.
    if estimate is None or str(estimate) == "undefined":
        return Cell("—")
    return Cell(str(estimate), estimate.mean)


def _error_words(rows: Sequence[Summary]) -> str:
    return "Relative L2 errors: " + "; ".join(
        f"{row.label} trained at {resolution_text(row.trained_at)}, tested at {resolution_text(row.resolution)}: "
        f"{row.errors['relative_l2']}"
        for row in rows
    )


def _lost_power(rows: Sequence[Summary]) -> str:
    lost = {row.resolution: row.lost_power for row in rows if row.lost_power is not None and row.lost_power > 0.01}
    return " ".join(
        f"A grid of {resolution_text(resolution)} points per axis cannot hold {100 * share:.1f} % of the truth's "
        "power: part of the error there is the grid's."
        for resolution, share in sorted(lost.items())
    )
