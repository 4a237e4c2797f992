"""The report: from run folders to one page that holds everything."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import kitipde
from datagen.geometry import resolution_text
from kitipde.errors import InputError
from kitipde.evaluation.comparison import RunComparison, compare_evaluations
from kitipde.evaluation.evaluate import evaluate_runs
from kitipde.evaluation.metrics import metric
from kitipde.evaluation.records import Evaluation
from kitipde.files import write_atomically
from kitipde.reporting.error_sections import definition_section, error_section, frame_section
from kitipde.reporting.field_section import field_section
from kitipde.reporting.overview import facts_of, overview_picture
from kitipde.reporting.page import Page, Picture, Verdict
from kitipde.reporting.sections import cost_section, provenance_section, settings_section, training_section
from kitipde.reporting.style import png
from kitipde.reporting.verdict import verdict_figure

__all__ = ["build_page", "render", "write_report"]


def write_report(
    runs: Sequence[str | Path],
    out: str | Path,
    data: str | Path | None = None,
    resolutions: Sequence[Sequence[int]] = (),
    *,
    markdown: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    remark: Callable[[str], None] = lambda text: None,
) -> Path:
    """Evaluate runs where that has not been done and write the report.

    Args:
        runs: run folders.
        out: the file to write.
        data: a dataset file; None for the test split of each run's own.
        resolutions: points along each axis, or all; none for those of the last evaluation.
        markdown: write Markdown, with the figures in a folder beside it, instead of one HTML page.
        progress: called with (samples done, samples in all, note).
        remark: called with what the user should know.

    Returns:
        The file written.

    Raises:
        InputError: if a run cannot be evaluated or `out` cannot be a file; its folder is made.
    """
    out = Path(out)
    place = next(parent for parent in out.absolute().parents if parent.exists())
    if not place.is_dir():
        raise InputError(f"cannot write {out}: {place} is not a folder")
    if out.is_dir():
        raise InputError(f"cannot write {out}: it is a folder; give the name of a file")
    evaluations = evaluate_runs(runs, data, resolutions, stored=True, progress=progress, remark=remark)
    page = build_page(evaluations)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not markdown:
        write_atomically(out, render("report.html.j2", page).encode())
        return out
    figures = out.with_name(f"{out.stem}-figures")
    figures.mkdir(exist_ok=True)
    for picture in _pictures(page):
        write_atomically(figures / _file_name(picture), picture.data)
    write_atomically(out, render("report.md.j2", page, figures.name).encode())
    return out


def build_page(evaluations: Sequence[Evaluation]) -> Page:
    """The report's contents; the first plain run is what the others are compared with."""
    reference = _reference(evaluations)
    others = [evaluation for evaluation in evaluations if evaluation is not reference]
    sections = [
        error_section(evaluations),
        field_section(evaluations),
        frame_section(evaluations),
        training_section(evaluations),
        cost_section(evaluations),
        settings_section(evaluations),
        provenance_section(evaluations),
        definition_section(evaluations),
    ]
    equation = reference.run.equation.replace("-", "–").title()
    title = f"{equation}: {reference.label}"
    if others:
        title = f"{equation}: {' and '.join(other.label for other in others)} against {reference.label}"
    return Page(
        title=title,
        facts=facts_of(evaluations),
        picture=overview_picture(evaluations),
        verdicts=tuple(_verdict(reference, other, number) for number, other in enumerate(others)),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Written by kitipde {kitipde.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    )


def render(template: str, page: Page, figures: str = "") -> str:
    """A page as text.

    Args:
        template: name of the template.
        page: what to write.
        figures: folder of the figures, for a template that does not hold them itself.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("kitipde.reporting"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["file_name"] = _file_name
    return environment.get_template(template).render(page=page, figures=figures)


def _pictures(page: Page) -> Iterator[Picture]:
    yield from [] if page.picture is None else [page.picture]
    yield from (verdict.picture for verdict in page.verdicts if verdict.picture is not None)
    for section in page.sections:
        yield from section.pictures


def _file_name(picture: Picture) -> str:
    return f"{picture.name}.{picture.kind}"


def _reference(evaluations: Sequence[Evaluation]) -> Evaluation:
    return next((one for one in evaluations if one.run.config.residual.kind == "plain"), evaluations[0])


def _verdict(reference: Evaluation, other: Evaluation, number: int) -> Verdict:
    question = f"{other.label} against {reference.label}"
    resolution = reference.run.facts.resolution
    try:
        if resolution not in reference.resolutions or resolution not in other.resolutions:
            raise InputError(f"{resolution_text(resolution)} points were not evaluated for both")
        comparison = compare_evaluations(reference, other, resolution)
    except InputError as error:
        return Verdict(question, "Not compared.", (str(error),), "open")
    picture = Picture(
        f"verdict-{number}",
        f"Errors of each seed, and the ratio of the mean errors: {question}.",
        f"Dots for the errors of each seed, and the ratio with its interval. {comparison.verdict}",
        png(verdict_figure(comparison)),
    )
    return Verdict(question, comparison.verdict, _details(comparison), _tone(comparison), picture)


def _details(comparison: RunComparison) -> tuple[str, ...]:
    result = comparison.result
    interval = ""
    if result.low is not None and result.high is not None:
        interval = f", 95 % CI {result.low:.3g} to {result.high:.3g} (bootstrap over seeds and test samples)"
    lines = [
        f"Ratio of the mean {metric(comparison.metric).title} errors at {resolution_text(comparison.resolution)} "
        f"{comparison.points}: {result.ratio:.3g}{interval}."
    ]
    if result.p_value is not None and result.smallest_p is not None:
        test = "Wilcoxon signed-rank test over seeds" if result.paired else "Mann–Whitney test over seeds"
        floor = f" (the smallest possible: {result.smallest_p:.2g})" if result.smallest_p > 0.05 else ""
        lines.append(f"{test}: p = {result.p_value:.2g}{floor}.")
        lines.append(f"Wilcoxon signed-rank test over test samples: p = {result.p_value_samples:.2g}.")
    lines += [remark[:1].upper() + remark[1:] + "." for remark in comparison.remarks]
    return tuple(lines)


def _tone(comparison: RunComparison) -> str:
    if not comparison.result.different:
        return "open"
    return "better" if comparison.result.ratio < 1 else "worse"
