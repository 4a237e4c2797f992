"""`kitipde sweep`: search for good settings, judged on validation; only the best run meets the test split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.errors import InputError
from kitipde.cli.completion import complete_configuration
from kitipde.cli.console import progress, remark, show_json, show_table, show_text, wrote

if TYPE_CHECKING:
    from optuna import Study

    from kitipde.evaluation.summary import Estimate
    from kitipde.runs import Run
    from kitipde.studies.sweep import Sweep

__all__ = ["sweep"]


def sweep(
    config: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            autocompletion=complete_configuration,
            help="YAML file, or a name that `kitipde models` lists.",
        ),
    ],
    params: Annotated[
        list[str],
        typer.Option(
            "--param", metavar="KEY=LOW:HIGH", help="A setting to search; also KEY=LOW:HIGH:log and KEY=A,B,C."
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Dataset.  [default: that of the configuration]")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Finished trials, over all processes.")] = 20,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Seeds of each trial.  [default: as configured]")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of all trials.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the study; the same folder continues it.")
    ] = Path("sweep"),
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database that several machines can reach.  [default: SQLite in --out]"),
    ] = None,
    prune: Annotated[bool, typer.Option(help="End trials that are worse than the median.")] = True,
    sampler_seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the search in this process.  [default: random]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Search for good settings, judged on the validation split.

    The same command continues a search; started several times at once it shares the work.
    """
    from kitipde.studies.space import check_dimensions, parse_dimension
    from kitipde.studies.sweep import Sweep, check_optuna, open_study, with_real_ranges, work

    dimensions = tuple(parse_dimension(text) for text in params)
    check_dimensions(dimensions, assignments or [])
    check_optuna()
    tree = _tree(config, data, seeds, assignments or [])
    plan = with_real_ranges(Sweep(tree, dimensions, out, trials, prune, sampler_seed))
    study = open_study(plan, storage)
    try:
        work(study, plan, lambda title: progress(title, "steps"), remark)
    except KeyboardInterrupt:
        remark("the trial is kept; the same command goes on with it")
        raise
    results = _results(study, plan)
    if as_json:
        show_json(results)
    else:
        _show(results, out)


def _tree(config: str, data: Path | None, seeds: int | None, assignments: list[str]) -> dict[str, Any]:
    from kitipde.config.load import override, place, read_config, resolve_config
    from kitipde.studies.space import assigned_keys

    said = assigned_keys(assignments)
    for option, value, key in (("--seeds", seeds, "training.seeds"), ("--data", data, "data.path")):
        if value is not None and key in said:
            raise InputError(f"{option} and --set {key} are the same setting: leave one of them out")
    tree = override(read_config(config), assignments)
    if seeds is not None:
        tree = place(tree, "training.seeds", seeds)
    if data is not None:
        tree = place(tree, "data.path", str(data.resolve()))
    if resolve_config(tree).data.path is None:
        raise InputError("no dataset: give --data FILE; make one with `kitipde generate burgers --out burgers.h5`")
    return tree


def _results(study: "Study", plan: "Sweep") -> dict[str, Any]:
    """Trials, importances and the best run's error on the test split; figures beside them."""
    from kitipde.config.load import write_config
    from kitipde.files import write_atomically, write_json
    from kitipde.runs import open_run
    from kitipde.studies.sweep import finished_trials

    complete = finished_trials(study)
    states = [trial.state.name.lower() for trial in study.get_trials(deepcopy=False)]
    if not complete:
        raise InputError(f"no trial has finished well ({', '.join(sorted(set(states)))}); see the remarks above")
    best = open_run(complete[0].user_attrs["run"])
    write_atomically(plan.out / "best.yaml", write_config(best.config).encode())
    error = _test_error(best)
    results = {
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "best": {
            "settings": complete[0].params,
            "validation_loss": complete[0].value,
            "test_relative_l2": error.mean,
            "test_deviation": error.deviation,
            "seeds": error.seeds,
            "run": str(best.path),
        },
        "complete": [
            {"trial": trial.number, "validation_loss": trial.value, "settings": trial.params} for trial in complete
        ],
        "pruned": [
            {"trial": trial.number, "settings": trial.params}
            for trial in study.get_trials(deepcopy=False)
            if trial.state.name == "PRUNED"
        ],
        "importance": _importance(study, plan, len(complete)),
    }
    write_json(plan.out / "results.json", results)
    _draw(plan, results)
    return results


def _test_error(best: "Run") -> "Estimate":
    """Relative L2 of a run on its test split, on the geometry of its training."""
    from kitipde.evaluation import evaluate_runs
    from kitipde.evaluation.summary import summarise

    with progress("evaluate", "samples") as update:
        evaluations = evaluate_runs([best.path], resolutions=[best.facts.resolution], progress=update, remark=remark)
        return summarise(evaluations)[0].errors["relative_l2"]


def _importance(study: "Study", plan: "Sweep", complete: int) -> dict[str, float]:
    """Empty where there are too few trials to tell."""
    import warnings

    import optuna

    if complete < 8 or len(plan.dimensions) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())


def _draw(plan: "Sweep", results: dict[str, Any]) -> None:
    from kitipde.reporting.style import save
    from kitipde.reporting.sweeps import contour_figure, importance_figure

    figures = {}
    if results["importance"]:
        figures["importance"] = importance_figure(results["importance"])
    keys = (list(results["importance"]) or [each.key for each in plan.dimensions])[:2]
    if len(keys) == 2 and len(results["complete"]) >= 3:
        pairs = [(trial["settings"][keys[0]], trial["settings"][keys[1]]) for trial in results["complete"]]
        losses = [trial["validation_loss"] for trial in results["complete"]]
        pruned = [(trial["settings"][keys[0]], trial["settings"][keys[1]]) for trial in results["pruned"]]
        logarithmic = {each.key: each.logarithmic for each in plan.dimensions}
        figures["contour"] = contour_figure(
            (keys[0], keys[1]), pairs, losses, pruned, (logarithmic[keys[0]], logarithmic[keys[1]])
        )
    for name, figure in figures.items():
        for path in save(figure, plan.out / name):
            wrote(path)


def _show(results: dict[str, Any], out: Path) -> None:
    keys = list(results["best"]["settings"])
    rows = [
        (f"{trial['trial']}", f"{trial['validation_loss']:.4g}", *(_text(trial["settings"][key]) for key in keys))
        for trial in results["complete"][:10]
    ]
    counts = ", ".join(f"{count} {state}" for state, count in results["trials"].items())
    show_table(f"{out}: {counts}; the best ten", ("trial", "validation loss", *keys), rows)
    print()
    for key, share in results["importance"].items():
        show_text(f"importance of {key}: {share:.2f}")
    best = results["best"]
    spread = "" if best["test_deviation"] is None else f" ± {best['test_deviation']:.2g}"
    error = "not finite" if best["test_relative_l2"] is None else f"{best['test_relative_l2']:.4g}{spread}"
    show_text(f"best on the test split: relative L2 {error} ({best['seeds']} seeds)")
    show_text(f"its settings: {out / 'best.yaml'}")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
