"""The report's sections on training, cost, settings and provenance, each from the evaluations alone."""

from collections.abc import Sequence
from typing import Any

from kitipde.config.load import write_config
from kitipde.evaluation.cost import run_cost
from kitipde.evaluation.records import Evaluation
from kitipde.reporting.curves import collision_figure, cost_figure, loss_figure
from kitipde.reporting.page import Cell, Listing, Picture, Section, Table
from kitipde.reporting.style import png

__all__ = ["cost_section", "provenance_section", "settings_section", "training_section"]


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


def _number(value: float | None, form: str) -> Cell:
    return Cell("—") if value is None else Cell(form.format(value), float(value))


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
