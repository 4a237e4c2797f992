"""`kitipde generate`: make a dataset."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError, unknown
from kitipde.cli.completion import complete_from
from kitipde.cli.console import progress, remark, wrote
from kitipde.cli.outputs import refuse_folder

if TYPE_CHECKING:
    from datagen.generation.generate import Recipe

__all__ = ["app"]

_COARSE = 1e-4
"""Share of enstrophy (of |u_x|² in 1-D) in the highest tenth of wave numbers above which a flow is not resolved."""

app = typer.Typer(no_args_is_help=True, help="Solve a PDE for random initial fields: a dataset.")

Samples = Annotated[int, typer.Option(metavar="N", help="How many samples.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the dataset, below 2^32; it gives each sample's own.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")]
Shard = Annotated[
    str, typer.Option(metavar="I/N", help="Make only every n-th part, to share the work between machines.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start over, even if the file exists.")]
Workers = Annotated[int, typer.Option(metavar="N", help="Samples solved at the same time; 0: one per processor.")]
Frames = Annotated[int, typer.Option(metavar="N", help="Instants stored.")]
Interval = Annotated[
    float, typer.Option(metavar="TIME", help="Time between frames; the first is one interval after the start.")
]
Field = Annotated[str, typer.Option(metavar="NAME", help="Initial field: published (c = 2), unit (c = 1) or literal.")]
Length = Annotated[str, typer.Option(metavar="LENGTH", help="Side of the domain: a number, or 2pi.")]
SolveResolution = Annotated[int, typer.Option(metavar="N", help="Points per axis solved on; 0: as many as stored.")]
Resolution = Annotated[int, typer.Option(metavar="N", help="Points per axis stored.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what it would cost.")]


@app.command()
def burgers(
    out: Out,
    samples: Samples = 1000,
    resolution: Resolution = 1024,
    seed: Seed = 0,
    nu: Annotated[float, typer.Option(metavar="NUMBER", help="Viscosity.")] = 0.1,
    length: Length = "2pi",
    final_time: Annotated[float, typer.Option(metavar="TIME", help="Time of u.")] = 1.0,
    frames: Annotated[int, typer.Option(metavar="N", help="Instants of u stored, evenly up to the final time.")] = 1,
    solve_resolution: Annotated[
        int, typer.Option(metavar="N", help="Points solved on; 0: the multiple of --resolution from 8192.")
    ] = 0,
    device: Device = "auto",
    shard: Shard = "",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Burgers' equation: pairs u0 -> u(T), exact."""
    from datagen.equations.burgers import Burgers
    from datagen.equations.registry import parse_number

    recipe = Burgers(
        samples, resolution, seed, nu, parse_number("length", length), final_time, frames, solve_resolution
    )
    note = ""
    if math.isclose(recipe.length, 2 * math.pi):
        note = "domain length 2 pi, on which the published data were made (the paper's text says 1: --length 1)"
    _make(recipe, out, device, shard, workers, overwrite, dry_run, note)


