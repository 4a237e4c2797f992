"""`kitipde models`: the networks that ship with settings, and what they cost."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitipde.cli.console import show_json, show_table

if TYPE_CHECKING:
    from kitipde.config import RunConfig

__all__ = ["models"]


_PUBLISHED_NODES = 5233
"""Of the mesh of the MeshGraphNets airfoil set."""


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the shipped configurations: network, grid, size, cost."""
    from datagen.equations.registry import EQUATIONS
    from kitipde.config.load import read_config, resolve_config, shipped_configs
    from kitipde.config.networks import NETWORKS

    rows = []
    for name in shipped_configs():
        config = resolve_config(read_config(name))
        # Shipped configurations are named after the equation that they are for; the others are for any data.
        equation = next(
            (each for each in EQUATIONS if name.endswith(each) or (each, name) == ("burgers", "demo")), None
        )
        if equation is None:
            rows.append(_row(name, config.model.name, "any"))
            continue
        dimension = EQUATIONS.load(equation).dimension
        rows.append({**_row(name, config.model.name, _grid(config, dimension)), **_cost(config, dimension)})
    theirs = (name for name in NETWORKS if NETWORKS[name].package)
    rows += [_row(name, name, f"any ({NETWORKS[name].package})") for name in theirs]
    if as_json:
        show_json(rows)
        return
    header = ("configuration", "network", "grid", "parameters", "FLOPs per step")
    texts = [
        (r["configuration"], r["model"], r["grid"], _number(r["parameters"], ","), _number(r["flops"], ".3g"))
        for r in rows
    ]
    show_table("Shipped configurations (`kitipde train --config NAME --data FILE`)", header, texts, texts=(0, 1))


def _row(configuration: str, model: str, grid: str) -> dict[str, Any]:
    return {"configuration": configuration, "model": model, "grid": grid, "parameters": None, "flops": None}


def _points(config: "RunConfig") -> int:
    on_mesh = config.model.works_on == "mesh"
    return _PUBLISHED_NODES if on_mesh else (config.data.resolution or (1024,))[0]


def _grid(config: "RunConfig", dimension: int) -> str:
    points = _points(config)
    return f"{points} nodes" if config.model.works_on == "mesh" else "×".join([str(points)] * dimension)


def _cost(config: "RunConfig", dimension: int) -> dict[str, int]:
    """Parameters and operations on the geometry that the configuration is for."""
    from kitipde.models import build_model, example_input, parameter_count
    from kitipde.models.flops import count_flops
    from kitipde.problem.problem import Domain, Problem

    data, points = config.data, _points(config)
    on_mesh = config.model.works_on == "mesh"
    domain = Domain("mesh", (points,), dimension) if on_mesh else Domain.square(points, dimension)
    frames = data.input_frames or 1, data.output_frames or 1
    problem = Problem(data.inputs or ("u",), data.targets or ("u",), data.static, data.parameters, *frames, domain)
    model = build_model(config, problem).eval()
    return {"parameters": parameter_count(model), "flops": count_flops(model, *example_input(problem))}


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)
