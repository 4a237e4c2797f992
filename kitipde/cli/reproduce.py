"""`kitipde reproduce` and `kitipde ablate`: a study as the commands that a user could have typed, then its table."""

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagen.errors import InputError
from kitipde.cli.completion import complete_from
from kitipde.cli.console import progress, remark, show_json, show_table, show_text, type_command, wrote
from kitipde.cli.jobs import Job, run_side_by_side

if TYPE_CHECKING:
    from kitipde.studies.plans import Study
    from kitipde.studies.problems import Arm, Problem
    from kitipde.studies.results import Row, Table

__all__ = ["Reference", "ablate", "reproduce", "seeds_of", "show_results"]

Preset = Annotated[
    str, typer.Option(metavar="NAME", help="quick (minutes on a CPU), paper (the published setting) or large.")
]
Seeds = Annotated[int, typer.Option(min=1, metavar="N", help="Seeds of each model.")]
FirstSeed = Annotated[
    int, typer.Option(min=0, metavar="N", help="The first of them: machines can share the seeds of a study.")
]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder of the study.  [default: one under studies/]")]
Data = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder of the datasets.  [default: studies/data]")]
Problems = Annotated[
    str, typer.Option(metavar="NAME,NAME,...", help="Only these of burgers, navier-stokes, heat, airfoil.")
]
Arms = Annotated[str, typer.Option(metavar="NAME,NAME,...", help="Only these models besides the reference.")]
Reference = Annotated[
    str | None, typer.Option(metavar="NAME", help="Compare with this model.  [default: each problem's first]")
]
AtOnce = Annotated[
    int,
    typer.Option(
        "--jobs", min=0, metavar="N", help="Trainings side by side; 0: one per processor, or one if there is a GPU."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=complete_from(("table4", "table6", "table7", "figure2", "figure5", "figure6")),
            help="table4, table6, table7, figure2, figure5 or figure6.",
        ),
    ],
    preset: Preset = "quick",
    seeds: Seeds = 3,
    first_seed: FirstSeed = 0,
    out: Out = None,
    data: Data = None,
    problems: Problems = "",
    arms: Arms = "",
    reference: Reference = None,
    jobs: AtOnce = 0,
    as_json: AsJson = False,
) -> None:
    """Repeat one of the paper's tables or figures, with seeds.

    Each step is a command that is shown. What exists is used again: the same command continues a stopped study.
    """
    from kitipde.studies.plans import selected, study

    plan = selected(study(name, preset), _words(problems), _words(arms), reference)
    options = f"reproduce {name}{_options(problems, arms, reference)}"
    numbers = range(first_seed, first_seed + seeds)
    _carry_out(plan, preset, numbers, out or Path("studies") / f"{name}-{preset}", data, options, jobs, as_json)


def ablate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=complete_from(("position-update", "residual", "optimizer", "samples")),
            help="position-update (the paper's Table 6), residual, optimizer (KO) or samples.",
        ),
    ],
    preset: Preset = "quick",
    seeds: Seeds = 3,
    first_seed: FirstSeed = 0,
    out: Out = None,
    data: Data = None,
    problems: Problems = "",
    arms: Arms = "",
    reference: Reference = None,
    jobs: AtOnce = 0,
    as_json: AsJson = False,
) -> None:
    """Find out which part of a collision does what."""
    from kitipde.studies.plans import ablation, selected

    plan = selected(ablation(name, preset, _words(problems)), (), _words(arms), reference)
    options = f"ablate {name}{_options(problems, arms, reference)}"
    numbers = range(first_seed, first_seed + seeds)
    _carry_out(plan, preset, numbers, out or Path("studies") / f"{name}-{preset}", data, options, jobs, as_json)


def _carry_out(
    plan: "Study", preset: str, seeds: range, out: Path, data: Path | None, words: str, jobs: int, as_json: bool
) -> None:
    from kitipde.studies.results import collect_results, write_results

    data = data or Path("studies") / "data"
    _check(plan, seeds, out)
    started = time.monotonic()
    trainings: list[Job] = []
    finished: list[Job] = []
    for problem in plan.problems:
        file = data / f"{problem.dataset or problem.name}-{preset}.h5"
        file.parent.mkdir(parents=True, exist_ok=True)
        _type("generate", *problem.generate, "--out", file)
        for arm in problem.arms:
            run = out / problem.name / arm.name
            training = _training(problem, arm, file, seeds, run)
            (finished if _is_finished(run, seeds) else trainings).append(training)
    # Here, where they cost no start of a process, and their data are looked at as those of the others.
    for each in finished:
        _type(*each.words)
    at_once = _train(trainings, jobs)
    command = f"kitipde {words} --preset {preset} --seeds {len(seeds)}"
    command += f" --first-seed {seeds.start}" if seeds.start else ""
    with progress("evaluate", "samples") as update:
        table = collect_results(plan, preset, out, command, update, remark)
    if at_once > 1:
        table = replace(table, machine=f"{table.machine}, {at_once} trainings at a time")
    write_results(table, out)
    if plan.varied is not None:
        _draw(table, plan.varied, out)
    if plan.name == "table7":
        _condensation(plan, out)
    for problem in plan.problems:
        folder = out / problem.name
        if plan.name == "figure5":
            _type("evaluate", *(folder / arm.name for arm in problem.arms), "--maps")
        if problem.resolution is not None:
            _type("report", *(folder / arm.name for arm in problem.arms), "--out", folder / "report.html")
    if as_json:
        from kitipde.studies.results import read_results

        show_json(read_results(out))
    else:
        show_results(table)
        if plan.name == "figure5":
            for run in (out / problem.name / arm.name for problem in plan.problems for arm in problem.arms):
                print(f"maps: {run / 'evaluation' / 'test' / 'figures'}")
    wrote(out / "results.md")
    remark(f"done in {time.monotonic() - started:.0f} s")


