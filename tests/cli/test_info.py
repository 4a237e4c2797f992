"""`kitipde info`."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.generation import generate as making
from datagen.generation.machine import Machine
from datagen.store import open_dataset
from datagen.store.writer import write_file
from kitipde.cli import main
from tests import datasets


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kitipde", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(
    params=[
        Burgers(samples=3, resolution=32, solve_resolution=64),
        NavierStokes(samples=2, resolution=16, frames=3),
        Heat(samples=2, resolution=16, frames=3),
    ],
    ids=lambda recipe: recipe.equation,
)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    machine = Machine("cpu", "cpu")
    work = making.plan(request.param, tmp_path / "d.h5", "cpu")
    making.generate(work, request.param, machine)
    making.join(work)
    return tmp_path / "d.h5"


def test_a_file_is_described_verified_and_drawn(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = path.with_suffix(".png")
    assert _run(monkeypatch, "info", str(path), "--verify", "--plot", str(picture), "--json") == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["verified"]
    assert document["equation"] == document["config"]["equation"]
    assert all(field["deviation"] >= 0 for field in document["fields"].values())
    assert "is intact" in told.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert _run(monkeypatch, "info", str(path)) == 0
    assert document["identity"][:16] in capsys.readouterr().out


def test_brackets_are_text_and_what_is_not_finite_is_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Burgers(samples=2, resolution=32, solve_resolution=64)
    history = "ncks -v u [m/s] [/tmp/in.nc] out.nc"
    attributes = {**recipe.layout().attributes, "history": history}
    layout = replace(recipe.layout(), attributes=attributes, config="{}")
    write_file(tmp_path / "d.h5", layout, np.arange(2), recipe.solve(range(2), "cpu"))
    assert _run(monkeypatch, "info", str(tmp_path / "d.h5")) == 0
    assert history in capsys.readouterr().out
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["u"][0, 0] = np.nan
    assert _run(monkeypatch, "info", str(tmp_path / "d.h5"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["fields"]["u"]["mean"] is None


def test_damage_is_one_line_and_exit_2(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_dataset(path) as data:
        chunk = data.variable("checksum").id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 4
    path.write_bytes(content)
    assert _run(monkeypatch, "info", str(path), "--verify") == 2
    assert "is damaged" in capsys.readouterr().err.splitlines()[-1]
    path.write_bytes(content[:-500])
    assert _run(monkeypatch, "info", str(path)) == 2
    assert "is truncated" in capsys.readouterr().err.splitlines()[-1]


def test_other_files_and_pictures_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.txt").write_text("x")
    for name, line in (("none.h5", "no such file"), ("x.txt", "is not an HDF5 file")):
        assert _run(monkeypatch, "info", str(tmp_path / name)) == 2
        assert line in capsys.readouterr().err


def test_a_picture_of_an_unknown_kind_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "info", str(path), "--plot", "x.bmpx") == 2
    assert "no picture format '.bmpx' (allowed:" in capsys.readouterr().err


def test_axes_roles_vectors_and_the_default_problem_are_shown(kitipde, tmp_path: Path) -> None:
    rectangle = datasets.rectangle_of_four_fields(tmp_path / "rectangle.h5")
    shown = kitipde("info", rectangle, "--plot", tmp_path / "p.png").out
    for line in (
        "x +0 to 2, periodic, 12 points",
        "y +0 to 1, wall, 16 points",
        r"fields +density, pressure, velocity \(velocity_x, velocity_y\) \[sample, time, x, y\]",
        r"static fields +mask_height \[sample, x, y\]",
        "of each sample .*viscosity",
    ):
        assert re.search(line, shown), line
    document = json.loads(kitipde("info", rectangle, "--json").out)
    assert [(axis["points"], axis["extent"], axis["boundary"]) for axis in document["axes"]] == [
        (12, [0, 2], ["periodic"] * 2),
        (16, [0, 1], ["wall"] * 2),
    ]
    assert document["fields"]["velocity_y"]["vector"] == "velocity"
    assert document["problem"] is None
    line = kitipde("info", datasets.bounded_line(tmp_path / "line.h5"))
    assert re.search("learnt by default +u0 → u", line.out)
