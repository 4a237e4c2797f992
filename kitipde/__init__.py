"""Neural operators for PDEs, with and without kinetic (KITI) residuals.

The package root stays light: importing it must not import torch (``kitipde --help`` answers in under half a second).
"""

__version__ = "0.1.0"