def _training(problem: "Problem", arm: "Arm", data: Path, seeds: range, run: Path) -> Job:
    words: tuple[object, ...]
    if (run / "config.yaml").is_file():
        words = ("--resume", "--seeds", max(len(seeds), seeds_of(run)), "--out", run)
    else:
        settings = (word for text in _settings(problem, arm, seeds) for word in ("--set", text))
        words = ("--config", problem.config, "--data", data, "--seeds", len(seeds), "--out", run, *settings)
    return Job(problem.name, ("train", problem.model, *map(str, words)))


def _settings(problem: "Problem", arm: "Arm", seeds: range) -> tuple[str, ...]:
    first = (f"training.seed={seeds.start}",) if seeds.start else ()
    return (*problem.settings, *arm.settings, *first)


def _is_finished(run: Path, seeds: range) -> bool:
    from kitipde.runs import open_run
    from kitipde.training.run import has_finished

    if not (run / "config.yaml").is_file():
        return False
    found = open_run(run)
    return found.config.training.seeds >= len(seeds) and has_finished(found)


def _train(trainings: Sequence[Job], jobs: int) -> int:
    """In this process if one at a time is wanted, else side by side; how many that were."""
    import torch

    processors = torch.get_num_threads()
    at_once = min(jobs or (1 if torch.cuda.is_available() else processors), len(trainings))
    if at_once > 1:
        run_side_by_side(trainings, at_once, processors)
    else:
        for training in trainings:
            _type(*training.words)
    return at_once


def _check(plan: "Study", seeds: range, out: Path) -> None:
    """Before anything is made: what is wrong in the plan, and run folders that are of something else."""
    for problem in plan.problems:
        for arm in problem.arms:
            wanted = _wanted(problem, arm, seeds)
            run = out / problem.name / arm.name
            if not (run / "config.yaml").is_file():
                continue
            from kitipde.runs import open_run

            found = open_run(run).config.model_dump()
            for section, values in wanted.items():
                for key, value in values.items():
                    # What the study leaves to the data, the run has.
                    own = (section, key) in (("data", "path"), ("training", "seeds"))
                    free = own or (section == "data" and value is None) or (key == "modes" and value == "auto")
                    if not free and found[section][key] != value:
                        raise InputError(
                            f"{run} was trained with {section}.{key}={found[section][key]}, the study has {value}: "
                            "give another --out, or remove the run"
                        )


def _wanted(problem: "Problem", arm: "Arm", seeds: range) -> dict[str, dict[str, object]]:
    from kitipde.config.load import read_config, resolve_config

    return resolve_config(read_config(problem.config), list(_settings(problem, arm, seeds))).model_dump()


def seeds_of(run: Path) -> int:
    """How many seeds a run is to have."""
    from kitipde.runs import open_run

    return open_run(run).config.training.seeds


def _type(*words: object) -> None:
    """A step on the way: what it prints is no result of the study."""
    with contextlib.redirect_stdout(sys.stderr):
        type_command(*words)


def _condensation(plan: "Study", out: Path) -> None:
    from kitipde.studies.condensation.table7 import condensed_layers, header_of, write_condensed

    (problem,) = plan.problems
    layers = condensed_layers([out / problem.name / arm.name for arm in problem.arms])
    titles = [arm.title for arm in problem.arms]
    write_condensed(layers, titles, out)
    with contextlib.redirect_stdout(sys.stderr):
        show_table(f"{plan.title}, {problem.title}", header_of(titles), [layer.texts() for layer in layers])


def _draw(table: "Table", varied: str, out: Path) -> None:
    from kitipde.reporting.studies import variation_figure
    from kitipde.reporting.style import save

    for problem in dict.fromkeys(row.problem for row in table.rows):
        rows = [row for row in table.rows if row.problem == problem]
        points = [(row.value, row.error, row.train_error) for row in rows if row.value is not None]
        reference = next(row for row in rows if row.value is None)
        figure = variation_figure(problem, varied, points, (reference.error, reference.train_error))
        for path in save(figure, out / f"{problem.lower().replace('–', '-')}-{varied.rpartition('.')[2]}"):
            wrote(path)


def show_results(table: "Table") -> None:
    """A study's tables, one per problem, and its verdicts, for people; results.md has the cost, too."""
    header = ("model", "seeds", "error", "ratio", "95 % interval", "paper", "paper's ratio")
    for problem in dict.fromkeys(row.problem for row in table.rows):
        rows = [row for row in table.rows if row.problem == problem]
        show_table(f"{table.title}: {problem}", header, [_texts(row) for row in rows])
        print()
        for row in rows:
            if row.verdict:
                show_text(f"{row.arm}: {row.verdict}")
                print()


def _texts(row: "Row") -> tuple[str, ...]:
    interval = "" if row.low is None or row.high is None else f"{row.low:.3f}–{row.high:.3f}"
    numbers = ((row.ratio, ".3f"), (row.published, "g"), (row.published_ratio, ".3f"))
    ratio, published, published_ratio = ("" if value is None else format(value, form) for value, form in numbers)
    return (row.arm, f"{row.seeds}", str(row.error), ratio, interval, published, published_ratio)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _options(problems: str, arms: str, reference: str | None) -> str:
    given = {"problems": problems, "arms": arms, "reference": reference}
    return "".join(f" --{name} {value}" for name, value in given.items() if value)
