"""Every verb on every kind of problem, without a setting: what a stranger with such data does first."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

from datagen.formats.netcdf import ArrayDescription, save_dataset

SAMPLES = 20


def waves(*places: np.ndarray, frames: int | None = None, seed: int = 0) -> np.ndarray:
    """Travelling waves, [sample, (time,) *grid]."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (SAMPLES, *(1,) * (len(places) + 1)))
    along = sum((2 * np.pi * each for each in np.meshgrid(*places, indexing="ij")), start=np.zeros(()))
    times = 0.1 * np.arange(frames or 1).reshape(-1, *(1,) * len(places))
    values = np.sin(along + phase - times)
    return values if frames else values[:, 0]


def pair(path: Path) -> None:
    """A periodic line: u0 ↦ u."""
    x = np.arange(32) / 32
    fields = {"u0": (("sample", "x"), waves(x)), "u": (("sample", "x"), waves(x + 0.1))}
    save_dataset(xarray.Dataset(fields, {"x": x}), path, ArrayDescription("pair", inputs=("u0",), targets=("u",)))


def rod(path: Path) -> None:
    """A line of nodes between two walls, both among them."""
    x = np.linspace(0, 1, 33)
    modes = np.random.default_rng(1).standard_normal((SAMPLES, 4))
    shape = np.sin(np.pi * np.arange(1, 5)[:, None] * x)
    decay = np.exp(-0.01 * (np.pi * np.arange(1, 5)) ** 2)
    fields = {"u0": (("sample", "x"), modes @ shape), "u": (("sample", "x"), (modes * decay) @ shape)}
    about = ArrayDescription("rod", boundary="wall", inputs=("u0",), targets=("u",))
    save_dataset(xarray.Dataset(fields, {"x": x}), path, about)


def rectangle(path: Path) -> None:
    """Four fields on a rectangle with walls above and below, a number of each sample and a field constant in time."""
    x, y = 2 * np.arange(16) / 16, np.linspace(0, 1, 9)
    names = ("density", "velocity_x", "velocity_y", "pressure")
    sizes = (1.0, 3.0, 0.1, 100.0)
    fields = {
        name: (
            ("sample", "time", "x", "y"),
            size * waves(x / 2, y, frames=5, seed=number) + (1e5 if name == "pressure" else 0.0),
            {"vector": "velocity"} if name.startswith("velocity") else {},
        )
        for number, (name, size) in enumerate(zip(names, sizes, strict=True))
    }
    numbers = np.random.default_rng(2).uniform(1, 2, SAMPLES)
    fields |= {"height": (("sample", "x", "y"), waves(x / 2, y, seed=9)), "viscosity": (("sample",), numbers)}
    coordinates = {"time": 0.1 * np.arange(5), "x": x, "y": y}
    about = ArrayDescription(
        "channel",
        boundary={"x": "periodic", "y": "wall"},
        inputs=names,
        targets=names,
        static=("height",),
        parameters=("viscosity",),
    )
    save_dataset(xarray.Dataset(fields, coordinates), path, about)


def box(path: Path) -> None:
    """A periodic cube."""
    x = np.arange(16) / 16
    field = (("sample", "time", "x", "y", "z"), waves(x, x, x, frames=2))
    save_dataset(xarray.Dataset({"u": field}, {"time": 0.1 * np.arange(2), "x": x, "y": x, "z": x}), path, _BOX)


_BOX = ArrayDescription("box")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "network"), [(pair, "fno"), (rod, "fno"), (rectangle, "fno"), (box, "fno"), (rod, "oformer")]
)
def test_every_verb_takes_it(make, network: str, kitipde, tmp_path: Path) -> None:
    data, plain, kiti, short = (
        tmp_path / "data.h5",
        tmp_path / "plain",
        tmp_path / "kiti",
        ("--set", "training.epochs=2"),
    )
    make(data)
    assert kitipde("info", data, "--plot", tmp_path / "fields.png").code == 0
    for out, flag in ((plain, "--no-kiti"), (kiti, "--kiti")):
        trained = kitipde("train", network, flag, "--data", data, "--out", out, "--seeds", 2, *short)
        assert trained.code == 0, trained.err
    found = kitipde("evaluate", plain, kiti, "--json")
    assert found.code == 0, found.err
    rows = json.loads(found.out)
    assert all(np.isfinite(row["relative_l2"]["mean"]) for row in rows)
    # Two resolutions at least: that of the training and a coarser one.
    assert len({str(row["resolution"]) for row in rows}) > 1
    compared = kitipde("compare", plain, kiti)
    assert compared.code == 0, compared.err
    assert "verdict" in compared.out
    predicted = kitipde("predict", plain, "--data", data, "--out", tmp_path / "p.h5")
    assert predicted.code == 0, predicted.err
    assert kitipde("info", tmp_path / "p.h5").code == 0
    reported = kitipde("report", plain, kiti, "--out", tmp_path / "report.html")
    assert reported.code == 0, reported.err
    assert (tmp_path / "report.html").stat().st_size > 10_000
