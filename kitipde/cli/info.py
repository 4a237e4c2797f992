"""`kitipde info`: what a dataset holds, and whether it is intact."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitipde.cli.console import progress, remark, show_json, show_table, wrote

if TYPE_CHECKING:
    from datagen.store import Dataset

__all__ = ["info"]


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A dataset.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything: checksums, and whether all values are finite.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw all fields of a few samples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what a dataset holds: grid, settings, statistics."""
    from datagen.inspection.picture import draw
    from datagen.store import open_dataset
    from datagen.store.verify import verify as check

    with open_dataset(file) as data:
        if verify:
            with progress("verify", "samples") as show:
                checked = check(file, lambda done, total: show(done, total, ""))
            remark(f"{file} is intact: {checked.samples} samples, {checked.values} finite values, all checksums right")
        if plot is not None:
            draw(data, plot)
            wrote(plot)
        document = _document(data, verify)
    if as_json:
        show_json(_for_programs(document))
    else:
        _show(document)


def _document(data: "Dataset", verified: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from datagen.inspection.statistics import field_statistics

    hidden = ("config", "identity", "format", "equation", "Conventions", "texts_checksum")
    return {
        "file": str(data.path),
        "equation": data.equation,
        "samples": data.samples,
        "grid": list(data.grid),
        "mesh": None if data.mesh is None else data.mesh.dimensions,
        "axes": _axes(data),
        "times": None if data.times is None else data.times.tolist(),
        "bytes": data.path.stat().st_size,
        "identity": data.identity,
        "verified": verified,
        "config": dict(data.config),
        "attributes": {name: _plain(value) for name, value in data.attributes.items() if name not in hidden},
        "fields": {
            name: {
                "dims": list(dims),
                "role": data.role(name),
                "vector": data.vector(name) or None,
                "units": data.description(name).get("units", ""),
                "dtype": str(data.dtype(name)),
                **asdict(field_statistics(data, name)),
            }
            for name, dims in data.fields.items()
        },
        "seams": dict(data.seams),
        "parameters": list(data.parameters),
        "problem": None if data.problem is None else asdict(data.problem),
    }


def _axes(data: "Dataset") -> list[dict[str, Any]]:
    """Each axis of a grid; none of a mesh."""
    from datagen.geometry import Grid

    if not isinstance(data.geometry, Grid):
        return []
    return [
        {
            "name": axis.name,
            "points": axis.points,
            "extent": list(axis.extent),
            "boundary": list(axis.boundary),
            "units": axis.units,
            "uniform": axis.uniform,
        }
        for axis in data.geometry.axes
    ]


def _plain(value: Any) -> Any:
    """An attribute as a number or text; files from elsewhere may hold others."""
    return value if isinstance(value, str | int | float) else str(value)


def _for_programs(value: Any) -> Any:
    """JSON has no word for what is not finite: null."""
    if isinstance(value, dict):
        return {name: _for_programs(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_for_programs(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(document: dict[str, Any]) -> None:
    times, mesh = document["times"], document["mesh"]
    seams = {f"seam_{axis}": (f"border of {axis}", text) for axis, text in document["seams"].items()}
    hidden = {"domain_length", "problem", *seams}
    wide = ", ".join(name for name, field in document["fields"].items() if field["dtype"] == "float64")
    rows = [
        ["equation", document["equation"]],
        ["samples", str(document["samples"])],
        ["grid", " × ".join(map(str, document["grid"]))] if mesh is None else ["mesh", _cells(mesh)],
        *([axis["name"], _extent(axis)] for axis in document["axes"]),
        ["times", "none" if times is None else _times(times)],
        ["size", f"{document['bytes'] / 1e6:.2f} MB"],
        ["identity", document["identity"][:16]],
        *([["stored in float64", wide]] if wide else []),
        *([name, f"{text} (the axis is taken as periodic)"] for name, text in seams.values()),
        *([name, str(value)] for name, value in document["attributes"].items() if name not in hidden),
        *_fields(document["fields"]),
        ["of each sample", ", ".join(document["parameters"])],
        *([["learnt by default", _learnt(document["problem"])]] if document["problem"] else []),
    ]
    show_table(document["file"], ["", ""], rows, texts=(0, 1))
    columns = {"mean": "mean", "std": "deviation", "min": "least", "max": "greatest"}
    if times is not None and len(times) > 1:
        columns |= {"std, first frame": "first_deviation", "std, last frame": "last_deviation"}
    lines = [
        [name, *(f"{field[key]:.4g}" for key in columns.values()), str(field["samples"])]
        for name, field in document["fields"].items()
    ]
    print()
    show_table("Statistics", ["field", *columns, "samples"], lines)


def _fields(fields: dict[str, Any]) -> list[list[str]]:
    """A line for each role, vectors as one: `velocity (velocity_x, velocity_y), pressure [sample, time, x, y]`."""
    lines = {"field": "fields", "static": "static fields", "mask": "masks"}
    rows = []
    for role in dict.fromkeys((*lines, *(each["role"] for each in fields.values()))):
        groups: dict[str, dict[str, list[str]]] = {}
        for name, each in fields.items():
            if each["role"] == role:
                own = groups.setdefault(", ".join(each["dims"]), {})
                own.setdefault(each["vector"] or name, []).append(name)
        texts = [
            ", ".join(one if own == [one] else f"{one} ({', '.join(own)})" for one, own in group.items()) + f" [{dims}]"
            for dims, group in groups.items()
        ]
        rows += [[lines.get(role, role), "; ".join(texts)]] if texts else []
    return rows


def _extent(axis: dict[str, Any]) -> str:
    low, high = axis["extent"]
    units = "" if axis["units"] in ("", "1") else f" {axis['units']}"
    kinds = dict.fromkeys(axis["boundary"])
    spacing = "" if axis["uniform"] else ", unevenly spaced"
    return f"{low:.6g} to {high:.6g}{units}, {' and '.join(kinds)}, {axis['points']} points{spacing}"


def _learnt(problem: dict[str, Any]) -> str:
    def told(names: list[str], frames: int) -> str:
        return ", ".join(names) + (f" ({frames} frames)" if frames > 1 else "")

    beside = [*problem["static"], *problem["parameters"]]
    given = told(problem["inputs"], problem["input_frames"]) + (f" with {', '.join(beside)}" if beside else "")
    return f"{given} → {told(problem['targets'], problem['output_frames'])}"


def _times(times: list[float]) -> str:
    return f"{times[0]:g}" if len(times) == 1 else f"{len(times)} frames from {times[0]:g} to {times[-1]:g}"


def _cells(mesh: dict[str, int]) -> str:
    return f"{mesh['node']} nodes, {mesh['cell']} cells of {mesh['vertex']} nodes"
