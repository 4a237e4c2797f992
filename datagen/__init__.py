"""PDE solvers and the dataset format of kitipde.

Each module is imported on its own (``from datagen.equations import burgers``), so that a command which only reads a
file does not pay for the solvers. Nothing here imports `kitipde`.
"""
