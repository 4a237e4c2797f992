"""The demo, with one seed: every verb in one go, and again without doing anything twice."""

import signal
import subprocess
import sys
import time


def test_the_demo_ends_with_a_report_and_continues_where_it_stopped(kitipde, tmp_path) -> None:
    first = kitipde("demo", "--out", tmp_path / "demo", "--seeds", 1)
    assert first.code == 0, first.err
    assert (tmp_path / "demo" / "report.html").is_file()
    assert "relative L2" in first.out
    assert "verdict" in first.out
    # Told as the commands that were run, so that the user can repeat each.
    assert "$ kitipde train fno --kiti --config demo" in first.err
    started = time.monotonic()
    again = kitipde("demo", "--out", tmp_path / "demo", "--seeds", 1)
    assert again.code == 0, again.err
    assert "has finished already" in again.err
    assert "is complete already" in again.err
    assert time.monotonic() - started < 60


def test_overwrite_does_not_touch_a_folder_that_is_no_demo(kitipde, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = kitipde("demo", "--out", tmp_path, "--overwrite")
    assert result.code == 2
    assert (tmp_path / "thesis.tex").exists()


def test_an_interrupted_demo_stops_at_once_and_says_so_with_its_code(tmp_path) -> None:
    line = [sys.executable, "-m", "kitipde", "demo", "--out", str(tmp_path / "demo"), "--seeds", "1"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = []
    for text in process.stderr:
        told.append(text)
        if text.startswith("vanilla seed 0: "):
            process.send_signal(signal.SIGINT)
            break
    told.extend(process.stderr.readlines())
    assert process.wait(timeout=60) == 130
    assert sum(text.startswith("$ kitipde train") for text in told) == 1, "no further step"
    assert any("is saved" in text for text in told)
