"""Windows on a mesh: values, scaling from the training split alone, positions, node types, and the model's shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kitipde.problem.load import load_run_windows
from kitipde.problem.mesh import FIELDS, load_mesh_windows, mesh_scaling, momentum

from datagen.store import open_dataset
from kitipde.config import DataConfig, ResidualConfig
from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.models.oformer_airfoil import AirfoilOFormer
from tests.data.mesh_files import RECIPE, write_mesh_data

FLOW = DataConfig(input="flow", target="flow", input_frames=4, output_frames=3, normalize="standard")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples of noise."""
    return write_mesh_data(tmp_path_factory.mktemp("mesh") / "a.h5", samples=4)


def test_windows_hold_the_fields_in_order(path: Path) -> None:
    with open_dataset(path) as dataset:
        windows = load_mesh_windows(dataset, FLOW, [3, 1])
        for channel, name in enumerate(FIELDS):
            np.testing.assert_array_equal(windows.inputs[..., channel], dataset.read(name, [3, 1], slice(0, 4)))
            np.testing.assert_array_equal(windows.targets[..., channel], dataset.read(name, [3, 1], slice(4, 7)))
        np.testing.assert_array_equal(windows.times, RECIPE.times[4:])
        assert windows.samples == (3, 1)
        assert (windows.grid, windows.dimension) == ((240,), 2)


def test_scaling_is_mean_and_deviation_of_every_number(path: Path) -> None:
    with open_dataset(path) as dataset:
        scaling = mesh_scaling(load_mesh_windows(dataset, FLOW, range(3)))
        for channel, name in enumerate(FIELDS):
            train = dataset.read(name, range(3)).astype(np.float64)
            assert float(scaling.mean[channel]) == pytest.approx(train.mean(), rel=1e-6)
            assert float(scaling.deviation[channel]) == pytest.approx(train.std(), rel=1e-5)


def test_positions_types_and_region_are_those_of_the_mesh(path: Path) -> None:
    with open_dataset(path) as dataset:
        windows = load_mesh_windows(dataset, FLOW, [0])
    mesh = windows.mesh
    assert windows.positions.amin(0).tolist() == [0, 0]
    np.testing.assert_allclose(windows.positions[:, 0], mesh.x - mesh.x.min(), rtol=1e-5, atol=1e-5)
    assert torch.bincount(windows.node_type).tolist() == [24 * 8, 24, 24]
    inside = (mesh.x > -0.1) & (mesh.x < 1.4) & (np.abs(mesh.y) < 1.2)
    assert (windows.region.numpy() == inside).all()
    assert windows.region[windows.node_type == 1].all()


def test_the_model_takes_them_as_they_are(path: Path) -> None:
    with open_dataset(path) as dataset:
        windows = load_mesh_windows(dataset, FLOW, [0, 2])
    torch.manual_seed(0)
    model = AirfoilOFormer(ResidualConfig(kind="plain")).eval()
    with torch.no_grad():
        frames = torch.cat([windows.inputs, windows.positions.expand(2, 4, -1, -1)], dim=-1)
        out = model(frames, windows.positions, windows.node_type, 3)
    assert out.shape == windows.targets.shape


def test_momentum_is_density_times_velocity() -> None:
    assert momentum(torch.tensor([2.0, -3.0, 0.5, 9.0])).tolist() == [1.0, -1.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_frames": 22}, r"has 7 frames, but .* need 4 \+ 22 = 26"),
        ({"input": "u0"}, "data.input=u0: on a mesh it is 'flow'"),
        ({"resolution": 64}, "data.resolution=64"),
        ({"normalize": "none"}, "data.normalize=none"),
    ],
)
def test_settings_that_do_not_fit_a_mesh_are_refused(path: Path, changes: dict, message: str) -> None:
    with open_dataset(path) as dataset, pytest.raises(InputError, match=message):
        load_mesh_windows(dataset, FLOW.model_copy(update=changes), [0])


def test_what_is_no_mesh_is_refused(burgers_file: Path) -> None:
    with open_dataset(burgers_file) as dataset, pytest.raises(InputError, match="is on a grid, not on a mesh"):
        load_mesh_windows(dataset, FLOW, [0])


def test_a_model_for_grids_is_refused_on_a_mesh(path: Path) -> None:
    config = resolve_config({}, ["model.name=oformer"])
    with open_dataset(path) as dataset, pytest.raises(InputError, match=r"use model\.name=oformer-airfoil"):
        load_run_windows(dataset, config, range(1))


def test_a_mesh_without_nodes_near_the_airfoil_and_fields_that_never_change_are_told(path: Path) -> None:
    with open_dataset(path) as dataset:
        with pytest.raises(InputError, match="no node in the region of interest"):
            load_mesh_windows(dataset, FLOW, [0], ((100, 101), (0, 1)))
        with pytest.raises(InputError, match="no sample"):
            mesh_scaling(load_mesh_windows(dataset, FLOW, []))
        windows = load_mesh_windows(dataset, FLOW, [0])
        windows.inputs[..., 2] = 1.0
        windows.targets[..., 2] = 1.0
        with pytest.raises(InputError, match="density is the same everywhere"):
            mesh_scaling(windows)
