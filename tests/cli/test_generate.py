"""`kitipde generate` as its user meets it."""

import math
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from datagen.equations.registry import recipe_from
from datagen.solvers.burgers import cole_hopf
from kitipde.cli import main
from kitipde.cli.generate import _settings

FLOW = ("navier-stokes", "--samples", "2", "--resolution", "16", "--frames", "2")


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kitipde", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_burgers_opens_in_xarray_and_agrees_with_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("generate", "burgers", "--samples", "8", "--resolution", "1024", "--seed", "0", "--out", "b.h5")
    assert _run(monkeypatch, *arguments) == 0
    with xarray.open_dataset("b.h5") as data:
        assert data.u.dims == data.u0.dims == ("sample", "x")
        assert float(data.time) == 1.0
        assert set(data.x.attrs) == {"units", "long_name", "axis", "extent", "boundary"}
        assert len(set(data.seed.values.tolist())) == 8
        assert data.x.attrs["extent"].tolist() == [0.0, 2 * math.pi]
        exact = cole_hopf(torch.from_numpy(data.u0.values.astype(float)), [1.0], 0.1, 2 * math.pi)[:, 0].numpy()
        errors = np.linalg.norm(data.u.values - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert errors.max() < 1e-6


@pytest.mark.parametrize("equation", ["navier-stokes", "heat"])
def test_flows_are_made_and_made_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], equation: str
) -> None:
    arguments = ("generate", equation, "--samples", "3", "--resolution", "32", "--frames", "2", "--out", "d.h5")
    assert _run(monkeypatch, *arguments) == 0
    told = capsys.readouterr()
    assert "3 samples" in told.err
    assert "samples/s" in told.err
    assert told.out == ""
    content = Path("d.h5").read_bytes()
    assert _run(monkeypatch, *arguments) == 0
    assert "d.h5 is complete already" in capsys.readouterr().err
    # What a kill in the last moment leaves behind.
    Path("d.h5.parts").mkdir()
    Path(".d.h5.4194305.tmp").write_bytes(b"half")
    assert _run(monkeypatch, *arguments) == 0
    assert [item.name for item in Path().iterdir()] == ["d.h5"]
    assert "d.h5 is complete already" in capsys.readouterr().err
    assert Path("d.h5").read_bytes() == content
    assert _run(monkeypatch, *arguments, "--seed", "1") == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert _run(monkeypatch, *arguments, "--seed", "1", "--overwrite") == 0
    assert Path("d.h5").read_bytes() != content


