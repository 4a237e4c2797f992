"""Tables in a terminal: never wider than it, and no number broken."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitipde.cli.tables import table_lines
from tests.evaluation.conftest import kiti_run, line_data, vanilla_run, workshop

__all__ = ["kiti_run", "line_data", "vanilla_run", "workshop"]

WORDS = st.text(alphabet="abcdefgh-_/. é短", min_size=1, max_size=60).filter(str.strip)
NUMBERS = st.floats(-1e9, 1e9).map(lambda value: f"{value:.4g} ± {abs(value) / 7 + 1e-9:.2g}")


def widths(lines: list[str]) -> list[int]:
    from rich.cells import cell_len

    return [cell_len(line) for line in lines]


@given(
    width=st.integers(60, 140),
    rows=st.lists(st.tuples(WORDS, *[NUMBERS] * 6), min_size=1, max_size=4),
    names=st.lists(WORDS, min_size=7, max_size=7),
)
def test_a_table_is_no_wider_than_the_terminal_and_keeps_every_number(
    width: int, rows: list[tuple[str, ...]], names: list[str]
) -> None:
    lines = table_lines(["run", *("".join(name.split())[:20] for name in names[1:])], rows, (0,), width)
    assert max(widths(lines)) <= width
    for row in rows:
        for number in row[1:]:
            assert any(re.search(rf"(?<!\S){re.escape(number)}(?!\S)", line) for line in lines), number


def test_what_fits_stays_on_one_line() -> None:
    assert table_lines(("run", "error"), [("a", "0.1"), ("bb", "12.25")]) == [
        "run  error",
        "──────────",
        "a      0.1",
        "bb   12.25",
    ]


def test_folded_words_lose_nothing() -> None:
    name = "studies/table4-quick/navier-stokes/kiti-without-update-of-the-positions"
    lines = table_lines(("run", "error"), [(name, "0.0126 ± 0.0012")], (0,), 40)
    assert "".join(line[:23].strip() for line in lines[2:]) == name


@pytest.fixture
def at_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("at_80")
@pytest.mark.parametrize("verb", ["evaluate", "compare", "train", "info", "runs", "condense", "models"])
def test_what_a_verb_prints_fits_80_columns(
    kitipde, verb: str, vanilla_run, kiti_run, line_data: Path, workshop: Path
) -> None:
    runs = (vanilla_run.path, kiti_run.path)
    words = {
        "evaluate": (*runs, "--resolutions", "8,16,32"),
        "compare": runs,
        "train": ("--resume", "--out", runs[0]),
        "info": (line_data,),
        "runs": (workshop,),
        "condense": runs,
        "models": (),
    }[verb]
    result = kitipde(verb, *words)
    assert result.code == 0, result.err
    assert max(widths(result.out.splitlines())) <= 80
    for number in re.findall(r"\d\S* ± \S+", result.out):
        assert re.fullmatch(r"\d+(\.\d+)? ± \d\S*", number), number
