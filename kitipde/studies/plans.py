"""The studies: which problems, which arms, and what the paper reports of each."""

from dataclasses import dataclass, replace

from kitipde.config.load import read_config, resolve_config
from kitipde.errors import InputError, unknown
from kitipde.studies.problems import CONSTANT, DROPOUT, PRESETS, PUBLISHED, VANILLA, Arm, Problem, kiti, problem

__all__ = ["ABLATIONS", "STUDIES", "Study", "ablation", "selected", "study"]

# Table 4 and Table 6 of KITINet. What its column "MSE" holds is not said; by size it is the relative L2 error. The
# airfoil's number is a root mean square of momentum.
TABLE_4 = {
    ("burgers", "vanilla"): 0.00217,
    ("burgers", "kiti-0.9"): 0.00166,
    ("navier-stokes", "vanilla"): 0.12023,
    ("navier-stokes", "kiti-0.9"): 0.11346,
    ("heat", "vanilla"): 0.07054,
    ("heat", "kiti-0.9"): 0.05113,
    ("airfoil", "vanilla"): 16.39461,
    ("airfoil", "kiti-0.9"): 15.49034,
}
TABLE_6 = {
    ("burgers", "kiti-0.9-without-update"): 0.00173,
    ("navier-stokes", "kiti-0.9-without-update"): 0.11429,
    ("heat", "kiti-0.9-without-update"): 0.05466,
    **TABLE_4,
}


@dataclass(frozen=True)
class Study:
    """Problems with the arms that are compared on each.

    Attributes:
        name: as the command line has it.
        title: in words.
        problems: each with its arms, the reference first.
        published: the paper's numbers by problem and arm.
        varied: what the values of the arms are, for a figure; none for a table.
    """

    name: str
    title: str
    problems: tuple[Problem, ...]
    published: dict[tuple[str, str], float]
    varied: str | None = None


STUDIES = ("table4", "table6", "table7", "figure2", "figure5", "figure6")
ABLATIONS = ("position-update", "residual", "optimizer", "samples")

# Training samples, and how many more are held back to choose the epoch by and to test.
SIZES, HELD_BACK = (20, 50, 100, 200, 500, 1000), 100

# Learning rates and collisions fall from epoch to epoch: with fewer epochs they would hardly.
FEWEST_EPOCHS = 8


