"""The page: complete, self-contained, true to the numbers, readable without seeing the figures."""

import base64
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kitipde.evaluation import compare_runs, evaluate_runs, summarise
from kitipde.reporting.page import Cell, Page, Section, Table
from kitipde.reporting.report import render, write_report
from kitipde.runs import Run

PNG, GIF = b"\x89PNG\r\n\x1a\n", b"GIF89a"


class Reader(HTMLParser):
    """Collects elements and checks that they are closed in order."""

    VOID = ("meta", "img", "link", "br", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(vanilla_run: Run, kiti_run: Run, workshop: Path) -> str:
    return write_report([vanilla_run.path, kiti_run.path], workshop / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_no_network(page: str):
    reader = Reader(page)
    sources = [attributes["src"] or "" for attributes in reader.all("img")]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not reader.all("link")
    assert all("src" not in attributes for attributes in reader.all("script"))
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_every_figure_is_an_image_with_an_alt_text(page: str):
    for attributes in Reader(page).all("img"):
        data = base64.b64decode((attributes["src"] or "").split("base64,")[1])
        assert data.startswith((PNG, GIF))
        assert len(attributes["alt"] or "") > 30


def test_links_lead_to_sections_that_exist(page: str):
    reader = Reader(page)
    anchors = {attributes["id"] for attributes in reader.all("section") if "id" in attributes}
    links = [attributes["href"] or "" for attributes in reader.all("a")]
    assert {link.removeprefix("#") for link in links} == anchors
    assert anchors >= {"errors", "training", "cost", "settings", "provenance", "definitions"}


def test_the_page_opens_with_what_was_learnt_one_sample_and_the_verdict(page: str, vanilla_run: Run, kiti_run: Run):
    top, verdict = unescape(page).split("<main>")[0], compare_runs(vanilla_run.path, kiti_run.path).verdict
    facts = ("u0 → u", "samples of", "FNO, modes", "epochs", "vanilla: plain addition; kiti: kiti, flat")
    places = [top.index(text) for text in (*facts[:4], "Input, truth, prediction and absolute error", verdict)]
    assert places == sorted(places)
    assert all(text in top for text in facts)


def test_runs_are_called_by_their_names(page: str):
    assert "<title>Burgers: kiti against vanilla</title>" in page
    assert not re.search(r"KITI", re.sub(r"base64,[^\"]*", "", page))


def test_tables_hold_the_numbers_of_the_evaluation(page: str, vanilla_run: Run, kiti_run: Run):
    rows = summarise(evaluate_runs([vanilla_run.path, kiti_run.path], stored=True))
    for row in rows:
        assert f'data-order="{row.errors["relative_l2"].mean}">{row.errors["relative_l2"]}</td>' in page


def test_settings_that_differ_are_listed_and_equal_ones_are_not(page: str):
    table = page[page.index('id="settings"') : page.index('id="provenance"')]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", table.split("<details>")[0])
    assert "residual.kind" in cells
    assert "residual.coll_coef" in cells
    assert "model.width" not in cells


def test_a_hostile_name_is_text_and_not_markup():
    table = Table("caption", ("a",), ((Cell("<script>alert(1)</script>"),),))
    text = render("report.html.j2", Page("<b>", (("a", "s"),), None, (), (Section("x", "t", "", (table,)),), "f"))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_single_run_has_a_page_without_verdict(vanilla_run: Run, tmp_path: Path):
    page = write_report([vanilla_run.path], tmp_path / "one.html").read_text(encoding="utf-8")
    assert not re.search(r'<section class="verdict', page)
    assert "<h1>Burgers: vanilla</h1>" in page


def test_a_single_resolution_has_no_chart_of_one_point(vanilla_run: Run, tmp_path: Path):
    path = write_report([vanilla_run.path], tmp_path / "one.md", resolutions=[(32,)], markdown=True)
    assert "error-against-resolution" not in path.read_text(encoding="utf-8")


def test_runs_that_cannot_be_compared_are_reported_side_by_side_with_the_reason(
    vanilla_run: Run, line_data: Path, train_run: Callable[..., Run], tmp_path: Path
):
    coarse = train_run(line_data, "coarse-report", "{data: {resolution: 16}, training: {epochs: 1}}")
    page = write_report([vanilla_run.path, coarse.path], tmp_path / "two.html").read_text(encoding="utf-8")
    assert "resolution-matrix" not in page
    assert "Relative L2 error by training resolution" in page


def test_a_rollout_has_its_animation_and_errors_against_time(plane_run: Run, tmp_path: Path):
    page = write_report([plane_run.path], tmp_path / "plane.html").read_text(encoding="utf-8")
    assert "data:image/gif" in page
    assert 'id="time"' in page
    assert "correlation time" in page


def test_markdown_has_the_same_numbers_and_its_figures_beside_it(vanilla_run: Run, kiti_run: Run, tmp_path: Path):
    path = write_report([vanilla_run.path, kiti_run.path], tmp_path / "report.md", markdown=True)
    text = path.read_text(encoding="utf-8")
    figures = re.findall(r"\]\((report-figures/[^)]+)\)", text)
    assert len(figures) >= 5
    assert all((tmp_path / figure).read_bytes().startswith((PNG, GIF)) for figure in figures)
    for row in summarise(evaluate_runs([vanilla_run.path, kiti_run.path], stored=True)):
        assert str(row.errors["relative_l2"]) in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| vanilla | 32 | 32 |")}
    assert len(widths) <= 2
