"""The report's sections, each from the evaluations alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kitipde.config.load import write_config
from kitipde.evaluation.cost import run_cost
from kitipde.evaluation.records import METRICS, Evaluation
from kitipde.evaluation.summary import Estimate, Summary, summarise
from kitipde.reporting.curves import (
    collision_figure,
    cost_figure,
    loss_figure,
    resolution_figure,
    resolution_matrix_figure,
    spectrum_figure,
    time_figure,
)
from kitipde.reporting.fields import Panel, animation, field_figure, panel_of, shared_panels
from kitipde.reporting.page import Cell, Listing, Picture, Section, Table
from kitipde.reporting.style import colour, png

__all__ = [
    "cost_section",
    "definition_section",
    "error_section",
    "field_section",
    "frame_section",
    "provenance_section",
    "settings_section",
    "training_section",
]


# Without breaks between the numbers of a range.
_BANDS = ("modes\u00a00–4", "modes\u00a05–12", "modes\u00a0≥\u00a013")


def error_section(evaluations: Sequence[Evaluation]) -> Section:
    """Tables of all errors, error against resolution, spectra."""
    rows = summarise(evaluations)
    bars = "; bars are one standard deviation over seeds" if any(row.mse.seeds > 1 for row in rows) else ""
    spread = " ± standard deviation over seeds" if any(row.mse.seeds > 1 for row in rows) else " (one seed)"
    main = Table(
        f"Mean over test samples{spread}. Press a column's name to sort.",
        ("run", "trained at", "tested at", "relative L2", "normalised RMSE", "RMSE", "MSE", "max error"),
        tuple(_row(row, (row.relative_l2, row.nrmse, row.rmse, row.mse, row.max_error)) for row in rows),
    )
    parts = Table(
        "Where the error lies: with derivatives (relative H1), by wavenumber (RMSE of the modes), and how far the "
        "field's mean and, relatively, its mean square have drifted from the truth's by the last frame.",
        ("run", "trained at", "tested at", "relative H1", *_BANDS, "mean drift", "mean square drift"),
        tuple(
            _row(
                row,
                (row.relative_h1, row.band_low, row.band_middle, row.band_high, row.mean_drift, row.power_drift),
            )
            for row in rows
        ),
    )
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
    pictures.append(
        Picture(
            "spectrum",
            "Mean power by wavenumber at the last frame: truth and predictions on the left, errors on the right.",
            "Two line charts on logarithmic axes: power of the truth and of each model's prediction, and power of each "
            "model's error, against wavenumber.",
            png(spectrum_figure(evaluations)),
        )
    )
    return Section("errors", "Errors", _lost_power(rows), (main, parts), tuple(pictures))


def _with_seeds(panels: Sequence[Panel]) -> str:
    seeds = {panel.seed for panel in panels}
    if len(seeds) == 1:
        return f"{' and '.join(panel.label for panel in panels)}, seed {seeds.pop()}"
    return " and ".join(f"{panel.label} (seed {panel.seed})" for panel in panels)


def _missing(evaluations: Sequence[Evaluation], shared: Sequence[Panel]) -> str:
    """Whose fields are stored on another grid than the first model's, or of another sample."""
    drawn = {panel.label for panel in shared}
    left_out = [evaluation.label for evaluation in evaluations if evaluation.label not in drawn]
    points = " × ".join(map(str, shared[0].truth.shape[1:]))
    return f" Not drawn: {' and '.join(left_out)}, whose field is not on these {points} points." if left_out else ""


