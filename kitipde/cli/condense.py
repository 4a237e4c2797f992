"""`kitipde condense`: how far the neurons of a trained network, or of the papers' small ones, have become alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError
from kitipde.cli.console import progress, show_json, show_table, wrote

if TYPE_CHECKING:
    from kitipde.studies.condensation.experiments import Setting, Trainings
    from kitipde.studies.condensation.two_phase import Dynamics

__all__ = ["condense"]

_SYNTHETIC = "synthetic"


def condense(
    subject: Annotated[
        list[str],
        typer.Argument(metavar="RUN|synthetic", help="Run folders, or the word synthetic: the papers' networks."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write figures and tables here.  [synthetic: condensation]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="With synthetic.  [default: 5]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="With synthetic.  [default: 100]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, metavar="NUMBER", help="With synthetic.  [default: 0.001]")
    ] = None,
    deviation: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="NUMBER", help="With synthetic: of the initial weights.  [default: the papers']"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how much the neurons of each layer have become alike.

    The degree of condensation ρ of runs, from their best weights, or of the small networks that the papers study.
    """
    if subject == [_SYNTHETIC]:
        from kitipde.studies.condensation.experiments import Setting

        given = {"deviation": deviation, "learning_rate": learning_rate, "epochs": epochs}
        setting = Setting(**{name: value for name, value in given.items() if value is not None})
        _synthetic(out or Path("condensation"), seeds or 5, setting, as_json)
        return
    options = {"seeds": seeds, "epochs": epochs, "learning-rate": learning_rate, "deviation": deviation}
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name} goes with synthetic, not with run folders (which take --out and --json)")
    _runs(subject, out, as_json)


def _runs(paths: list[str], out: Path | None, as_json: bool) -> None:
    from dataclasses import asdict
    from statistics import mean

    from kitipde.evaluation.run_labels import label_runs
    from kitipde.optim.condensation import condensation
    from kitipde.runs import open_run

    documents = []
    runs = [open_run(path) for path in paths]
    for path, run, label in zip(paths, runs, label_runs(runs), strict=True):
        if not run.replicas:
            raise InputError(f"{path} has no trained seed yet")
        found = {replica.seed: condensation(replica.load_model()) for replica in run.replicas}
        documents.append({"run": label, "seeds": {seed: [asdict(each) for each in it] for seed, it in found.items()}})
        rows = []
        for layers in zip(*found.values(), strict=True):
            degrees = [layer.degree for layer in layers]
            rows.append(
                (
                    layers[0].name,
                    layers[0].kind,
                    str(layers[0].neurons),
                    f"{mean(degrees):.3f}",
                    f"{min(degrees):.3f} to {max(degrees):.3f}",
                    f"{mean(layer.whole for layer in layers):.3f}",
                    f"{mean(layer.clusters for layer in layers):.1f}",
                )
            )
        if not as_json:
            header = ("layer", "kind", "neurons", "ρ", "range over seeds", "ρ of whole neurons", "clusters")
            show_table(f"{label}, {len(found)} seed{'s' if len(found) > 1 else ''}", header, rows, texts=(0, 1))
        if out is not None:
            _draw_run(run, label, out)
    if as_json:
        show_json(documents)


def _draw_run(run: Any, label: str, out: Path) -> None:
    """Heat maps of the first seed's layers."""
    from kitipde.optim.condensation import condensation, neuron_weights, ordered_cosines
    from kitipde.reporting.condensation import heat_map_figure
    from kitipde.reporting.style import save

    model = run.replicas[0].load_model()
    maps = {layer.name: ordered_cosines(neuron_weights(model, layer.name)) for layer in condensation(model)}
    name = label.strip("./").replace("/", "-")
    paths = save(heat_map_figure({f"seed {run.replicas[0].seed}": maps}, label), out / f"condensation-{name}")
    wrote(paths[0])


def _synthetic(out: Path, seeds: int, setting: "Setting", as_json: bool) -> None:
    from kitipde.files import write_atomically, write_json
    from kitipde.studies.condensation.experiments import NETWORKS, run_study
    from kitipde.studies.condensation.tables import HEADER, as_document, as_markdown, rows_of
    from kitipde.studies.condensation.two_phase import two_phases

    out.mkdir(parents=True, exist_ok=True)
    with progress("condense", "trainings") as show:
        study = run_study(seeds, setting, show)
    dynamics = [two_phases(seed) for seed in range(seeds)]
    document = as_document(study, dynamics, setting)
    write_json(out / "results.json", document)
    write_atomically(out / "tables.md", as_markdown(study, dynamics, setting).encode())
    _draw_study(out, study, dynamics)
    wrote(out)
    if as_json:
        show_json(document)
        return
    for network in NETWORKS:
        show_table(f"{network}, {seeds} seeds, {setting.epochs} epochs", HEADER, rows_of(study, network), texts=(0, 1))


def _draw_study(out: Path, study: "list[Trainings]", dynamics: "list[Dynamics]") -> None:
    from kitipde.reporting.condensation import degree_figure, heat_map_figure, trajectory_figure
    from kitipde.reporting.style import save
    from kitipde.studies.condensation.experiments import ACTIVATIONS, NETWORKS

    for network, variants in NETWORKS.items():
        of = {(each.activation, each.variant): each for each in study if each.network == network}
        last = max(of[next(iter(of))].outcomes[0].maps, default=None)
        for activation in ACTIVATIONS:
            maps = {
                variant: {f"epoch {epoch}": each for epoch, each in of[activation, variant].outcomes[0].maps.items()}
                for variant in variants
            }
            if last is not None:
                title = f"{network} network, {activation}, seed 0"
                save(heat_map_figure(maps, title), out / f"{network}-{activation.lower()}-epochs")
        if last is not None:
            maps = {
                variant: {activation: of[activation, variant].outcomes[0].maps[last] for activation in ACTIVATIONS}
                for variant in variants
            }
            save(heat_map_figure(maps, f"{network} network, epoch {last}, seed 0"), out / f"{network}-activations")
        panels = {
            activation: {variant: of[activation, variant].degrees for variant in variants} for activation in ACTIVATIONS
        }
        save(degree_figure(panels), out / f"{network}-degree")
    processes = {
        "gradient descent": [each.descent for each in dynamics],
        "collisions": [each.collisions for each in dynamics],
        "descent after collisions": [each.after_all for each in dynamics],
    }
    quantities = {"mean of |w|²": "squares", "|θ − k|²": "errors", "ρ": "degrees"}
    panels = {
        name: {
            process: [(history.steps, getattr(history, attribute)) for history in histories]
            for process, histories in processes.items()
        }
        for name, attribute in quantities.items()
    }
    figure = trajectory_figure(panels, {"mean of |w|²": dynamics[0].threshold}, linear=("ρ",))
    save(figure, out / "two-phases")
