"""Registries: built-in choices and those of other packages, listed without an import."""

import sys
from pathlib import Path

import pytest

from datagen.equations.recipe import Recipe
from datagen.equations.registry import EQUATIONS
from datagen.errors import InputError
from datagen.registry import Entry, Registry
from tests.conftest import install

BUILT_IN = (
    Entry("second", "datagen.errors:InputError", "An error."),
    Entry("first", "datagen.words:size_text", "A function."),
)


def words(**settings) -> Registry[object]:
    return Registry("kitipde.words", "word", BUILT_IN, **settings)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_built_in_entries_keep_their_order_and_load() -> None:
    assert list(words()) == ["second", "first"]
    assert words()["first"] == Entry("first", "datagen.words:size_text", "A function.")
    assert words().load("second") is InputError


def test_entries_of_a_package_are_listed_without_importing_it(site: Path) -> None:
    (site / "foreign_words.py").write_text("class Box:\n    content = 'found'\n")
    install(site, "foreign-words", "[kitipde.words]\nz = foreign_words:Box\na = foreign_words:Box.content\n", "2.3")
    registry = words()
    assert list(registry) == ["second", "first", "a", "z"]
    assert registry["a"].help == "from foreign-words 2.3"
    assert registry["a"].module == "foreign_words"
    assert "foreign_words" not in sys.modules
    assert registry.load("a") == "found"


def test_an_unknown_name_is_refused_with_the_nearest_one(site: Path) -> None:
    install(site, "foreign-words", "[kitipde.words]\nthird = foreign_words:Box\n")
    with pytest.raises(InputError, match=r"unknown word 'thirds'; did you mean 'third'.*first, second, third"):
        words().load("thirds")


@pytest.mark.parametrize(
    ("code", "target", "message"),
    [
        ("import nothing_of_that_name", "Box", "cannot be imported: ModuleNotFoundError: No module named 'nothing_of"),
        ("1 / 0", "Box", "cannot be imported: ZeroDivisionError"),
        ("", "Box", "cannot be imported: AttributeError"),
        ("Box = 3", "Box", "is 3"),
    ],
)
def test_a_package_that_fails_is_named_in_one_line(site: Path, code: str, target: str, message: str) -> None:
    (site / "broken_words.py").write_text(code)
    install(site, "broken-words", f"[kitipde.words]\nthird = broken_words:{target}\n")
    registry = words(flaw=lambda name, value: f"is {value}" if isinstance(value, int) else "")
    with pytest.raises(InputError) as error:
        registry.load("third")
    sys.modules.pop("broken_words", None)
    assert str(error.value).startswith("the word 'third' of broken-words 1.0 (broken_words:Box) ")
    assert message in str(error.value)
    # What else there is can be used.
    assert registry.load("first") is not None


def test_a_name_that_is_taken_is_refused(site: Path) -> None:
    install(site, "one", "[kitipde.words]\nfirst = one:Box\nthird = one:Box\n")
    install(site, "two", "[kitipde.words]\nthird = two:Box\n")
    registry = words()
    assert list(registry) == ["second", "first", "third"]
    assert len(registry) == 3
    with pytest.raises(InputError, match=r"one 1.0 brings the word 'first', which is built in"):
        registry.load("first")
    with pytest.raises(InputError, match=r"(one 1.0 and two 1.0|two 1.0 and one 1.0) both bring the word 'third'"):
        registry.load("third")


def test_every_equation_is_a_recipe_of_its_name() -> None:
    for name in EQUATIONS:
        recipe = EQUATIONS.load(name)
        assert issubclass(recipe, Recipe)
        assert recipe.equation == name


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Other: pass", "is not a recipe (expected: a frozen dataclass derived from datagen.equations.recipe"),
        ("from datagen.equations.burgers import Burgers as Other", "calls itself 'burgers' (expected: equation = "),
    ],
)
def test_an_equation_that_is_no_recipe_is_refused(site: Path, code: str, message: str) -> None:
    (site / "other_equation.py").write_text(code)
    install(site, "other", "[kitipde.equations]\nother = other_equation:Other\n")
    equations = Registry("kitipde.equations", "equation", (), EQUATIONS.flaw)
    with pytest.raises(InputError) as error:
        equations.load("other")
    sys.modules.pop("other_equation", None)
    assert message in str(error.value)