def field_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """The first test sample frame by frame, then each run's worst sample; None if there is neither."""
    reference = evaluations[0].examples
    shared = shared_panels(evaluations)
    names = " and ".join(panel.label for panel in shared)
    pictures = []
    # A single frame is what the top of the page shows.
    if reference.truth.shape[1] > 1 or len(shared) < len(evaluations):
        pictures.append(
            Picture(
                "fields",
                f"The first test sample (number {reference.samples[0]} of the file; it was not chosen by its error), "
                f"predicted by {_with_seeds(shared)}.{_missing(evaluations, shared)}",
                f"Truth, predictions and absolute errors of {names}. {_largest_errors(shared)}",
                png(field_figure(shared, reference)),
            )
        )
    if reference.truth.shape[1] > 1:
        pictures.append(
            Picture(
                "rollout",
                "The same rollout, frame after frame.",
                f"Animation of truth, prediction and absolute error of {names}.",
                animation(shared, reference),
                "gif",
            )
        )
    for position, evaluation in enumerate(evaluations):
        if len(evaluation.examples.samples) < 2:
            continue
        panels = (panel_of(evaluation, 1, colour(position)),)
        pictures.append(
            Picture(
                f"worst-{position}",
                f"The worst test sample of {evaluation.label} (number {evaluation.examples.samples[1]}), seed "
                f"{evaluation.examples.seed}.",
                f"Truth, prediction and absolute error of {evaluation.label} where its error is largest. "
                f"{_largest_errors(panels)}",
                png(field_figure(panels, evaluation.examples)),
            )
        )
    return Section("fields", "Fields", pictures=tuple(pictures)) if pictures else None


def frame_section(evaluations: Sequence[Evaluation]) -> Section | None:
    """Error against time; None for data without time."""
    rolling = [evaluation for evaluation in evaluations if evaluation.metrics.sizes["time"] > 1]
    if not rolling:
        return None
    rows = [row for row in summarise(rolling) if row.correlation_time is not None and row.resolution == row.trained_at]
    table = Table(
        "Time until the correlation with the truth falls below 0.8 (the last frame's time if it does not).",
        ("run", "trained at", "tested at", "correlation time"),
        tuple(_row(row, (row.correlation_time,)) for row in rows if row.correlation_time is not None),
    )
    picture = Picture(
        "error-against-time",
        "Error and correlation of each frame of the rollout; bands reach from the best to the worst seed.",
        "Two line charts against time: relative L2 error and correlation with the truth, for each model.",
        png(time_figure(rolling)),
    )
    return Section("time", "Error against time", tables=(table,) if rows else (), pictures=(picture,))


def training_section(evaluations: Sequence[Evaluation]) -> Section:
    """Loss curves and collision rates."""
    runs, labels = [one.run for one in evaluations], [one.label for one in evaluations]
    finals = "; ".join(
        f"{label}: {', '.join(f'{loss:.3g}' for loss in _best_losses(evaluation))}"
        for label, evaluation in zip(labels, evaluations, strict=True)
    )
    pictures = [
        Picture(
            "loss",
            "Loss against epoch, one line per seed. With collisions, or dropout, the training loss is that of the "
            "disturbed network; the dotted line is the same split without them, as in evaluation.",
            f"Two line charts. Best validation losses: {finals}.",
            png(loss_figure(runs, labels)),
        )
    ]
    collisions = collision_figure(runs, labels)
    if collisions is not None:
        pictures.append(
            Picture(
                "collisions",
                "Collisions per particle in each layer, first seed.",
                "Line chart of the number of collisions per particle against epoch, one line per layer.",
                png(collisions),
            )
        )
    return Section("training", "Training", pictures=tuple(pictures))


def cost_section(evaluations: Sequence[Evaluation]) -> Section:
    """Parameters, operations, time, memory; loss against time."""
    rows = []
    for evaluation in evaluations:
        cost = run_cost(evaluation.run)
        rows.append(
            (
                Cell(evaluation.label),
                _number(cost.parameters, "{:,.0f}"),
                _number(cost.flops, "{:.3g}"),
                _number(cost.seconds_per_epoch, "{:.3g}"),
                _number(cost.seconds, "{:.4g}"),
                _number(None if cost.peak_memory_bytes is None else cost.peak_memory_bytes / 2**20, "{:,.0f}"),
                _number(cost.best_epoch, "{:.0f}"),
            )
        )
    table = Table(
        "Cost of each run: means over seeds. Collisions act in training only; their cost is in the seconds.",
        ("run", "parameters", "FLOPs per step", "s per epoch", "s in total", "peak memory [MiB]", "best epoch"),
        tuple(rows),
    )
    picture = Picture(
        "cost",
        "Validation loss against the time spent in training, one line per seed.",
        "Line chart of validation loss against training seconds for each model and seed.",
        png(cost_figure([one.run for one in evaluations], [one.label for one in evaluations])),
    )
    return Section("cost", "Cost", tables=(table,), pictures=(picture,))


