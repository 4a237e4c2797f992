"""Neural operators for PDEs, with and without kinetic (KITI) residuals.

    model = kitipde.load("runs/kiti")                    # the trained operator of a run
    prediction = kitipde.rollout(model, inputs, steps=1)   # [batch, frames, fields, *space], physical units
    kitipde.attach(model, ResidualConfig(kind="kiti"))     # KITI for a model of neuraloperator

The package root stays light: these names bring torch in when they are used, not before (`kitipde --help` answers in
under half a second).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kitipde.models.attach import attach
    from kitipde.models.rollout import rollout
    from kitipde.runs import load

__all__ = ["__version__", "attach", "load", "rollout"]

__version__ = "0.1.0"

_HOMES = {"attach": "kitipde.models.attach", "load": "kitipde.runs", "rollout": "kitipde.models.rollout"}


def __dir__() -> list[str]:
    # What the Tab key shows in a notebook: this, and neither submodules nor imports.
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kitipde' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
