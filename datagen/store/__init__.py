"""The dataset format: NetCDF-4-compatible HDF5 that `xarray.open_dataset` reads as it is."""

from datagen.geometry import Mesh
from datagen.store.layout import Coordinate, Layout, Variable
from datagen.store.reader import Dataset, open_dataset, recipe_of

__all__ = ["Coordinate", "Dataset", "Layout", "Mesh", "Variable", "open_dataset", "recipe_of"]