def settings_section(evaluations: Sequence[Evaluation]) -> Section:
    """What differs between the runs, and everything."""
    flat = [_flatten(evaluation.run.config.model_dump(mode="json")) for evaluation in evaluations]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    listings = tuple(
        Listing(f"All settings of {evaluation.label} ({evaluation.run.path})", write_config(evaluation.run.config))
        for evaluation in evaluations
    )
    if len(evaluations) == 1:
        return Section("settings", "Settings", listings=listings)
    table = Table(
        "Settings that differ; all others are equal.",
        ("setting", *(evaluation.label for evaluation in evaluations)),
        tuple((Cell(key), *(Cell(str(settings.get(key, "—"))) for settings in flat)) for key in differing),
    )
    text = "" if differing else "The runs have the same settings."
    return Section("settings", "Settings", text, (table,) if differing else (), listings=listings)


def provenance_section(evaluations: Sequence[Evaluation]) -> Section:
    """Data, versions, machine: what is needed to do it again."""
    rows = []
    for evaluation in evaluations:
        facts: dict[str, Any] = {}
        for replica in evaluation.run.replicas:
            if (replica.path / "facts.json").is_file():
                facts = replica.facts()
                break
        subject = evaluation.subject
        commit = facts.get("git_commit")
        rows.append(
            (
                Cell(evaluation.label),
                Cell(str(evaluation.run.path)),
                Cell(", ".join(map(str, evaluation.seeds))),
                Cell(f"{subject.path.name} ({subject.identity[:12]})"),
                Cell(subject.description),
                Cell(f"{facts.get('version', '—')}{f' ({commit[:10]})' if commit else ''}"),
                Cell(f"{facts.get('torch', '—')}, Python {facts.get('python', '—')}"),
                Cell(f"{facts.get('device', '—')}, {facts.get('threads', '—')} threads"),
            )
        )
    header = ("run", "folder", "seeds", "dataset", "evaluated on", "kitipde", "torch", "machine")
    return Section("provenance", "Provenance", tables=(Table("Where the numbers come from.", header, tuple(rows)),))


def definition_section() -> Section:
    """What each number means."""
    rows = tuple((Cell(entry.title), Cell(entry.definition)) for entry in METRICS)
    text = (
        "p is the prediction, t the truth, e = p − t, ⟨·⟩ the mean over the points of a frame, hats are Fourier "
        "coefficients, m is the wavenumber of the domain's fundamental, k = 2πm/L. Sums go over the frames of a "
        "rollout."
    )
    return Section(
        "definitions", "Definitions", text, (Table("Errors and their formulas.", ("error", "formula"), rows),)
    )


def _row(row: Summary, estimates: Sequence[Estimate]) -> tuple[Cell, ...]:
    # A grid that is too coarse has no modes in a band.
    numbers = (Cell("—" if str(estimate) == "undefined" else str(estimate), estimate.mean) for estimate in estimates)
    return (
        Cell(row.label),
        Cell(str(row.trained_at), row.trained_at),
        Cell(str(row.resolution), row.resolution),
        *numbers,
    )


def _number(value: float | None, form: str) -> Cell:
    return Cell("—") if value is None else Cell(form.format(value), float(value))


def _error_words(rows: Sequence[Summary]) -> str:
    return "Relative L2 errors: " + "; ".join(
        f"{row.label} trained at {row.trained_at}, tested at {row.resolution}: {row.relative_l2}" for row in rows
    )


def _lost_power(rows: Sequence[Summary]) -> str:
    lost = {row.resolution: row.lost_power for row in rows if row.lost_power > 0.01}
    return " ".join(
        f"A grid of {resolution} points per axis cannot hold {100 * share:.1f} % of the truth's power: part of the "
        "error there is the grid's."
        for resolution, share in sorted(lost.items())
    )


def _largest_errors(panels: Sequence[Any]) -> str:
    largest = [(panel.label, float(np.max(panel.error))) for panel in panels]
    return " ".join(
        f"Largest error of {label}: {error:.3g}." if np.isfinite(error) else f"The prediction of {label} is not finite."
        for label, error in largest
    )


def _best_losses(evaluation: Evaluation) -> list[float]:
    losses = []
    for replica in evaluation.run.replicas:
        values = [row["validation_loss"] for row in replica.metrics() if row.get("validation_loss") is not None]
        if values:
            losses.append(min(values))
    return losses


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat.update(_flatten(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat
