"""The problems of the paper's Table 4 at three sizes, each as the commands that make its data and train on them.

`paper` is the published setting, `quick` the same shrunk to minutes on two cores, `large` a setting with enough
samples to tell models apart. The published flow round an airfoil is 50 GB from elsewhere: `paper` makes as many
samples of our own.
"""

from dataclasses import dataclass, replace

from kitipde.config.load import read_config
from kitipde.errors import unknown

__all__ = ["PRESETS", "Arm", "Problem", "kiti", "problem"]


@dataclass(frozen=True)
class Arm:
    """One way to train on a problem.

    Attributes:
        name: of its run folder.
        title: in tables.
        settings: what differs from the problem's configuration, as `--set` takes it.
        value: what a study varies, for its figure; none in a table.
    """

    name: str
    title: str
    settings: tuple[str, ...] = ()
    value: float | None = None


@dataclass(frozen=True)
class Problem:
    """Data, network and training that the arms of a study share.

    Attributes:
        name: of its folder.
        title: in tables.
        generate: words after `kitipde generate`.
        config: the shipped configuration that it is trained with.
        settings: what differs from that, as `--set` takes it.
        resolution: points per axis of the test; none on a mesh, which has only its own.
        arms: what is compared in Table 4 at this size; the first is the reference.
        model: as `kitipde train` takes it.
        metric: the error that is compared.
        dataset: name of its file of data; by default its own.
    """

    name: str
    title: str
    generate: tuple[str, ...]
    config: str
    settings: tuple[str, ...]
    resolution: int | None
    arms: tuple[Arm, ...]
    model: str = "fno"
    metric: str = "relative_l2"
    dataset: str | None = None


VANILLA = Arm("vanilla", "FNO")
# Of each noise the schedule is said, because configurations differ in it.
CONSTANT = ("residual.schedule=constant",)
PUBLISHED = Arm("kiti-0.9", "KITI-FNO, coll_coef 0.9", ("residual.kind=kiti", "residual.coll_coef=0.9", *CONSTANT))
DROPOUT = Arm("dropout", "FNO with dropout 0.2", ("residual.kind=dropout", "residual.dropout=0.2", *CONSTANT))

# The same runs with the other network; Table 4 has no dropout there, which its OFormer has anyway.
MESH_ARMS = {arm.name: replace(arm, title=arm.title.replace("FNO", "OFormer")) for arm in (VANILLA, PUBLISHED)}

TITLES = {"burgers": "Burgers", "navier-stokes": "Navier–Stokes", "heat": "heat"}
_SHRUNK = (
    "model.width=12",
    "model.modes=8",
    "data.output_frames=5",
    "data.train=20",
    "data.validation=20",
    "data.test=20",
)


def kiti(name: str) -> Arm:
    """The default of `--kiti` on a problem, said in full: problems start from other configurations too."""
    network, source = ("OFormer", "oformer-airfoil") if name == "airfoil" else ("FNO", f"fno-{name}")
    shipped = read_config(source)["residual"]
    settings = [f"residual.{key}={shipped[key]}" for key in ("layout", "collision_heads", "target_rate", "schedule")]
    title = f"KITI-{network}, {shipped['target_rate']} collisions per particle, falling to 0"
    return Arm("kiti", title, ("residual.kind=kiti", *settings))


def _arms(name: str) -> tuple[Arm, ...]:
    return VANILLA, kiti(name), DROPOUT


def _quick() -> tuple[Problem, ...]:
    plane = (*_SHRUNK, "optimizer.learning_rate=4e-3", "schedule.name=cosine", "training.epochs=30")
    return (
        Problem(
            "burgers",
            TITLES["burgers"],
            ("burgers", "--samples", "300", "--resolution", "256"),
            "fno-burgers",
            (
                "model.width=32",
                "data.resolution=128",
                "data.train=200",
                "data.validation=50",
                "data.test=50",
                "optimizer.learning_rate=2e-3",
                "schedule.name=cosine",
                "training.epochs=40",
            ),
            128,
            _arms("burgers"),
        ),
        *(
            Problem(
                name,
                TITLES[name],
                (name, "--samples", "60", "--resolution", "64"),
                f"fno-{name}",
                plane,
                64,
                _arms(name),
            )
            for name in ("navier-stokes", "heat")
        ),
        _airfoil(
            "airfoil --preset quick --around 48 --layers 12 --far 20 --frames 8 --samples 24",
            (
                "data.output_frames=4",
                "data.train=8",
                "data.validation=8",
                "data.test=8",
                "training.batch_size=8",
                "training.epochs=20",
                "training.curriculum_frames=2",
            ),
            (MESH_ARMS["vanilla"], kiti("airfoil")),
            "momentum_rmse",
        ),
    )


def _airfoil(generate: str, settings: tuple[str, ...], arms: tuple[Arm, ...], metric: str) -> Problem:
    words = tuple(generate.split())
    return Problem("airfoil", "airfoil", words, "oformer-airfoil", settings, None, arms, "oformer", metric)


def _paper() -> tuple[Problem, ...]:
    grids = (
        Problem(
            name,
            title,
            ("recipe", f"paper-{name}"),
            f"paper-fno-{name}",
            (),
            resolution,
            (VANILLA, PUBLISHED, kiti(name), DROPOUT),
        )
        for (name, title), resolution in zip(TITLES.items(), (1024, 64, 64), strict=True)
    )
    split = ("data.train=1000", "data.validation=100", "data.test=100")
    arms = (*MESH_ARMS.values(), kiti("airfoil"))
    flow = _airfoil("recipe paper-airfoil", split, arms, "table4_momentum_rmse")
    return (*grids, flow)


def _large() -> tuple[Problem, ...]:
    split = ("data.train=1000", "data.validation=100", "data.test=100", "schedule.name=cosine")
    burgers = Problem(
        "burgers",
        TITLES["burgers"],
        ("recipe", "paper-burgers"),
        "fno-burgers",
        (*split, "data.resolution=1024"),
        1024,
        _arms("burgers"),
    )
    planes = (
        Problem(
            name,
            TITLES[name],
            ("recipe", f"paper-{name}", "--samples", "1200"),
            f"fno-{name}",
            (*split, "data.resolution=64", "training.epochs=100"),
            64,
            _arms(name),
        )
        for name in ("navier-stokes", "heat")
    )
    return (burgers, *planes)


PRESETS: dict[str, tuple[Problem, ...]] = {"quick": _quick(), "paper": _paper(), "large": _large()}


def problem(preset: str, name: str) -> Problem:
    """A problem by its size and name.

    Raises:
        InputError: if there is none.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    found = {each.name: each for each in PRESETS[preset]}
    if name not in found:
        raise unknown("problem", name, found)
    return found[name]
