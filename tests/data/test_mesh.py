"""Windows on a mesh: values, scaling from the training split alone, positions, node types, and the model's shapes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datagen.airfoil.cases import Airfoil
from datagen.store import open_dataset
from datagen.store.writer import write_file
from kitipde.config import ResidualConfig
from kitipde.data.mesh import FIELDS, load_mesh_windows, mesh_scaling, momentum
from kitipde.errors import InputError
from kitipde.models.airfoil import AirfoilOFormer

RECIPE = Airfoil(samples=4, around=24, layers=10, far=20.0, frames=7)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema of the airfoil data and numbers that are easily told apart."""
    layout, chance = replace(RECIPE.layout(), config="{}"), np.random.default_rng(0)
    values = {}
    for variable in layout.variables:
        if variable.per_sample:
            shape = [4, *(layout.sizes[name] for name in variable.dims[1:])]
            scale = 1e4 if variable.name == "pressure" else 1.0
            values[variable.name] = scale * (chance.standard_normal(shape) + 10)
    path = tmp_path_factory.mktemp("mesh") / "a.h5"
    write_file(path, layout, np.arange(4), values)
    return path


def test_windows_hold_the_standardised_fields_in_order(path: Path) -> None:
    with open_dataset(path) as dataset:
        scaling = mesh_scaling(dataset, range(3))
        windows = load_mesh_windows(dataset, [3, 1], scaling, 4, 3)
        for channel, name in enumerate(FIELDS):
            train = dataset.read(name, range(3)).astype(np.float64)
            assert float(scaling.mean[channel]) == pytest.approx(train.mean(), rel=1e-6)
            assert float(scaling.deviation[channel]) == pytest.approx(train.std(), rel=1e-5)
            given = scaling.physical(windows.inputs[..., :4])[..., channel]
            np.testing.assert_allclose(given, dataset.read(name, [3, 1], slice(0, 4)), rtol=1e-5)
            wanted = scaling.physical(windows.targets)[..., channel]
            np.testing.assert_allclose(wanted, dataset.read(name, [3, 1], slice(4, 7)), rtol=1e-5)
        np.testing.assert_array_equal(windows.times, RECIPE.times[4:])
        assert windows.samples == (3, 1)


def test_positions_types_and_region_are_those_of_the_mesh(path: Path) -> None:
    with open_dataset(path) as dataset:
        windows = load_mesh_windows(dataset, [0], mesh_scaling(dataset, [0]), 4, 3)
    mesh = windows.mesh
    assert windows.positions.amin(0).tolist() == [0, 0]
    np.testing.assert_allclose(windows.positions[:, 0], mesh.x - mesh.x.min(), rtol=1e-5, atol=1e-5)
    assert windows.inputs[0, :, :, 4:].amax((0, 1)).tolist() == [1, 1]
    assert torch.equal(windows.inputs[0, 0, :, 4:], windows.inputs[0, 3, :, 4:])
    assert torch.bincount(windows.node_type).tolist() == [24 * 8, 24, 24]
    inside = (mesh.x > -0.1) & (mesh.x < 1.4) & (np.abs(mesh.y) < 1.2)
    assert (windows.region.numpy() == inside).all()
    assert windows.region[windows.node_type == 1].all()


def test_the_model_takes_them_as_they_are(path: Path) -> None:
    with open_dataset(path) as dataset:
        windows = load_mesh_windows(dataset, [0, 2], mesh_scaling(dataset, [0]), 4, 3)
    torch.manual_seed(0)
    model = AirfoilOFormer(ResidualConfig(kind="plain")).eval()
    with torch.no_grad():
        out = model(windows.inputs, windows.positions, windows.node_type, 3)
    assert out.shape == windows.targets.shape


def test_momentum_is_density_times_velocity() -> None:
    assert momentum(torch.tensor([2.0, -3.0, 0.5, 9.0])).tolist() == [1.0, -1.5]


def test_what_is_no_mesh_or_too_short_is_refused(path: Path, burgers_file: Path) -> None:
    with open_dataset(burgers_file) as dataset, pytest.raises(InputError, match="is on a grid, not on a mesh"):
        mesh_scaling(dataset, [0])
    with open_dataset(path) as dataset:
        with pytest.raises(InputError, match=r"has 7 frames, but .* need 4 \+ 22 = 26"):
            load_mesh_windows(dataset, [0], mesh_scaling(dataset, [0]))
        with pytest.raises(InputError, match="no sample"):
            mesh_scaling(dataset, [])
