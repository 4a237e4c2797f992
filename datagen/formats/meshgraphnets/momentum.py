"""Is a field that is called velocity one, or is it the momentum ρu? The flow itself tells.

Round a body in a uniform stream an inviscid gas has, once the start is forgotten, one total enthalpy everywhere,

    h₀ = γ/(γ−1) p/ρ + ½|u|².

Of the two readings u = v and u = v/ρ the true one has the smaller scatter of h₀ over the nodes of the last frame. At
one Mach number (about 0.55 for momentum, 0.66 for velocity, at 1.2 kg/m³) the readings agree to first order, so
several trajectories are looked at; what remains undecided is not guessed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8

from datagen.errors import InputError
from datagen.geometry.mesh import NODE_TYPES

__all__ = ["Decision", "decide"]

_GAMMA = 1.4
_CLEAR = 1.5
"""Ratio of the scatters from which on the smaller one is believed."""


@dataclass(frozen=True)
class Decision:
    """Whether `velocity` is to be divided by the density, and why.

    Attributes:
        momentum: whether it is.
        text: one line for a person; empty where there was no question.
    """

    momentum: bool
    text: str


def decide(states: Iterable[Mapping[str, np.ndarray]], node_type: Int8[np.ndarray, " nodes"]) -> Decision:
    """Look at the first and the last frame of some trajectories.

    Args:
        states: `velocity` [2, nodes, 2], `density` and `pressure` [2, nodes, 1] of each.
        node_type: of the nodes.

    Raises:
        InputError: the readings are too alike.
    """
    scatters, machs = [], []
    inflow = node_type == NODE_TYPES["inflow"]
    for state in states:
        raw, density, pressure = state["velocity"], state["density"][..., 0], state["pressure"][..., 0]
        if not (density > 0).all() or not (pressure > 0).all():
            raise InputError("density or pressure is not positive; cannot tell velocity from momentum (--velocity)")
        readings = (raw, raw / density[..., None])
        scatters.append([_scatter(one[1], density[1], pressure[1]) for one in readings])
        if inflow.any():
            sound = np.sqrt(_GAMMA * pressure[0, inflow] / density[0, inflow])
            machs.append([float(np.median(np.hypot(*one[0, inflow].T) / sound)) for one in readings])
    velocity, momentum = np.sqrt(np.mean(np.square(scatters), axis=0)).tolist()
    told = f"scatter of the total enthalpy {momentum:.2g} if it is momentum, {velocity:.2g} if velocity"
    if machs:
        as_velocity, as_momentum = np.array(machs).T
        told += (
            f"; Mach number of the inflow {as_momentum.min():.2f} to {as_momentum.max():.2f}, "
            f"{as_velocity.min():.2f} to {as_velocity.max():.2f}"
        )
    if max(velocity, momentum) < _CLEAR * max(min(velocity, momentum), 1e-12):
        raise InputError(
            f"cannot tell whether the field called velocity is a momentum ({told}): say --velocity momentum or "
            "--velocity velocity"
        )
    what = "momentum, and divided by the density" if momentum < velocity else "velocity"
    return Decision(momentum < velocity, f"the field called velocity is {what} ({told})")


def _scatter(
    velocity: Float64[np.ndarray, "nodes 2"],
    density: Float64[np.ndarray, " nodes"],
    pressure: Float64[np.ndarray, " nodes"],
) -> float:
    """Relative deviation of h₀ over the nodes."""
    total = _GAMMA / (_GAMMA - 1) * pressure / density + 0.5 * (velocity**2).sum(-1)
    return float(total.std() / total.mean())
