"""Tiny files on a mesh, in the schema of the airfoil data."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from datagen.equations.airfoil.cases import Airfoil
from datagen.store.writer import write_file

__all__ = ["RECIPE", "write_mesh_data"]

RECIPE = Airfoil(samples=4, around=24, layers=10, far=20.0, frames=7)


def write_mesh_data(path: Path, samples: int, seed: int = 0, recipe: Airfoil = RECIPE) -> Path:
    """Noise about a mean, pressures much larger than velocities: numbers that are easily told apart."""
    layout = replace(recipe.layout(), config=f'{{"seed": {seed}}}')
    chance = np.random.default_rng(seed)
    values = {}
    for variable in layout.variables:
        if variable.per_sample:
            shape = [samples, *(layout.sizes[name] for name in variable.dims[1:])]
            scale = 1e4 if variable.name == "pressure" else 1.0
            values[variable.name] = scale * (chance.standard_normal(shape) + 10)
    write_file(path, layout, np.arange(samples), values)
    return path
