"""`kitipde import`: published data into our format."""

from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, remark

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Turn published data into a data set.")


@app.callback()
def _group() -> None:
    """Keep `import` a group of commands while it has one."""


@app.command()
def mat(
    file: Annotated[Path, typer.Argument(help="A .mat file with `a`, `u` and `t`, as the FNO data were published.")],
    out: Annotated[Path, typer.Option(help="The data set to make.")],
    equation: Annotated[str, typer.Option(help="burgers, navier-stokes or heat; told from the shapes if empty.")] = "",
    nu: Annotated[float | None, typer.Option(help="Viscosity, or diffusivity, which the file does not tell.")] = None,
    length: Annotated[str, typer.Option(help="Side of the domain: a number, or 2pi.")] = "1",
    final_time: Annotated[float, typer.Option(help="Time of u, where the file has no t.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the data set.")] = False,
) -> None:
    """The FNO authors' .mat files, MATLAB version 5 to 7.3."""
    from datagen.mat import MatDescription, import_mat
    from datagen.recipes import parse_number

    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; --overwrite replaces it")
    description = MatDescription(equation, nu, parse_number("length", length), final_time)
    with progress("import", "samples") as show:
        import_mat(file, out, description, lambda done, total: show(done, total, ""))
    remark(f"made {out}: {out.stat().st_size / 1e6:.1f} MB")