def test_a_dry_run_estimates_time_and_size_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--samples", "5000", "--resolution", "32", "--out", "d.h5", "--dry-run", "--device", "cpu")
    assert _run(monkeypatch, "generate", "navier-stokes", *arguments) == 0
    told = capsys.readouterr().err
    assert "d.h5: 5000 samples, about 410.4 MB; 5000 to be made here on cpu, about" in told
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("burgers", "--samples", "0"), "samples 0 is too small (allowed: 1 or more)"),
        (("burgers", "--samples", "many"), "Invalid value for '--samples'"),
        (("burgers", "--length", "2pie"), "length '2pie' is not a number"),
        (("burgers", "--nu", "nan"), "nu nan is not a positive number"),
        (("burgers", "--device", "tpu"), "unknown device 'tpu' (allowed: auto, cpu, cuda)"),
        (("burgers", "--shard", "2/2"), "shard '2/2' is not one"),
        (("burgers", "--workers", "-1"), "workers -1 is negative"),
        (("burgers", "--resolution", "100", "--solve-resolution", "150"), "150 is not a multiple of resolution 100"),
        (("navier-stokes", "--field", "publishd"), "did you mean 'published'"),
        (("navier-stokes", "--dt", "-1"), "dt -1 is not a positive number"),
        (("navier-stokes", "--overwrite", "--shard", "0/2"), "--overwrite is for one process alone"),
        (("heat", "--alpha", "0"), "alpha 0 is not a positive number"),
        (("recipe", "paper-burger"), "did you mean 'paper-burgers'"),
        (("recipe", "none.yaml"), "none.yaml"),
        (("burgers", "--sample", "3"), "No such option: --sample"),
        (
            ("burgers", "--resolution", "99999999999"),
            "resolution 99999999999, solve resolution 99999999999",
        ),
        (("burgers", "--resolution", "64", "--solve-resolution", "999999999936"), "solve resolution 999999999936"),
        (("burgers", "--samples", "999999999999", "--resolution", "64"), "free; x.h5 needs 1034000.02 GB"),
        (("burgers", "--samples", "9" * 400), "999 is too large (allowed: up to 10^12)"),
        ((*FLOW, "--frames", "99999999999"), "frames 99999999999 need at least"),
        ((*FLOW, "--dt", "1e-9"), "dt 1e-09 with interval 1 means 1e+09 time steps between frames (allowed: up to"),
        ((*FLOW, "--dt", "1e-9", "--dry-run"), "dt 1e-09 with interval 1 means 1e+09 time steps"),
        ((*FLOW, "--nu", "1e300"), "nu 1e+300 on a length of 1 with time steps of"),
        ((*FLOW, "--tolerance", "1e-300"), "tolerance 1e-300 is below float64's rounding (allowed: 2.3e-16 or more)"),
        ((*FLOW, "--length", "1e-300"), "length 1e-300 is beyond"),
        ((*FLOW, "--interval", "1e9"), "time steps in the time of 1e+09 between frames (possible on this grid: a time"),
        (("airfoil", "--preset", "quick", "--interval", "1e9"), "interval 1e+09 with courant number 1 means"),
        (("airfoil", "--around", "99999999999"), "99999999999 nodes around in 40 layers make 4e+12 nodes"),
        (("heat", "--resolution", "16", "--source", "1e300"), "source 1e+300 is too large to be stored in float32"),
        (("heat", "--resolution", "16", "--interval", "1e300"), "interval 1e+300 or length 1 is too extreme for it"),
        (("heat", "--resolution", "16", "--interval", "1e308"), "time of the last frame inf is not a finite number"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], line: str
) -> None:
    assert _run(monkeypatch, "generate", *arguments, "--out", "x.h5") == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("kitipde: ")
    assert line in told[0]
    assert not list(Path().iterdir())


def test_a_step_too_large_is_one_line_and_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--samples", "1", "--resolution", "64", "--nu", "1e-6", "--interval", "50", "--dt", "25")
    assert _run(monkeypatch, "generate", "navier-stokes", *arguments, "--out", "x.h5") == 2
    assert "the solution has blown up at time" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("x.h5").exists()


def test_a_grid_too_coarse_for_the_viscosity_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--samples", "1", "--resolution", "32", "--frames", "8")
    assert _run(monkeypatch, "generate", "navier-stokes", *sizes, "--nu", "1e-5", "--out", "coarse.h5") == 0
    assert "warning: up to" in capsys.readouterr().err
    assert _run(monkeypatch, "generate", "navier-stokes", *sizes, "--nu", "1e-3", "--out", "fine.h5") == 0
    assert "warning" not in capsys.readouterr().err
    shock = ("burgers", "--samples", "1", "--resolution", "64", "--length", "1", "--nu", "1e-3")
    assert _run(monkeypatch, "generate", *shock, "--solve-resolution", "128", "--out", "shock.h5") == 0
    assert "of |u_x|² lies in the highest tenth" in capsys.readouterr().err
    assert _run(monkeypatch, "generate", *shock, "--solve-resolution", "2048", "--out", "resolved.h5") == 0
    assert "warning" not in capsys.readouterr().err


def test_an_out_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    arguments = ("--samples", "1", "--resolution", "16", "--solve-resolution", "32", "--out", "file/b.h5")
    assert _run(monkeypatch, "generate", "burgers", *arguments) == 2
    assert "kitipde: " in capsys.readouterr().err.splitlines()[-1]


