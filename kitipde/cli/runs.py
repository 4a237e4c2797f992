"""`kitipde runs`: what has been trained, run by run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError
from kitipde.cli.console import remark, show_json, show_table

if TYPE_CHECKING:
    from kitipde.runs import Replica, Run

__all__ = ["runs"]


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to look for run folders, at any depth.")
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List what has been trained: settings, seeds, loss, time."""
    from kitipde.runs import open_run

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with run folders in it")
    rows = []
    for path in sorted(place.parent for place in folder.rglob("run.json")):
        try:
            rows.append(_row(open_run(path)))
        except InputError as error:
            remark(f"left out: {error}")
    if as_json:
        show_json(rows)
        return
    if not rows:
        print(f"no runs in {folder}; make one with `kitipde train`")
        return
    header = ("run", "network", "residual", "equation", "seeds", "epochs", "loss", "time (s)")
    title = f"Runs in {folder} (loss: lowest on the validation split, mean over seeds; time: of one seed)"
    show_table(title, header, [_texts(row) for row in rows], texts=(0, 1, 2, 3))


def _row(run: "Run") -> dict[str, Any]:
    facts = [_standing(replica) for replica in run.replicas if (replica.path / "facts.json").is_file()]
    losses = [each["best_validation_loss"] for each in facts if each["best_validation_loss"] is not None]
    wanted = run.config.training.seeds
    return {
        "run": str(run.path),
        "network": run.config.model.name,
        "residual": run.config.residual.kind,
        "equation": run.equation,
        "dataset": str(run.dataset_path),
        "seeds": wanted,
        "seeds_finished": sum(each["finished"] for each in facts),
        "epochs": run.config.training.epochs,
        "epochs_done": min((each["epochs"] for each in facts), default=0),
        "validation_loss": sum(losses) / len(losses) if losses else None,
        "seconds": sum(each["seconds"] for each in facts) / len(facts) if facts else None,
    }


def _standing(replica: "Replica") -> dict[str, Any]:
    """What a seed's facts say, or while it is being trained, when they are of its start, what its epochs say."""
    facts = replica.facts()
    if facts["finished"]:
        return facts
    rows = replica.metrics()
    losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
    seconds = sum(row["seconds"] for row in rows)
    return {**facts, "epochs": len(rows), "best_validation_loss": min(losses, default=None), "seconds": seconds}


def _texts(row: dict[str, Any]) -> tuple[str, ...]:
    loss, seconds = row["validation_loss"], row["seconds"]
    finished = row["seeds_finished"] == row["seeds"]
    return (
        row["run"],
        row["network"],
        row["residual"],
        row["equation"],
        f"{row['seeds']}" if finished else f"{row['seeds_finished']} of {row['seeds']}",
        f"{row['epochs']}" if finished else f"{row['epochs_done']} of {row['epochs']}",
        "-" if loss is None else f"{loss:.4g}",
        "-" if seconds is None else f"{seconds:.1f}",
    )