def study(name: str, preset: str) -> Study:
    """One of the paper's tables or figures at a size.

    Raises:
        InputError: if there is no such study or preset.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    problems = PRESETS[preset]
    match name:
        case "table4":
            return Study(name, "Table 4: plain and with KITI", problems, TABLE_4)
        case "table6":
            return replace(ablation("position-update", preset, ()), name=name)
        case "table7":
            chosen = problem(preset, "navier-stokes")
            title = "Table 7: condensation of trained networks"
            return Study(name, title, (replace(chosen, arms=chosen.arms[:2]),), TABLE_4)
        case "figure2":
            # Fewer coordinates are more particles, and their pairs grow with the square: not for minutes on a CPU.
            heads = _varied(problem(preset, "burgers"), _heads(least=8 if preset == "quick" else 1))
            return Study(name, "Figure 2: collision_heads", (heads,), TABLE_4, "residual.collision_heads")
        case "figure5":
            chosen = problem(preset, "navier-stokes")
            return Study(name, "Figure 5: error maps", (replace(chosen, arms=chosen.arms[:2]),), TABLE_4)
        case "figure6":
            planes = tuple(_varied(problem(preset, each), _coefficients()) for each in ("heat", "navier-stokes"))
            return Study(name, "Figures 2 (b) and 6: coll_coef", planes, TABLE_4, "residual.coll_coef")
    raise unknown("study", name, STUDIES)


def ablation(name: str, preset: str, chosen: tuple[str, ...]) -> Study:
    """What the parts of the collision do.

    Args:
        name: `position-update` (Table 6), `residual` (every kind of residual, and weight decay), `optimizer` (KO:
            collisions between gradients) or `samples` (from 20 to 1000 of them to train on, in equally many steps).
        preset: size of the problems.
        chosen: names of the problems, of those with an FNO; none for all of these.

    Raises:
        InputError: if there is no such ablation, preset or problem.
    """
    if name not in ABLATIONS:
        raise unknown("ablation", name, ABLATIONS)
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    fno = {each.name: each for each in PRESETS[preset] if each.model == "fno"}
    for each in chosen:
        if each not in fno:
            raise unknown("problem", each, fno)
    problems = tuple(fno[each] for each in chosen) if chosen else tuple(fno.values())
    if name == "position-update":
        title = "Table 6: with and without the update of positions"
        # The published coefficient at the published size only: it takes a GPU, what ships does not.
        published = (PUBLISHED,) if preset == "paper" else ()
        compared = (replace(each, arms=_with_and_without((*published, kiti(each.name)))) for each in problems)
        return Study(name, title, tuple(compared), TABLE_6)
    if name == "optimizer":
        title = "KO: Adam with and without collisions between gradients"
        return Study(name, title, tuple(replace(each, arms=_optimizers()) for each in problems), {})
    if name == "samples":
        title = "Few and many training samples, the same number of steps"
        sized = (_sized(each, size) for each in problems for size in SIZES)
        return Study(name, title, tuple(each for each in sized if each is not None), {})
    title = "What a residual may be: every kind with the particles, the rate and the schedule of --kiti"
    return Study(name, title, tuple(replace(each, arms=_residuals(each)) for each in problems), TABLE_4)


def selected(plan: Study, problems: tuple[str, ...], arms: tuple[str, ...], reference: str | None = None) -> Study:
    """A part of a study.

    Args:
        plan: the whole.
        problems: the names of those that stay; none for all.
        arms: the names of those that stay besides the reference; none for all.
        reference: what the others are compared with; by default the first arm of each problem. If it is the only one
            of `arms`, it is there alone: a part of a study, for `kitipde.studies.pooled`.

    Raises:
        InputError: if a problem or an arm is none of its, or nothing is left to compare.
    """
    known = {each.name: each for each in plan.problems}
    for each in problems:
        if each not in known:
            raise unknown("problem", each, known)
    kept = tuple(known[each] for each in problems) if problems else plan.problems
    names = {arm.name for each in kept for arm in each.arms}
    for arm in arms:
        if arm not in names:
            raise unknown("arm", arm, names)
    if reference is not None:
        if plan.varied is not None:
            raise InputError(f"{plan.name} is drawn beside {kept[0].arms[0].name}: --reference is for tables")
        kept = tuple(_compared_with(each, reference) for each in kept)
    if arms:
        kept = tuple(
            replace(each, arms=tuple(arm for arm in each.arms if arm.name in arms or arm == each.arms[0]))
            for each in kept
        )
    if any(len(each.arms) < 2 for each in kept) and arms != (reference,):
        raise InputError(
            "a study compares at least two arms: name one besides the reference in --arms, "
            "or the same one in both (to be pooled with others)"
        )
    return replace(plan, problems=kept)


def _compared_with(problem: Problem, reference: str) -> Problem:
    first = [arm for arm in problem.arms if arm.name == reference]
    if not first:
        raise unknown(f"arm of {problem.name}", reference, [arm.name for arm in problem.arms])
    return replace(problem, arms=(*first, *(arm for arm in problem.arms if arm.name != reference)))


def _with_and_without(bases: tuple[Arm, ...]) -> tuple[Arm, ...]:
    return VANILLA, *(arm for base in bases for arm in (base, _without_update(base)))


def _without_update(base: Arm) -> Arm:
    settings = (*base.settings, "residual.update_position=false")
    return Arm(f"{base.name}-without-update", f"{base.title}, x* = x", settings)


def _residuals(chosen: Problem) -> tuple[Arm, ...]:
    default = kiti(chosen.name)

    def kind(name: str, title: str) -> Arm:
        return Arm(name, title, (*default.settings, f"residual.kind={name}"))

    return (
        VANILLA,
        replace(default, title="kiti"),
        replace(_without_update(default), name="without-update", title="kiti, x* = x"),
        kind("kiti-published", "kiti-published (as the scripts compute it)"),
        kind("kiti-acceleration", "kiti-acceleration (appendix D)"),
        kind("mixing", "mixing (collisions without directions)"),
        kind("gaussian", "gaussian (noise of the same variance)"),
        DROPOUT,
        Arm("weight-decay", "FNO with ten times the weight decay", ("optimizer.weight_decay=1e-3",)),
    )


def _optimizers() -> tuple[Arm, ...]:
    def ko(name: str, title: str, kind: str, *more: str) -> Arm:
        return Arm(name, title, (f"optimizer.collisions.kind={kind}", *more))

    everywhere = "optimizer.collisions.layers=all"
    return (
        replace(VANILLA, title="FNO, Adam"),
        ko("soft", "soft collisions 0.1, last linear layer", "soft"),
        ko("hard", "hard collisions, 0.2 per neuron, last linear layer", "hard"),
        ko("soft-all", "soft collisions 0.1, all layers", "soft", everywhere),
        ko("hard-all", "hard collisions, 0.2 per neuron, all layers", "hard", everywhere),
    )


def _sized(base: Problem, samples: int) -> Problem | None:
    """The problem with as many training samples, trained for as many steps as before; None if these are few epochs.

    What is counted in epochs happens as often in a training as before: halvings of the learning rate, validations.
    """
    config = resolve_config(read_config(base.config), list(base.settings))
    batch, before = config.training.batch_size, config.data.train
    assert before is not None
    steps = config.training.epochs * -(-before // batch)
    epochs = round(steps / -(-samples // batch))
    if epochs < FEWEST_EPOCHS and epochs < config.training.epochs:
        return None

    def stretched(every: int) -> int:
        return max(1, round(every * epochs / config.training.epochs))

    made = max(SIZES) + 2 * HELD_BACK
    words = [
        word
        for word, previous in zip(base.generate, ("", *base.generate), strict=False)
        if "--samples" not in (word, previous)
    ]
    return replace(
        base,
        name=f"{base.name}-{samples}",
        title=f"{base.title}, {samples} samples",
        generate=(*words, "--samples", f"{made}"),
        settings=(
            *base.settings,
            f"data.train={samples}",
            f"data.validation={HELD_BACK}",
            f"data.test={HELD_BACK}",
            f"training.epochs={epochs}",
            f"training.validate_every={stretched(config.training.validate_every)}",
            f"schedule.every={stretched(config.schedule.every)}",
        ),
        arms=(VANILLA, kiti(base.name)),
        dataset=f"{base.dataset or base.name}-{made}",
    )


def _varied(base: Problem, arms: tuple[Arm, ...]) -> Problem:
    return replace(base, arms=(VANILLA, *arms))


def _heads(least: int) -> tuple[Arm, ...]:
    return tuple(
        Arm(
            f"heads-{heads}",
            f"KITI-FNO, {heads} heads",
            (
                "residual.kind=kiti",
                "residual.layout=flat",
                f"residual.collision_heads={heads}",
                "residual.target_rate=0.05",
                "residual.schedule=annealed",
            ),
            heads,
        )
        for heads in (2**power for power in range(11))
        if heads >= least
    )


def _coefficients() -> tuple[Arm, ...]:
    return tuple(
        Arm(
            f"coefficient-{tenths / 10}",
            f"KITI-FNO, coll_coef {tenths / 10}",
            ("residual.kind=kiti", f"residual.coll_coef={tenths / 10}", "residual.noise=gaussian", *CONSTANT),
            tenths / 10,
        )
        for tenths in range(1, 10)
    )