def test_interruption_exits_130_and_the_command_continues() -> None:
    arguments = ["generate", "navier-stokes", "--samples", "200", "--resolution", "64", "--out", "ns.h5"]
    command = [sys.executable, "-c", "from kitipde.cli import main; main()", *arguments]
    # Where the tests run in the background of a shell it has SIGINT ignored, and children inherit that.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listening) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("navier-stokes: 0/"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert not Path("ns.h5").exists()
    assert Path("ns.h5.parts/recipe.json").exists()


@pytest.mark.parametrize("name", ["paper-burgers", "paper-navier-stokes", "paper-heat", "large-navier-stokes"])
def test_every_shipped_recipe_gives_the_paper_s_sizes(name: str) -> None:
    recipe = recipe_from(_settings(name))
    sizes = {
        "paper-burgers": (1200, 1024),
        "paper-navier-stokes": (60, 256),
        "paper-heat": (60, 256),
        "large-navier-stokes": (5000, 64),
    }
    assert (recipe.samples, recipe.resolution) == sizes[name]
    assert recipe.layout().equation in name


def test_a_recipe_is_the_same_as_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "equation: navier-stokes\nsamples: 2\nresolution: 16\nviscosity: 1e-3\nframes: 2\nlength: 2pi\n"
    Path("r.yaml").write_text(text)
    options = ("--samples", "2", "--resolution", "16", "--nu", "1e-3", "--frames", "2", "--length", "2pi")
    assert _run(monkeypatch, "generate", "recipe", "r.yaml", "--out", "one.h5") == 0
    assert _run(monkeypatch, "generate", "navier-stokes", *options, "--out", "other.h5") == 0
    assert Path("one.h5").read_bytes() == Path("other.h5").read_bytes()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("equation: heet\n", "unknown equation 'heet'; did you mean 'heat'?"),
        ("equation: heat\nsource: much\n", "source 'much' is not a number"),
        ("equation: heat\nsamples: 2.5\n", "samples '2.5' is not of the kind int"),
        ("equation: heat\nresolutoin: 16\n", "unknown key of heat 'resolutoin'; did you mean 'resolution'?"),
    ],
)
def test_wrong_recipes_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    Path("r.yaml").write_text(text)
    assert _run(monkeypatch, "generate", "recipe", "r.yaml", "--out", "d.h5") == 2
    assert line in capsys.readouterr().err


def test_settings_under_which_nothing_was_made_do_not_stand_in_the_way(kitipde, tmp_path) -> None:
    command = (
        "generate",
        "navier-stokes",
        "--samples",
        2,
        "--resolution",
        16,
        "--frames",
        2,
        "--out",
        tmp_path / "d.h5",
    )
    assert kitipde(*command, "--dt", 5, "--interval", 10).code == 2
    assert kitipde(*command).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("burgers", "--resolution", "99999999999"),
        ("heat", "--resolution", "16", "--source", "1e300"),
        ("heat", "--resolution", "16", "--source", "1e38", "--interval", "100"),
        (*FLOW, "--dt", "5", "--interval", "10"),
    ],
)
def test_what_cannot_be_made_leaves_the_file_that_it_was_to_replace(kitipde, burgers_file: Path, arguments) -> None:
    content = burgers_file.read_bytes()
    Path("d.h5").write_bytes(content)
    result = kitipde("generate", *arguments, "--samples", 2, "--out", "d.h5", "--overwrite")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert [item.name for item in Path().iterdir()] == ["d.h5"]
    assert Path("d.h5").read_bytes() == content


def test_the_cost_of_what_would_take_for_ever_is_told_at_once(kitipde) -> None:
    for arguments, line in (
        (("burgers", "--samples", 999999999999, "--resolution", 64), "about 517000.00 GB; 999999999999 to be made"),
        ((*FLOW, "--dt", 1e-6), "x.h5: 2 samples"),
    ):
        result = kitipde("generate", *arguments, "--out", "x.h5", "--dry-run", "--device", "cpu")
        assert result.code == 0
        assert line in result.err
        assert result.err.endswith((" h\n", " min\n"))
    assert not list(Path().iterdir())
