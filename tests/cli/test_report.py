"""`kitipde report` as a user types it."""

from pathlib import Path

import pytest

from kitipde.cli import app
from kitipde.errors import InputError
from kitipde.runs import Run
from tests.evaluation.conftest import line_data, vanilla_run, workshop

__all__ = ["line_data", "vanilla_run", "workshop"]


def kitipde(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_the_page_is_written_and_that_is_said(vanilla_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    kitipde("report", vanilla_run.path, "--out", tmp_path / "page.html", "--resolutions", "32")
    assert f"wrote {tmp_path / 'page.html'} (" in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_markdown_is_named_md_unless_told_otherwise(
    vanilla_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    kitipde("report", vanilla_run.path, "--markdown")
    assert "wrote report.md (" in capsys.readouterr().err
    assert Path("report.md").read_text(encoding="utf-8").startswith("# Burgers: vanilla")


def test_a_folder_that_does_not_exist_is_made(vanilla_run: Run, tmp_path: Path):
    page = tmp_path / "new folder" / "deep" / "é.html"
    with pytest.raises(InputError):
        kitipde("report", tmp_path / "no run", "--out", page)
    assert not (tmp_path / "new folder").exists()
    kitipde("report", vanilla_run.path, "--out", page, "--resolutions", "32")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_file_in_place_of_the_folder_is_one_line(vanilla_run: Run, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is not a folder"):
        kitipde("report", vanilla_run.path, "--out", tmp_path / "file" / "page.html")
