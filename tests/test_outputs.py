"""Output that README and tour quote is what the program prints: its form, its widths, and numbers that fit together."""

import re
from pathlib import Path

import pytest

from kitipde.cli.tables import table_lines
from kitipde.evaluation.statistics import Comparison, verdict

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "tour.md")


def outputs(page: Path) -> list[str]:
    return re.findall(r"^```text\n(.*?)^```", page.read_text(), re.S | re.M)


def comparison_of(page: Path) -> str:
    (block,) = (block for block in outputs(page) if "verdict  " in block)
    return block


def labelled(block: str, label: str) -> str:
    """What stands beside a label, over all its lines."""
    first = re.search(rf"^{label:<15} (.*(?:\n {{16}}.*)*)", block, re.M)
    assert first is not None, label
    return " ".join(first[1].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_those_that_the_program_draws_in_80_columns(page: Path) -> None:
    tables = [block for block in outputs(page) if "──" in block]
    assert len(tables) >= 2
    for block in tables:
        lines = block.rstrip("\n").splitlines()
        rule = next(number for number, line in enumerate(lines) if line.startswith("──"))
        end = next((number for number in range(rule, len(lines)) if not lines[number]), len(lines))
        header, *rows = (re.split(r" {2,}", line) for line in (lines[rule - 1], *lines[rule + 1 : end]))
        assert table_lines(header, rows, (0,), 80) == lines[rule - 1 : end]
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_verdict_follows_from_the_numbers_above_it(page: Path) -> None:
    block = comparison_of(page)
    header = re.search(r"^seed +(\S+) +(\S+) +ratio$", block, re.M)
    assert header is not None
    seeds = re.findall(r"^\d+ +([\d.e-]+) +([\d.e-]+) +([\d.]+)$", block, re.M)
    first, second = ([float(row[place]) for row in seeds] for place in (0, 1))
    for row in seeds:
        assert float(row[1]) / float(row[0]) == pytest.approx(float(row[2]), abs=1.5e-3)
    ratio = float(labelled(block, "ratio of means"))
    assert ratio == pytest.approx(sum(second) / sum(first), rel=1e-3)
    low, high = map(float, re.findall(r"[\d.]+", labelled(block, "95 % interval"))[:2])
    p_seeds, p_samples = (
        float(re.findall(r"p = ([\d.e-]+)", labelled(block, name))[0]) for name in ("over seeds", "over samples")
    )
    needed = re.search(r"about (\d+) seeds", labelled(block, "verdict"))
    samples = int(re.findall(r"mean over (\d+) test samples", block)[0])
    wins = sum(b < a for a, b in zip(first, second, strict=True))
    found = Comparison(
        ratio,
        low,
        high,
        p_seeds,
        2.0 ** (1 - len(seeds)),
        p_samples,
        wins,
        (len(seeds), len(seeds)),
        samples,
        True,
        int(needed[1]) if needed else None,
    )
    assert labelled(block, "verdict") == verdict(found, header[1], header[2])


def test_every_output_of_the_readme_names_its_command() -> None:
    named = re.findall(r"^<!-- output of: kitipde (\w+) .* -->\n```text\n", README.read_text(), re.M)
    assert named == ["compare", "evaluate"]
    assert len(outputs(README)) == len(named)


def test_the_readme_is_short_and_says_first_what_it_is_for_whom_and_what_to_type() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) < 150
    screen = "\n".join(lines[:20])
    assert all(
        words in screen for words in ("neural operator", "For researchers", "make demo", "docs/images/verdict.png")
    )


def test_the_errors_that_the_readme_shows_are_those_of_the_networks_that_it_compares() -> None:
    (errors,) = (block for block in outputs(README) if block.startswith("Mean errors"))
    compared = comparison_of(README)
    resolution = re.findall(r"at (\d+) points per axis", compared)[0]
    for place, run in enumerate(("vanilla", "kiti")):
        values = [float(row[place]) for row in re.findall(r"^\d+ +([\d.e-]+) +([\d.e-]+) ", compared, re.M)]
        shown = re.search(rf"^{run} +{resolution} +([\d.]+) ±", errors, re.M)
        assert shown is not None
        assert float(shown[1]) == pytest.approx(sum(values) / len(values), abs=10.0 ** -len(shown[1].partition(".")[2]))
