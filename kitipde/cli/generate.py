"""`kitipde generate`: make a dataset."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.equations.registry import EQUATIONS
from datagen.errors import InputError, unknown
from kitipde.cli.completion import complete_from
from kitipde.cli.console import progress, remark, wrote
from kitipde.cli.outputs import refuse_folder
from kitipde.cli.verbs import Verbs

if TYPE_CHECKING:
    from datagen.equations.recipe import Recipe

__all__ = ["Equations", "app"]

_COARSE = 1e-4
"""Share of enstrophy (of |u_x|² in 1-D) in the highest tenth of wave numbers above which a flow is not resolved."""

app = typer.Typer(no_args_is_help=True, help="Solve a PDE for random initial fields: a dataset.")

Out = Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")]
Shard = Annotated[
    str, typer.Option(metavar="I/N", help="Make only every n-th part, to share the work between machines.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start over, even if the file exists.")]
Workers = Annotated[int, typer.Option(metavar="N", help="Samples solved at the same time; 0: one per processor.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what it would cost.")]


class _Commands(Mapping[str, Any]):
    """The commands of a group by name: one for each equation, made when it is asked for, and those that it is given."""

    def __init__(self, others: Mapping[str, Any]) -> None:
        self._others = others

    def __getitem__(self, name: str) -> Any:
        if name in self._others:
            return self._others[name]
        from kitipde.cli.equations import command_of

        return command_of(EQUATIONS[name], EQUATIONS.load(name), _make)

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in EQUATIONS if name not in self._others)
        yield from self._others

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Equations(Verbs):
    """The group `kitipde generate`: its help imports no equation, that of one equation only this one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def description(self, name: str) -> str:
        return EQUATIONS[name].help if name in EQUATIONS else super().description(name)


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
    _make(
        recipe_from(settings),
        out=out,
        device=device,
        shard=shard,
        workers=workers,
        overwrite=overwrite,
        dry_run=dry_run,
    )


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
    *,
    out: Out,
    device: Device = "auto",
    shard: Shard = "",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
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
    if recipe.remark():
        remark(recipe.remark())
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
