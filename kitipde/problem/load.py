"""The windows of a run, on a grid or on a mesh as its model needs them."""

from datagen.store import Dataset
from kitipde.config import AirfoilOFormerConfig, RunConfig
from kitipde.errors import InputError
from kitipde.problem.mesh import MeshWindows, load_mesh_windows
from kitipde.problem.windows import Windows, load_windows

__all__ = ["load_run_windows"]


def load_run_windows(dataset: Dataset, config: RunConfig, samples: range) -> Windows | MeshWindows:
    """Windows of some samples at the resolution to train on.

    Raises:
        InputError: if the model is for grids and the dataset on a mesh, or the other way round, or it does not hold
            what the settings name.
    """
    if isinstance(config.model, AirfoilOFormerConfig):
        return load_mesh_windows(dataset, config.data, samples)
    if dataset.mesh is not None:
        raise InputError(
            f"{dataset.path} is on a mesh, and model.name={config.model.name} works on grids; on a mesh use "
            "model.name=oformer-airfoil"
        )
    return load_windows(dataset, config.data, samples, config.data.resolution)
