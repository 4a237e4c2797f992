"""`kitipde import`: published data, and your own, into our format."""

from pathlib import Path
from typing import Annotated

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, remark, wrote
from kitipde.cli.outputs import refuse_folder, refuse_source, refuse_taken

__all__ = ["app"]

DropEndpoint = Annotated[
    list[str] | None,
    typer.Option(metavar="AXIS", help="Leave out the last point along x, y or z, which repeats the first; repeatable."),
]

app = typer.Typer(no_args_is_help=True, help="Turn published data, or your own, into a dataset.")


@app.command()
def mat(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .mat or HDF5 file with `a`, `u` and `t`, or `coeff` and `sol`."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The dataset to write.")],
    equation: Annotated[
        str,
        typer.Option(help="burgers, navier-stokes, heat, darcy or a name of your own, if the file does not say it."),
    ] = "",
    nu: Annotated[float | None, typer.Option(help="Viscosity, or diffusivity, which the file does not tell.")] = None,
    length: Annotated[str, typer.Option(help="Side of the domain: a number, or 2pi.")] = "1",
    boundary: Annotated[
        str, typer.Option(metavar="KIND", help="What its sides are: periodic, wall or open.")
    ] = "periodic",
    final_time: Annotated[
        float | None,
        typer.Option(help="Time of u, where it is of one instant and the file has no t.  [default: 1 if it has any]"),
    ] = None,
    drop_endpoint: DropEndpoint = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset.")] = False,
) -> None:
    """The FNO authors' .mat files, MATLAB version 5 to 7.3, and HDF5 files with arrays of the same names."""
    from datagen.checks import parse_number
    from datagen.formats.axes import one_boundary
    from datagen.formats.mat import MatDescription, import_mat

    refuse_taken(out, overwrite, file)
    side = parse_number("length", length)
    description = MatDescription(equation, nu, side, one_boundary(boundary), final_time, tuple(drop_endpoint or ()))
    with progress("import", "samples") as show:
        import_mat(file, out, description, lambda done, total: show(done, total, ""), remark)
    wrote(out)


@app.command()
def meshgraphnets(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder with meta.json and train, valid, test.tfrecord.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The dataset to write.")],
    stride: Annotated[int, typer.Option(help="Take every stride-th frame.")] = 24,
    frames: Annotated[str, typer.Option(help="START:STOP of raw frames; either may be left out.")] = ":",
    split: Annotated[list[str] | None, typer.Option(help="train, valid or test; all there are if left out.")] = None,
    samples: Annotated[int, typer.Option(help="Most samples of each split; 0: all.")] = 0,
    velocity: Annotated[
        str, typer.Option(help="What the field called velocity holds: velocity, momentum, or auto: as the data tell.")
    ] = "auto",
    dt: Annotated[float, typer.Option(help="Seconds between raw frames; 0: as meta.json says.")] = 0.0,
    check: Annotated[
        bool, typer.Option(help="Compare every record with its checksum, for which all of it is read.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over, even if the file exists.")] = False,
) -> None:
    """The data of MeshGraphNets (TFRecord).

    The same command continues an import that was interrupted.
    """
    from datagen.formats.meshgraphnets.records import Selection, import_meshgraphnets

    start, stop = _range("frames", frames)
    selection = Selection(tuple(split or ()), stride, start, stop, samples, velocity, dt, check)
    refuse_folder(out)
    refuse_source(out, folder.glob("*"))
    with progress("import", "samples") as show:

        def told(done: int, total: int) -> None:
            show(done, total, "")

        made = import_meshgraphnets(folder, out, selection, told, remark, overwrite)
    if made:
        wrote(out)
    else:
        remark(f"{out} is complete already")


@app.command()
def netcdf(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="NetCDF with the dimensions sample, x (y, z, time), or renamed."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The dataset to write.")],
    equation: Annotated[str, typer.Option(help="What the fields are solutions of, in one word.")],
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Rename a dimension or variable; may be repeated. A variable named x, y or time becomes a coordinate.",
        ),
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option(help="Take this variable, by its new name; may be repeated; all if left out.")
    ] = None,
    boundary: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What the axes' ends are: periodic, wall or open, or AXIS=KIND,…  [default: periodic]",
        ),
    ] = "",
    length: Annotated[
        str, typer.Option(help="Of each periodic axis, and of bounded ones without a coordinate.  [default: from it]")
    ] = "",
    extent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AXIS=LOW:HIGH",
            help="Where an axis begins and ends, if not at its first and last point; may be repeated.",
        ),
    ] = None,
    inputs: Annotated[
        str, typer.Option(metavar="A,B", help="Fields that are given, of what is learnt by default.")
    ] = "",
    targets: Annotated[str, typer.Option(metavar="A,B", help="Fields that are predicted.")] = "",
    static: Annotated[str, typer.Option(metavar="A,B", help="Fields constant in time that are given too.")] = "",
    parameters: Annotated[str, typer.Option(metavar="A,B", help="Numbers of each sample that are given too.")] = "",
    constant: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A number of the equation; may be repeated.")
    ] = None,
    drop_endpoint: DropEndpoint = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset.")] = False,
) -> None:
    """Your own fields on a grid of one to three axes, from any NetCDF or HDF5 file that xarray opens."""
    from datagen.checks import parse_number
    from datagen.formats.axes import boundaries
    from datagen.formats.netcdf import ArrayDescription, import_netcdf

    refuse_taken(out, overwrite, file)
    names = dict(_assigned("rename", text) for text in rename or ())
    constants = {
        name: parse_number(name, text) for name, text in (_assigned("constant", each) for each in constant or ())
    }
    description = ArrayDescription(
        equation,
        parse_number("length", length) if length else None,
        constants,
        boundaries(boundary or "periodic"),
        dict(_ends(text) for text in extent or ()),
        inputs=_names(inputs),
        targets=_names(targets),
        static=_names(static),
        parameters=_names(parameters),
    )
    with progress("import", "samples") as show:
        import_netcdf(
            file,
            out,
            description,
            names,
            tuple(variable or ()),
            lambda done, total: show(done, total, ""),
            remark,
            tuple(drop_endpoint or ()),
        )
    if not boundary:
        remark("all axes are taken as periodic (--boundary wall, open or AXIS=KIND,… says otherwise)")
    wrote(out)


def _ends(text: str) -> tuple[str, tuple[float, float]]:
    """`x=0:2pi`."""
    from datagen.checks import parse_number

    axis, ends = _assigned("extent", text)
    low, colon, high = ends.partition(":")
    if not colon:
        raise InputError(f"--extent {text} names no two ends (allowed: AXIS=LOW:HIGH, such as x=0:1)")
    return axis, (parse_number(f"extent of {axis}", low), parse_number(f"extent of {axis}", high))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _assigned(option: str, text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name and value):
        raise InputError(f"--{option} takes two names with = between them, not '{text}'")
    return name, value


def _range(name: str, text: str) -> tuple[int, int]:
    """First and one after the last of "a:b"; −1 for an end left out."""
    first, colon, last = text.partition(":")
    if colon and all(part.isdecimal() or not part for part in (first, last)):
        return int(first or 0), int(last or -1)
    raise InputError(f"{name} '{text}' is no range (allowed: START:STOP, such as 0:601)")
