"""`kitipde models`: the networks that ship with settings, and what they cost."""

from typing import Annotated

import typer

from kitipde.cli.console import show_json, show_table

__all__ = ["models"]


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the shipped configurations: network, grid, size, cost."""
    from datagen.equations.registry import EQUATIONS
    from kitipde.config import AirfoilOFormerConfig
    from kitipde.config.load import read_config, resolve_config, shipped_configs
    from kitipde.models import build_model, example_input, parameter_count
    from kitipde.models.flops import count_flops
    from kitipde.models.mesh import PUBLISHED_NODES

    rows = []
    for name in shipped_configs():
        config = resolve_config(read_config(name))
        # Shipped configurations are named after the equation that they are for.
        dimension = next((EQUATIONS.load(each).dimension for each in EQUATIONS if name.endswith(each)), 1)
        on_mesh = isinstance(config.model, AirfoilOFormerConfig)
        points = PUBLISHED_NODES if on_mesh else config.data.resolution or 1024
        model = build_model(config, dimension).eval()
        flops = count_flops(model, example_input(config, dimension, points))
        grid = f"{points} nodes" if on_mesh else "×".join([str(points)] * dimension)
        row = {"configuration": name, "model": config.model.name, "grid": grid}
        rows.append({**row, "parameters": parameter_count(model), "flops": flops})
    if as_json:
        show_json(rows)
        return
    header = ("configuration", "network", "grid", "parameters", "FLOPs per step")
    texts = [(r["configuration"], r["model"], r["grid"], f"{r['parameters']:,}", f"{r['flops']:.3g}") for r in rows]
    show_table("Shipped configurations (`kitipde train --config NAME --data FILE`)", header, texts, texts=(0, 1))
