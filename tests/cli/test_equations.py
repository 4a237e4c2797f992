"""The options of `kitipde generate EQUATION` are the settings of its recipe."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.burgers import Burgers
from datagen.equations.navier_stokes import NavierStokes
from datagen.equations.recipe import Recipe
from datagen.equations.registry import EQUATIONS
from datagen.equations.settings import setting
from datagen.errors import InputError
from datagen.registry import Entry
from kitipde.cli.equations import command_of


def made(recipe: type[Recipe], *words: str) -> Any:
    """The recipe that a command line makes a dataset of."""
    found = []
    entry = EQUATIONS.get(recipe.equation) or Entry(recipe.equation, "", "A line.")
    command_of(entry, recipe, found.append).main([*words], "generate", standalone_mode=False)
    return found[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), Airfoil()),
        (("--mach", "0.3"), Airfoil(least_mach=0.3, most_mach=0.3)),
        (("--angle", "-5:5", "--airfoil", "2412"), Airfoil(airfoil="2412", least_angle=-5.0, most_angle=5.0)),
        (("--preset", "quick"), replace(Airfoil(), **Airfoil.presets["quick"].settings)),
        (
            ("--preset", "quick", "--around", "48", "--interval", "1e-4"),
            replace(Airfoil(), **{**Airfoil.presets["quick"].settings, "around": 48, "interval": 1e-4}),
        ),
        ((), Burgers()),
        (
            ("--length", "1", "--nu", "0.1pi", "--samples", "3"),
            Burgers(samples=3, length=1.0, viscosity=0.1 * 3.141592653589793),
        ),
        (("--no-forcing", "--dt", "0.01"), NavierStokes(forced=False, step=0.01)),
    ],
)
def test_options_become_settings(words: tuple[str, ...], expected: Recipe) -> None:
    assert made(type(expected), *words) == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--mach", "fast"), "invalid --mach 'fast' (expected LEAST:MOST, or one number)"),
        (("--mach", "0.1:0.2:0.3"), "invalid --mach '0.1:0.2:0.3' (expected LEAST:MOST, or one number)"),
        (("--preset", "quik"), "unknown preset 'quik'; did you mean 'quick'?"),
    ],
)
def test_ranges_and_presets_are_checked(words: tuple[str, ...], line: str) -> None:
    with pytest.raises(InputError) as error:
        made(Airfoil, *words)
    assert str(error.value).startswith(line)


@dataclass(frozen=True)
class Waves(Recipe):
    """Waves."""

    equation: ClassVar[str] = "waves"

    def layout(self) -> Any:
        raise NotImplementedError

    def solve(self, indices: Any, device: str) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Taken(Waves):
    out: str = setting("", "An option of every equation.")


@dataclass(frozen=True)
class Thrice(Waves):
    x: int = setting(1, "Where.", option="--place")
    y: int = setting(1, "Where.", option="--place")


def test_settings_that_cannot_be_options_are_refused() -> None:
    def make(recipe: Recipe, *, out: str = "") -> None:
        raise NotImplementedError

    entry = Entry("waves", "", "A line.")
    with pytest.raises(InputError, match="setting 'out' of waves has the name of an option that every equation has"):
        command_of(entry, Taken, make)
    with pytest.raises(InputError, match="settings x and y have the same option --place"):
        command_of(entry, Thrice, make)


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (("-h",), "datagen.equations.recipe"),
        (("burgers", "-h"), "datagen.equations.heat"),
        (("airfoil", "-h"), "torch"),
    ],
)
def test_help_imports_no_more_than_it_must(words: tuple[str, ...], absent: str) -> None:
    code = (
        "import sys\nfrom kitipde.cli import main\nsys.argv = ['kitipde', 'generate', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    print(sorted(sys.modules))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert f"'{absent}'" not in result.stdout
