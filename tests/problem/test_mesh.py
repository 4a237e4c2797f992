"""Windows on a mesh: values, scaling from the training split alone, positions, node types, and the model's shapes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datagen.geometry import Mesh
from datagen.store import open_dataset
from kitipde.config import DataConfig
from kitipde.config.load import read_config, resolve_config
from kitipde.errors import InputError
from kitipde.models import Normalised, build_model
from kitipde.models.oformer_airfoil import AirfoilOFormer
from kitipde.problem.problem import problem_of
from kitipde.problem.windows import Windows, load_windows
from kitipde.training.objective import fit
from kitipde.training.run import resolved
from kitipde.training.standing import TrainingData
from tests.data.mesh_files import RECIPE, write_mesh_data

FIELDS = ("velocity_x", "velocity_y", "density", "pressure")
FLOW = DataConfig(inputs=FIELDS, targets=FIELDS, input_frames=4, output_frames=3, normalize="standard")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples of noise."""
    return write_mesh_data(tmp_path_factory.mktemp("mesh") / "a.h5", samples=4)


def test_windows_hold_the_fields_in_order(path: Path) -> None:
    with open_dataset(path) as dataset:
        windows = load_windows(dataset, FLOW, [3, 1])
        for place, name in enumerate(FIELDS):
            np.testing.assert_array_equal(windows.inputs[:, :, place], dataset.read(name, [3, 1], slice(0, 4)))
            np.testing.assert_array_equal(windows.targets[:, :, place], dataset.read(name, [3, 1], slice(4, 7)))
        np.testing.assert_array_equal(windows.times, RECIPE.times[4:])
        assert windows.samples == (3, 1)
        assert (windows.geometry.shape, windows.geometry.dimension) == ((240,), 2)
        assert problem_of(FLOW, dataset).groups == ((0, 1), (2,), (3,))


def fitted(path: Path, samples: range, **changes: Any) -> tuple[Normalised, Windows]:
    config = resolve_config(read_config("oformer-airfoil")).model_copy(update={"data": FLOW.model_copy(update=changes)})
    with open_dataset(path) as dataset:
        problem, windows = problem_of(config.data, dataset), load_windows(dataset, config.data, samples)
    torch.manual_seed(0)
    model = build_model(config, problem)
    fit(config, model, TrainingData(windows, windows))
    return model.eval(), windows


def test_scaling_is_mean_and_deviation_of_every_number(path: Path) -> None:
    model, _ = fitted(path, range(3))
    with open_dataset(path) as dataset:
        for place, name in enumerate(FIELDS):
            train = dataset.read(name, range(3)).astype(np.float64)
            for mean, deviation in ((model.input_mean, model.input_std), (model.output_mean, model.output_std)):
                assert float(mean[place]) == pytest.approx(train.mean(), rel=1e-6)
                assert float(deviation[place]) == pytest.approx(train.std(), rel=1e-5)


def test_positions_types_and_region_are_those_of_the_mesh(path: Path) -> None:
    model, windows = fitted(path, range(1))
    network, mesh = model.network, windows.geometry
    assert isinstance(network, AirfoilOFormer)
    assert isinstance(mesh, Mesh)
    assert network.positions.amin(0).tolist() == [0, 0]
    np.testing.assert_allclose(network.positions[:, 0], mesh.x - mesh.x.min(), rtol=1e-5, atol=1e-5)
    assert torch.bincount(network.node_type).tolist() == [24 * 8, 24, 24]
    inside = (mesh.x > -0.1) & (mesh.x < 1.4) & (np.abs(mesh.y) < 1.2)
    assert (network.region.numpy() == inside).all()
    assert network.region[network.node_type == 1].all()


def test_the_model_takes_them_as_they_are(path: Path) -> None:
    model, windows = fitted(path, range(2))
    with torch.no_grad():
        assert model(windows.inputs, None, 3).shape == windows.targets.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_frames": 22}, r"has 7 frames, but .* need 4 \+ 22 = 26"),
        ({"inputs": ("u0",)}, "unknown variable in data.inputs .* 'u0'"),
        ({"resolution": (64,)}, "data.resolution=64"),
    ],
)
def test_settings_that_do_not_fit_a_mesh_are_refused(path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fitted(path, range(1), **changes)


@pytest.mark.parametrize(
    ("network", "on_mesh", "message"),
    [
        ("oformer-airfoil", False, "works on the nodes of a mesh, and these data are on a grid"),
        ("oformer", True, r"use model\.name=oformer-airfoil"),
        ("fno", True, r"use model\.name=oformer-airfoil"),
    ],
)
def test_a_network_of_another_geometry_is_refused(
    path: Path, burgers_file: Path, network: str, on_mesh: bool, message: str
) -> None:
    config = resolve_config({}, [f"model.name={network}"])
    with open_dataset(path if on_mesh else burgers_file) as dataset, pytest.raises(InputError, match=message):
        resolved(config, dataset)


def test_a_mesh_without_nodes_near_the_airfoil_and_fields_that_never_change_are_told(path: Path) -> None:
    model, windows = fitted(path, range(1))
    network = model.network
    assert isinstance(network, AirfoilOFormer)
    network.config = network.config.model_copy(update={"region": ((100.0, 101.0), (0.0, 1.0))})
    with pytest.raises(InputError, match="region has no node"):
        network.place(windows.geometry)
    windows.inputs[:, :, 2] = 1.0
    windows.targets[:, :, 2] = 1.0
    config = resolve_config(read_config("oformer-airfoil")).model_copy(update={"data": FLOW})
    with pytest.raises(InputError, match=r"data\.inputs=density is 1 everywhere"):
        fit(config, model, TrainingData(windows, windows))
