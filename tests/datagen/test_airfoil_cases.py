"""Datasets of flow round an airfoil: the file, the gas in it, and the same bytes however they are made."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

from datagen.equations.airfoil.air import DENSITY, PRESSURE, SOUND
from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.registry import recipe_from
from datagen.errors import InputError
from datagen.generation import generate as making
from datagen.generation.machine import Machine
from datagen.store import open_dataset
from datagen.store.verify import verify
from kitipde.cli.generate import _settings

SMALL = Airfoil(samples=5, around=32, layers=12, far=50.0, frames=4, interval=1e-4)


def _make(recipe: Airfoil, path: Path, machine: Machine) -> None:
    work = making.plan(recipe, path, machine.device)
    making.generate(work, recipe, machine)
    if machine.joins:
        making.join(work)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("airfoil") / "a.h5"
    _make(SMALL, path, Machine("cpu", "cpu"))
    return path


def test_the_file_verifies_and_has_the_schema_of_the_imported_set(path: Path, published, tmp_path: Path) -> None:
    from datagen.formats.meshgraphnets.records import Selection, import_meshgraphnets

    assert verify(path).samples == 5
    published.write_folder(tmp_path / "set", {"train": 1})
    import_meshgraphnets(tmp_path / "set", tmp_path / "i.h5", Selection(stride=1))
    with open_dataset(path) as ours, open_dataset(tmp_path / "i.h5") as imported:
        assert ours.fields == imported.fields
        assert ours.equation == imported.equation == "airfoil"
        assert ours.mesh is not None
        assert imported.mesh is not None
        assert set(ours.mesh.node_type.tolist()) == set(imported.mesh.node_type.tolist()) == {0, 2, 4}
        for name in ours.fields:
            assert ours.description(name) == {**imported.description(name), **ours.description(name)}


def test_it_starts_from_the_stream(path: Path) -> None:
    with open_dataset(path) as data:
        mach, angle = data.parameter("mach"), np.deg2rad(data.parameter("aoa"))
        assert ((mach > 0.2) & (mach < 0.7)).all()
        first = {name: data.read(name, frames=slice(0, 1))[:, 0] for name in data.fields}
        np.testing.assert_allclose(
            first["velocity_x"], (SOUND * mach * np.cos(angle))[:, None] + 0 * first["density"], rtol=1e-6
        )
        np.testing.assert_allclose(
            first["velocity_y"], (SOUND * mach * np.sin(angle))[:, None] + 0 * first["density"], rtol=1e-6
        )
        np.testing.assert_allclose(first["density"], DENSITY, rtol=1e-6)
        np.testing.assert_allclose(first["pressure"], PRESSURE, rtol=1e-5)
        later = data.read("pressure", frames=slice(3, 4))
        assert np.ptp(later) > 1000


def test_lift_drag_and_pressure_coefficient_follow_from_the_stored_pressure(path: Path) -> None:
    with xarray.open_dataset(path) as data:
        wall = data.wall_node.values
        head = 0.5 * DENSITY * (SOUND * data.mach.values[:, None]) ** 2
        pressure = data.pressure.values[:, :, wall].astype(float)
        coefficient = (pressure - PRESSURE) / head[..., None]
        # Cancellation: stored pressures have 7 digits, their difference to the stream's fewer.
        np.testing.assert_allclose(data.pressure_coefficient.values, coefficient, atol=2e-5)
        x, y = data.node_x.values[wall], data.node_y.values[wall]
        middle = 0.5 * (coefficient + np.roll(coefficient, -1, -1))
        # The contour runs anticlockwise from the trailing edge: the force on it is −∮ p n.
        force_x = -(middle * (np.roll(y, -1) - y)).sum(-1)
        force_y = (middle * (np.roll(x, -1) - x)).sum(-1)
        angle = np.deg2rad(data.aoa.values)[:, None]
        lift = force_y * np.cos(angle) - force_x * np.sin(angle)
        np.testing.assert_allclose(data.lift_coefficient.values, lift, atol=2e-4)
        drag = force_x * np.cos(angle) + force_y * np.sin(angle)
        np.testing.assert_allclose(data.drag_coefficient.values, drag, atol=2e-4)


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_and_workers_give_the_same_bytes(path: Path, tmp_path: Path, workers: int) -> None:
    for shard in (1, 0):
        _make(SMALL, tmp_path / "a.h5", Machine("cpu", "cpu", shard, 2, workers=workers))
    _make(SMALL, tmp_path / "a.h5", Machine("cpu", "cpu"))
    assert (tmp_path / "a.h5").read_bytes() == path.read_bytes()


def test_an_interrupted_generation_continues(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(SMALL, samples=60, frames=2, interval=1e-5)
    _make(recipe, tmp_path / "whole.h5", Machine("cpu", "cpu"))
    write, made = making.write_file, []

    def stop_at_the_third(*arguments, **more) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        write(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(making, "write_file", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            _make(recipe, tmp_path / "a.h5", Machine("cpu", "cpu"))
    assert len(making.plan(recipe, tmp_path / "a.h5", "cpu").missing) < len(
        making.plan(recipe, tmp_path / "a.h5", "cpu").parts
    )
    _make(recipe, tmp_path / "a.h5", Machine("cpu", "cpu"))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_recipe_in_a_file_is_the_recipe() -> None:
    assert recipe_from({"equation": "airfoil", "samples": 5, "airfoil": "2412", "frames": 3}) == Airfoil(
        samples=5, airfoil="2412", frames=3
    )


def test_shipped_recipes_are_the_presets_at_their_sizes() -> None:
    paper, quick = (recipe_from(_settings(name)) for name in ("paper-airfoil", "quick-airfoil"))
    assert paper == Airfoil(samples=1200)
    assert quick == Airfoil(samples=16, **Airfoil.presets["quick"].settings)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"most_mach": 1.2}, "is no range of subsonic streams"),
        ({"least_mach": 0.8}, "is no range of subsonic streams"),
        ({"least_angle": -90.0}, "is no range of angles of attack"),
        ({"airfoil": "12"}, "is no NACA four-digit section"),
        ({"interval": 0.0}, "interval 0 is not a positive number"),
        ({"layers": 3}, "layers 3 is too small"),
    ],
)
def test_what_is_no_flow_is_refused(change: dict[str, float | str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        replace(SMALL, **change)  # pyright: ignore[reportArgumentType]


def test_a_courant_number_too_large_is_one_line_and_no_file(tmp_path: Path) -> None:
    wild = replace(SMALL, samples=1, courant=6.0, interval=0.01)
    with pytest.raises(InputError, match=r"blown up|is not finite"):
        _make(wild, tmp_path / "a.h5", Machine("cpu", "cpu"))
    assert not (tmp_path / "a.h5").exists()


def test_the_command_estimates_makes_and_describes(kitipde, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    sizes = ("--around", 32, "--layers", 12, "--frames", 3, "--interval", 1e-4)
    made = kitipde("generate", "airfoil", "--samples", 3, "--preset", "quick", "--mach", "0.5", *sizes, "--out", out)
    assert (made.code, made.out) == (0, "")
    assert "3 to be made here on cpu, about" in made.err
    document = json.loads(kitipde("info", out, "--verify", "--json", "--plot", tmp_path / "a.png").out)
    assert document["mesh"] == {"node": 384, "cell": 704, "vertex": 3}
    assert document["config"]["least_mach"] == document["config"]["most_mach"] == 0.5
    assert {"mach", "aoa", "lift_coefficient", "drag_coefficient"} <= set(document["parameters"])
    refused = kitipde("generate", "airfoil", "--preset", "quik", "--out", tmp_path / "b.h5")
    assert (refused.code, "did you mean 'quick'" in refused.err) == (2, True)
    refused = kitipde("generate", "airfoil", "--mach", "slow", "--out", tmp_path / "b.h5")
    assert (refused.code, "invalid --mach 'slow'" in refused.err) == (2, True)
