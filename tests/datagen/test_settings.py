"""Settings of recipes: what their fields say, and what a stored dataset says of its equation."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.checks import number_text, parse_number
from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.equations.recipe import Recipe
from datagen.equations.registry import EQUATIONS, stored_recipe
from datagen.equations.settings import setting, settings_of
from datagen.equations.stored import Constant, coefficient, constants
from datagen.errors import InputError
from datagen.formats.netcdf import ArrayDescription, save_dataset
from datagen.store import open_dataset
from tests.conftest import make_dataset


def test_a_setting_says_what_it_is() -> None:
    named = {each.name: each for each in settings_of(Burgers)}
    viscosity, resolution = named["viscosity"], named["resolution"]
    assert (viscosity.option, viscosity.label, viscosity.symbol, viscosity.default) == ("--nu", "nu", "ν", 0.1)
    assert (viscosity.kind, viscosity.metavar, viscosity.numerical) == (float, "NUMBER", False)
    assert (resolution.option, resolution.kind, resolution.metavar, resolution.numerical) == (
        *("--resolution", int, "N", True),
    )
    assert {each.name for each in settings_of(Burgers())} == set(named)


def test_a_plain_field_is_a_setting_that_may_change_the_data() -> None:
    @dataclass(frozen=True)
    class Plain:
        decay_rate: float = 0.5

    (rate,) = settings_of(Plain)
    assert (rate.option, rate.help, rate.numerical) == ("--decay-rate", "Decay rate.", False)


@pytest.mark.parametrize("wrong", [field(default=()), field(default_factory=tuple)])
def test_a_setting_that_cannot_be_typed_is_refused(wrong) -> None:
    @dataclass(frozen=True)
    class Odd:
        speeds: tuple = wrong

    with pytest.raises(InputError, match=r"setting 'speeds' is a .* \(expected: int, float, str or bool"):
        settings_of(Odd)


@given(st.one_of(st.floats(allow_nan=False), st.integers(1, 20).map(lambda k: k * math.pi)))
def test_a_number_is_what_its_text_says(value: float) -> None:
    assert parse_number("length", number_text(value)) == value


def test_numbers_are_short() -> None:
    assert [number_text(value) for value in (2 * math.pi, 1.0, 1e-7, 0.1, -25.0)] == ["2pi", "1", "1e-07", "0.1", "-25"]


def test_the_constants_of_a_file_are_those_of_its_equation(tmp_path: Path) -> None:
    for recipe, constant in (
        (Burgers(samples=1, resolution=16, solve_resolution=32), Constant("nu", 0.1, "ν", "1")),
        (Heat(samples=1, resolution=16, frames=1), Constant("alpha", 1e-4, "α", "1")),
        (NavierStokes(samples=1, resolution=16, frames=1), Constant("nu", 1e-3, "ν", "1")),
    ):
        with open_dataset(make_dataset(recipe, tmp_path / f"{recipe.equation}.h5")) as data:
            assert constants(data) == (constant,)
            assert stored_recipe(data.config) == recipe
        assert coefficient(type(recipe)) == constant.name


def test_the_constants_of_an_imported_file_are_those_that_it_was_given(tmp_path: Path) -> None:
    import xarray

    source = xarray.Dataset({"u": (("sample", "x"), [[0.0, 1.0, 3.0, 2.0]])}, {"x": [0.0, 0.25, 0.5, 0.75]})
    save_dataset(source, tmp_path / "w.h5", ArrayDescription("waves", length=1.0, constants={"speed": 2.0}))
    with open_dataset(tmp_path / "w.h5") as data:
        assert constants(data) == (Constant("speed", 2.0, "speed", "1"),)
        assert stored_recipe(data.config) is None


def test_settings_of_another_recipe_of_the_name_are_not_taken_for_ones_own() -> None:
    config = {"equation": "heat", **asdict(Heat()), "device": "cpu"}
    assert stored_recipe(config) == Heat()
    assert stored_recipe({**config, "more": 1}) is None
    assert stored_recipe({name: value for name, value in config.items() if name != "source"}) is None
    assert stored_recipe({**config, "equation": "waves"}) is None


def test_what_every_recipe_has_need_not_be_said() -> None:
    @dataclass(frozen=True)
    class Least(Recipe):
        equation: ClassVar[str] = "least"
        speed: float = setting(1.0, "Speed.")

        def layout(self):
            raise NotImplementedError

        def solve(self, indices, device):
            raise NotImplementedError

    recipe = Least(samples=3)
    assert (recipe.seed, recipe.group("cpu"), recipe.probe(), recipe.frame_interval()) == (0, 1, (recipe, 1.0), None)
    with pytest.raises(InputError, match="samples 0 is too small"):
        Least(samples=0)


@pytest.mark.parametrize("name", list(EQUATIONS))
def test_every_setting_has_a_line_of_help(name: str) -> None:
    for each in settings_of(EQUATIONS.load(name)):
        assert each.help.endswith(".")
