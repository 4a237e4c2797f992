"""`kitipde train MODEL`: train a neural operator on a dataset, for one seed or many."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError, unknown
from kitipde.cli.completion import complete_configuration, complete_from
from kitipde.cli.console import is_step, progress, remark, show_table, wrote

if TYPE_CHECKING:
    from kitipde.config import RunConfig
    from kitipde.runs import Run

__all__ = ["train"]

_KINDS = {"oformer": ("oformer", "oformer-airfoil")}
"""What a user may ask for that is several networks, one for each geometry."""


def _complete_network(incomplete: str) -> list[str]:
    from kitipde.config.networks import NETWORKS

    return complete_from(NETWORKS)(incomplete)


def train(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="NETWORK",
            autocompletion=_complete_network,
            help="fno, oformer, or another that `kitipde models` lists. A --config that names its model, and a run "
            "that is resumed, need none.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Dataset made by `kitipde generate` or `kitipde import`.")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="A,B", help="Fields that are given.  [default: as the file says]")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(metavar="A,B", help="Fields that are predicted.  [default: as the file says]")
    ] = None,
    static: Annotated[
        str | None, typer.Option(metavar="A,B", help="Fields constant in time that are given too.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="A,B", help="Numbers of each sample that are given too.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            autocompletion=complete_configuration,
            help="YAML file, or a name that `kitipde models` lists.  [default: the one for network and dataset]",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one setting, such as training.epochs=50; may be repeated."
        ),
    ] = None,
    kiti: Annotated[
        bool | None,
        typer.Option(help="Whether features collide while training.  [default: as configured; shipped: no]"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Networks to train, one per seed.  [default: 1]")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits every time on a GPU too, where that costs time.")
    ] = False,
    track_condensation: Annotated[
        bool, typer.Option("--track-condensation", help="Record how condensed each layer is, epoch by epoch.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Run folder.  [default: one under runs/]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
) -> None:
    """Train a neural operator on a dataset, for one or many seeds.

    The run folder holds the resolved settings, one line of metrics per epoch, the weights of the best epoch on the
    validation split, and the state from which --resume continues.
    """
    named = {"inputs": inputs, "targets": targets, "static": static, "parameters": parameters}
    fields = {key: names for key, names in named.items() if names is not None}
    switches = {"deterministic": deterministic, "track_condensation": track_condensation}
    assignments = [*(assignments or []), *(f"training.{name}=true" for name, given in switches.items() if given)]
    if resume and (data or config or assignments or fields or kiti is not None or overwrite):
        raise InputError("--resume keeps the settings of the run: only --out and --seeds go with it")
    if resume:
        settings = _saved_settings(out, model)
    else:
        settings = _settings(model, data, config, assignments, fields, kiti, seeds)
    from kitipde.training.launch import launch, on_first
    from kitipde.training.run import continue_run, start_run
    from kitipde.training.run import train as train_run

    fabric = launch(settings.training)
    folder = out or _default_folder(settings)
    try:
        if resume:
            path = on_first(fabric, lambda: continue_run(folder, seeds).path)
        else:
            path = on_first(fabric, lambda: start_run(settings, folder, overwrite, remark).path)
        from kitipde.runs import open_run

        run = open_run(path)
        train_run(run, lambda title: progress(title, "steps"), remark, fabric)
    except InputError as error:
        # One process reports it, all of them end.
        if fabric.is_global_zero:
            raise
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        if fabric.is_global_zero:
            advice = "" if is_step() else f"; continue with: kitipde train --resume --out {shlex.quote(str(folder))}"
            remark(f"the state of {folder} is saved{advice}")
        raise
    if fabric.is_global_zero:
        _summary(run)


def _settings(
    model: str | None,
    data: Path | None,
    config: str | None,
    assignments: list[str],
    fields: dict[str, str],
    kiti: bool | None,
    seeds: int | None,
) -> "RunConfig":
    """Shipped defaults, then --config, then --set, then the flags."""
    from kitipde.config.load import override, place, read_config, validate_config
    from kitipde.config.networks import NETWORKS
    from kitipde.config.schema import RunConfig

    if model is not None and model not in NETWORKS:
        raise unknown("network", model, NETWORKS)
    if model is None and config is None:
        raise InputError(f"no network given: name one ({', '.join(NETWORKS)}), or give --config with model.name")
    tree = read_config(config) if config else _shipped(str(model), data, fields)
    tree = override(tree, assignments)
    if model is None and not (isinstance(tree.get("model"), dict) and "name" in tree["model"]):
        raise InputError(f"no network given: {config} has no model.name; add it, or name one ({', '.join(NETWORKS)})")
    if data is not None:
        tree = place(tree, "data.path", str(data))
    for key, names in fields.items():
        tree = place(tree, f"data.{key}", names)
    if seeds is not None:
        tree = place(tree, "training.seeds", seeds)
    resolved = validate_config(RunConfig, tree)
    # A configuration may name a particular collisional residual: --kiti leaves that choice to it.
    if kiti is not None and kiti == (resolved.residual.kind == "plain"):
        resolved = validate_config(RunConfig, place(tree, "residual.kind", "kiti" if kiti else "plain"))
    if model is not None and resolved.model.name not in _KINDS.get(model, (model,)):
        raise InputError(f"the configuration is for the model '{resolved.model.name}', not '{model}'")
    return resolved


def _shipped(model: str, data: Path | None, fields: dict[str, str]) -> dict[str, Any]:
    """The shipped configuration of a network for a dataset: that for its equation, or else the network's own.

    One for an equation is for the fields that its solver makes: a file of this name with other ones, and other fields
    asked for, get the general one.
    """
    from datagen.geometry import Grid
    from datagen.store import open_dataset
    from kitipde.config.data import DataConfig
    from kitipde.config.load import read_config, shipped_configs

    if data is None:
        raise InputError("no dataset: give --data FILE; make one with `kitipde generate burgers --out burgers.h5`")
    with open_dataset(data) as dataset:
        equation, known, on_grid = dataset.equation, set(dataset.fields), isinstance(dataset.geometry, Grid)
    shipped = shipped_configs()
    if f"{model}-{equation}" in shipped and not fields.keys() & {"inputs", "targets"}:
        tree = read_config(f"{model}-{equation}")
        own = DataConfig.model_validate(tree.get("data", {}))
        if known >= {*(own.inputs or ()), *(own.targets or ())}:
            return tree
    name = model if on_grid or f"{model}-mesh" not in shipped else f"{model}-mesh"
    return read_config(name) if name in shipped else {**read_config("network"), "model": {"name": model}}


def _default_folder(config: "RunConfig") -> Path:
    model = next((kind for kind, names in _KINDS.items() if config.model.name in names), config.model.name)
    dataset = "" if config.data.path is None else f"-{config.data.path.stem}"
    return Path("runs") / f"{model}{dataset}-{config.residual.kind}"


def _saved_settings(out: Path | None, model: str | None) -> "RunConfig":
    from kitipde.runs import open_run

    if out is None:
        raise InputError("--resume needs --out RUN, the run to continue")
    config = open_run(out).config
    if model is not None and config.model.name not in _KINDS.get(model, (model,)):
        raise InputError(f"{out} is a run of the model '{config.model.name}', not '{model}'")
    return config


def _summary(run: "Run") -> None:
    """What came out, one line per seed; the weights are those of the best epoch on validation."""
    rows = []
    for replica in run.replicas:
        facts = replica.facts()
        rows.append(
            (
                f"{replica.seed}",
                f"{facts['best_epoch']}/{facts['epochs']}",
                f"{facts['best_validation_loss']:.4g}",
                f"{facts['seconds']:.1f}",
                f"{facts['parameters']:,}",
            )
        )
    title = f"{run.path}: {run.config.model.name} with {run.config.residual.kind} residuals on {run.equation}"
    loss = "validation relative L2" if run.config.model.relative_loss else "validation loss"
    show_table(title, ("seed", "best epoch", loss, "time (s)", "parameters"), rows)
    wrote(run.path)