@app.command("navier-stokes")
def navier_stokes(
    out: Out,
    samples: Samples = 20,
    resolution: Resolution = 256,
    seed: Seed = 0,
    nu: Annotated[float, typer.Option(metavar="NUMBER", help="Viscosity.")] = 1e-3,
    frames: Frames = 20,
    interval: Interval = 1.0,
    forcing: Annotated[bool, typer.Option(help="With or without the published forcing.")] = True,
    field: Field = "published",
    length: Length = "1",
    solve_resolution: SolveResolution = 0,
    dt: Annotated[float, typer.Option(metavar="TIME", help="Fixed time step; 0: by stability and --tolerance.")] = 0.0,
    tolerance: Annotated[
        float, typer.Option(metavar="NUMBER", help="Relative L2 error that may arise between two frames.")
    ] = 1e-7,
    device: Device = "auto",
    shard: Shard = "",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Navier-Stokes in two dimensions: vorticity in time."""
    from datagen.equations.navier_stokes import NavierStokes
    from datagen.equations.registry import parse_number

    side = parse_number("length", length)
    recipe = NavierStokes(
        samples, resolution, seed, nu, frames, interval, forcing, field, side, solve_resolution, dt, tolerance
    )
    _make(recipe, out, device, shard, workers, overwrite, dry_run)


@app.command()
def heat(
    out: Out,
    samples: Samples = 20,
    resolution: Resolution = 256,
    seed: Seed = 0,
    alpha: Annotated[float, typer.Option(metavar="NUMBER", help="Diffusivity.")] = 1e-4,
    frames: Frames = 20,
    interval: Interval = 1.0,
    source: Annotated[float, typer.Option(metavar="NUMBER", help="Heat supplied on the boundary of the square.")] = 0.1,
    field: Field = "published",
    length: Length = "1",
    solve_resolution: SolveResolution = 0,
    device: Device = "auto",
    shard: Shard = "",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Heat equation in two dimensions with a source, in closed form."""
    from datagen.equations.heat import Heat
    from datagen.equations.registry import parse_number

    side = parse_number("length", length)
    recipe = Heat(samples, resolution, seed, alpha, frames, interval, source, field, side, solve_resolution)
    _make(recipe, out, device, shard, workers, overwrite, dry_run)


@app.command()
def airfoil(
    out: Out,
    samples: Samples = 100,
    preset: Annotated[
        str,
        typer.Option(metavar="NAME", help="standard (5,120 nodes, frames 2 ms apart), or quick (1,600 nodes, 1 ms)."),
    ] = "standard",
    section: Annotated[str, typer.Option("--airfoil", metavar="NACA", help="Four-digit NACA section.")] = "0012",
    mach: Annotated[str, typer.Option(metavar="LEAST:MOST", help="Mach number, uniformly distributed.")] = "0.2:0.7",
    angle: Annotated[
        str, typer.Option(metavar="LEAST:MOST", help="Angle of attack in degrees, uniformly distributed.")
    ] = "-25:25",
    frames: Annotated[int, typer.Option(metavar="N", help="Instants stored, the start included.")] = 26,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time between frames (chord 1 m); 0: as in the preset.")
    ] = 0.0,
    around: Annotated[int, typer.Option(metavar="N", help="Nodes on the airfoil; 0: as in the preset.")] = 0,
    layers: Annotated[int, typer.Option(metavar="N", help="Nodes from airfoil to far field; 0: as in the preset.")] = 0,
    far: Annotated[float, typer.Option(metavar="CHORDS", help="Radius of the far field; 0: as in the preset.")] = 0.0,
    courant: Annotated[float, typer.Option(metavar="NUMBER", help="Share of the longest stable time step.")] = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    shard: Shard = "",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Compressible flow (Euler) around NACA airfoils, on a mesh."""
    from dataclasses import replace

    from datagen.equations.airfoil.cases import PRESETS, Airfoil

    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    given = {"around": around, "layers": layers, "far": far, "interval": interval}
    chosen = {**PRESETS[preset], **{name: value for name, value in given.items() if value}}
    (least_mach, most_mach), (least_angle, most_angle) = _range("mach", mach), _range("angle", angle)
    recipe = Airfoil(samples, seed, section, least_mach, most_mach, least_angle, most_angle, frames=frames)
    recipe = replace(recipe, courant=courant, **chosen)
    _make(recipe, out, device, shard, workers, overwrite, dry_run)


@app.command()
def recipe(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            autocompletion=lambda incomplete: complete_from(_shipped_recipes())(incomplete),
            help="YAML file, or a shipped one: paper-burgers, paper-heat, paper-navier-stokes.",
        ),
    ],
    out: Out,
    samples: Annotated[int, typer.Option(metavar="N", help="How many samples; 0: as in the recipe.")] = 0,
    device: Device = "auto",
    shard: Shard = "",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """The dataset that a YAML file describes; the paper's are shipped."""
    from datagen.equations.registry import recipe_from

    settings = _settings(file)
    if samples:
        settings = {**settings, "samples": samples}
    _make(recipe_from(settings), out, device, shard, workers, overwrite, dry_run)


def _range(name: str, text: str) -> tuple[float, float]:
    """Both ends of "a:b", or of a single number."""
    least, _, most = text.partition(":")
    try:
        return float(least), float(most or least)
    except ValueError:
        raise InputError(f"invalid --{name} '{text}' (expected LEAST:MOST, or one number)") from None


def _settings(file: str) -> dict[str, Any]:
    from kitipde.config.load import read_config

    shipped = _shipped_recipes()
    if file in shipped:
        return read_config(str(shipped[file]))
    if file.endswith((".yaml", ".yml")):
        return read_config(file)
    raise unknown("recipe (give a .yaml file or a shipped name)", file, shipped)


def _shipped_recipes() -> dict[str, Path]:
    # A wheel carries them inside the package; in a checkout they lie beside it.
    package = Path(__file__).parent.parent
    folder = next(place for place in (package / "configs", package.parent / "configs") if place.is_dir()) / "data"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _make(
    recipe: "Recipe",
    out: Path,
    device: str,
    shard: str,
    workers: int,
    overwrite: bool,
    dry_run: bool,
    note: str = "",
) -> None:
    from datagen.generation import generate as making
    from datagen.generation.machine import Machine

    machine = Machine.here(device, shard, workers)
    refuse_folder(out)
    if overwrite and machine.shards > 1:
        raise InputError(f"--overwrite is for one process alone; with several, first remove {out} and {out}.parts")
    if not overwrite and making.finished(recipe, out, machine.device):
        remark(f"{out} is complete already")
        return
    if overwrite:
        work = making.plan_anew(recipe, out, machine.device)
    else:
        work = making.discard_damaged_parts(making.plan(recipe, out, machine.device), machine)
    if not dry_run:
        making.check_disk(work, machine)
    expected = making.forecast(work, recipe, machine)
    if note:
        remark(note)
    remark(expected)
    if dry_run:
        return
    if overwrite:
        making.begin_anew(work)
    share = f" {machine.shard}/{machine.shards}" if machine.shards > 1 else ""
    if work.samples_left(machine):
        with progress(f"{recipe.equation}{share}", "samples") as show:
            making.generate(work, recipe, machine, lambda done, total: show(done, total, ""))
    if machine.joins:
        making.wait_for_all(work, machine)
        making.join(work)
        wrote(out)
        _warn_of_a_coarse_grid(out)
    else:
        remark(f"share {machine.shard} of {machine.shards} is done; the same command without --shard joins them all")


def _warn_of_a_coarse_grid(out: Path) -> None:
    from datagen.store import open_dataset

    with open_dataset(out) as data:
        what = "the enstrophy" if len(data.grid) > 1 else "|u_x|²"
        if "tail" in data.parameters and (worst := float(data.parameter("tail").max())) > _COARSE:
            remark(
                f"warning: up to {worst:.1e} of {what} lies in the highest tenth of the wave numbers; "
                "the grid is too coarse for this viscosity: --solve-resolution gives a finer one"
            )
