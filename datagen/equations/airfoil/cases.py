"""Data sets of compressible flow round an airfoil, and steady flows to validate the solver with.

Each sample starts impulsively: at time 0 the air has the velocity of the stream everywhere, the airfoil inside it. A
pressure wave leaves, the circulation grows while the starting vortex drifts away. Mach number and angle of attack are
drawn evenly from their ranges. As in the published set the chord is 1 m and the air that of a standard day.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from datagen.checks import at_least, finite, number_of, positive
from datagen.equations.airfoil.euler import GAMMA, Duals, Euler, Stream, primitive, uniform
from datagen.equations.airfoil.o_grid import OGrid, o_grid, triangulated
from datagen.equations.settings import numerical
from datagen.errors import InputError
from datagen.geometry.mesh import CONVENTIONS, node_field
from datagen.solvers.limits import few_enough_steps, fits_memory
from datagen.solvers.random_fields import sample_seeds
from datagen.store.layout import Coordinate, Layout, Variable

__all__ = ["PRESETS", "Airfoil", "Steady", "march", "steady"]

TEMPERATURE = 288.15
PRESSURE = 101325.0
GAS_CONSTANT = 287.05
DENSITY = PRESSURE / (GAS_CONSTANT * TEMPERATURE)
SOUND = math.sqrt(GAMMA * GAS_CONSTANT * TEMPERATURE)
"""The air far away: kelvin, pascal, J/(kg K), kg/m³, m/s."""

_CACHE_NODES = 6_000
"""Nodes of a batch that a processor's cache holds well."""

_MOST_NODES = 10**7

_STEPS_BETWEEN_LOOKS = 20


@dataclass(frozen=True)
class Airfoil:
    """A data set of flows round one airfoil.

    Attributes:
        samples: how many.
        seed: of the data set; each sample's own follows from it and the sample's index.
        airfoil: NACA four-digit section.
        least_mach, most_mach: range of the Mach number M.
        least_angle, most_angle: range of the angle of attack α in degrees.
        around: nodes on the airfoil.
        layers: of nodes, from the airfoil to the far field.
        far: radius of the far field in chords.
        evenness, first: how the nodes lie on the airfoil and how high the first cells are, see `o_grid`.
        frames: instants stored: 0, interval, 2·interval, ….
        interval: time between frames in seconds, the chord being 1 m.
        courant: share of the longest stable time step.
    """

    equation: ClassVar[str] = "airfoil"

    samples: int = 100
    seed: int = 0
    airfoil: str = "0012"
    least_mach: float = 0.2
    most_mach: float = 0.7
    least_angle: float = -25.0
    most_angle: float = 25.0
    around: int = numerical(128)
    layers: int = numerical(40)
    far: float = numerical(60.0)
    evenness: float = numerical(0.3)
    first: float = numerical(1.0)
    frames: int = numerical(26)
    interval: float = numerical(0.002)
    courant: float = numerical(1.0)

    def __post_init__(self) -> None:
        number_of("samples", self.samples, 1)
        at_least("seed", self.seed, 0)
        number_of("nodes around", self.around, 16)
        number_of("layers", self.layers, 8)
        number_of("frames", self.frames, 1)
        if self.around * self.layers > _MOST_NODES:
            raise InputError(
                f"{self.around} nodes around in {self.layers} layers make {self.around * self.layers:.3g} nodes "
                f"(allowed: up to {_MOST_NODES})"
            )
        positive("far field", self.far)
        positive("interval", self.interval)
        finite("time of the last frame", self.interval * self.frames)
        positive("courant number", self.courant)
        positive("least mach", self.least_mach)
        if not self.least_mach <= self.most_mach <= 0.95:
            raise InputError(
                f"mach {self.least_mach:g} to {self.most_mach:g} is no range of subsonic streams (allowed: up to 0.95)"
            )
        finite("least angle", self.least_angle)
        finite("most angle", self.most_angle)
        if not -45 <= self.least_angle <= self.most_angle <= 45:
            raise InputError(
                f"angle {self.least_angle:g} to {self.most_angle:g} is no range of angles of attack "
                "(allowed: -45 to 45 degrees)"
            )
        self.grid()

    @property
    def times(self) -> Float64[np.ndarray, " frames"]:
        return self.interval * np.arange(self.frames)

    def grid(self) -> OGrid:
        return _grid(self.airfoil, self.around, self.layers, self.far, self.evenness, self.first)

    def layout(self) -> Layout:
        """The file's mesh, coordinates, variables and attributes."""
        mesh = triangulated(self.grid())
        per_frame = ("sample", "time")
        return Layout(
            equation=self.equation,
            config="",
            coordinates=(Coordinate("time", self.times, "s", "time since the impulsive start", "T"),),
            variables=(
                *mesh.variables,
                Variable("wall_node", ("wall",), "1", "nodes on the airfoil, from the trailing edge", "int32"),
                node_field("velocity_x", "m s-1", "velocity along x"),
                node_field("velocity_y", "m s-1", "velocity along y"),
                node_field("density", "kg m-3", "density"),
                node_field("pressure", "Pa", "pressure"),
                Variable("mach", ("sample",), "1", "Mach number of the stream", "float64"),
                Variable("aoa", ("sample",), "degree", "angle of attack", "float64"),
                Variable("lift_coefficient", per_frame, "1", "lift coefficient"),
                Variable("drag_coefficient", per_frame, "1", "drag coefficient"),
                Variable("pressure_coefficient", (*per_frame, "wall"), "1", "pressure coefficient on the airfoil"),
                Variable("steps", per_frame, "1", "time steps since the frame before", "int32"),
            ),
            attributes={
                "Conventions": CONVENTIONS,
                "title": f"Euler equations round NACA {self.airfoil}, impulsive start",
                "domain_length": mesh.extent,
                "chord": "1 m, nose at (0, 0)",
                "far_field": f"{self.far:g} chords; Riemann invariants of the stream",
                "stream": f"{TEMPERATURE:g} K, {PRESSURE:g} Pa, {DENSITY:.6g} kg m-3, sound at {SOUND:.6g} m s-1",
                "scheme": "vertex-centred finite volumes on median duals of an O-grid, third-order extrapolation, "
                f"limited, HLLC, SSP-RK3, Courant number {self.courant:g}",
                "precision": "computed in float64, stored in float32",
            },
            shared={**mesh.values, "wall_node": np.arange(self.around, dtype=np.int32)},
            dimensions={**mesh.dimensions, "wall": self.around},
        )

    def check_size(self) -> None:
        nodes = self.around * self.layers
        sizes = {"nodes around": self.around, "layers": self.layers, "frames": self.frames}
        fits_memory(8 * 4 * nodes * (4 + self.frames), sizes)

    def streams(self, indices: Sequence[int]) -> Float64[np.ndarray, "2 n"]:
        """M and α in degrees of samples, each drawn from its own seed."""
        drawn = [np.random.default_rng(int(seed)).uniform(size=2) for seed in sample_seeds(self.seed, indices)]
        least = np.array([self.least_mach, self.least_angle])
        return (least + np.array(drawn) * (np.array([self.most_mach, self.most_angle]) - least)).T

    def solve(self, indices: Sequence[int], device: str) -> dict[str, np.ndarray]:
        """Compute samples by their index: the fields, the stream and the forces.

        Raises:
            InputError: the flow has left the states of a gas.
        """
        mach, angle = self.streams(indices)
        stream = Stream(_tensor(mach, device), torch.deg2rad(_tensor(angle, device)))
        euler = Euler(Duals.of(self.grid().z, device), stream)
        fields, forces, heads, steps = [], [], [], []
        for count, state in _frames(
            euler, uniform(euler.duals, stream), self.interval * SOUND, self.frames, self.courant
        ):
            now = primitive(state)
            fields.append(now.flatten(2).cpu().numpy())
            forces.append(euler.force(now).cpu().numpy())
            head = 0.5 * stream.mach[:, None] ** 2
            heads.append(((now[3, :, 0] - 1 / GAMMA) / head).cpu().numpy())
            steps.append(np.full(len(indices), count, np.int32))
        density, u, v, pressure = np.stack(fields, 2)
        lift, drag = np.stack(forces, 2)
        return {
            "velocity_x": u * SOUND,
            "velocity_y": v * SOUND,
            "density": density * DENSITY,
            "pressure": pressure * (DENSITY * SOUND**2),
            "mach": mach,
            "aoa": angle,
            "lift_coefficient": lift,
            "drag_coefficient": drag,
            "pressure_coefficient": np.stack(heads, 1),
            "steps": np.stack(steps, 1),
        }

    def group(self, device: str) -> int:
        """Samples solved together. On a CPU no more than the cache holds."""
        return max(1, (_CACHE_NODES if device == "cpu" else 300_000) // (self.around * self.layers))

    def causes(self) -> str:
        return f"far field {self.far:g}, interval {self.interval:g} or courant number {self.courant:g}"

    def probe(self) -> tuple["Airfoil", float]:
        """The first sixteen steps or so.

        Raises:
            InputError: there are too many steps between two frames.
        """
        euler = Euler(Duals.of(self.grid().z), Stream(_tensor([self.most_mach]), _tensor([0.0])))
        step = float(euler.stable_step(uniform(euler.duals, euler.stream)).min()) * self.courant / SOUND
        given = f"interval {self.interval:g} with courant number {self.courant:g}"
        few_enough_steps(self.interval / max(step, 1e-300), given, "a shorter interval or a larger courant number")
        short = min(16 * step, self.interval)
        return replace(self, frames=2, interval=short), max(self.frames - 1, 1) * self.interval / short


PRESETS: dict[str, dict[str, int | float]] = {
    "standard": {},
    "quick": {"around": 80, "layers": 20, "far": 50.0, "evenness": 1.0, "first": 2.0, "interval": 0.001},
}
"""Settings of `Airfoil` by the name under which users choose them."""


def march(euler: Euler, state: Tensor, duration: float, courant: float) -> tuple[int, Tensor]:
    """Advance by a duration in equal stretches of steps; how many, and the state after them.

    Raises:
        InputError: the flow has left the states of a gas.
    """
    left, taken = duration, 0
    while left > 0:
        stable = courant * float(euler.stable_step(state).min())
        if not (math.isfinite(stable) and stable > 0):
            raise InputError("the flow has blown up: a smaller --courant, or smaller angles, may keep it a gas")
        count = max(1, math.ceil(left / stable * (1 - 1e-12)))
        for _ in range(min(count, _STEPS_BETWEEN_LOOKS)):
            state = euler.advance(state, left / count)
        taken += min(count, _STEPS_BETWEEN_LOOKS)
        left = left * (1 - _STEPS_BETWEEN_LOOKS / count) if count > _STEPS_BETWEEN_LOOKS else 0.0
    return taken, state


def _frames(euler: Euler, state: Tensor, interval: float, frames: int, courant: float) -> Iterator[tuple[int, Tensor]]:
    yield 0, state
    for _ in range(frames - 1):
        steps, state = march(euler, state, interval, courant)
        yield steps, state


@dataclass(frozen=True)
class Steady:
    """What became of steady flows.

    Attributes:
        lift, drag: coefficients of each.
        residual: Σ |dρ/dt| V of each.
        state: U.
        euler: the equations it obeys.
    """

    lift: list[float]
    drag: list[float]
    residual: list[float]
    state: Tensor
    euler: Euler


def steady(
    airfoil: str,
    streams: Sequence[tuple[float, float]],
    around: int = 128,
    layers: int = 40,
    far: float = 60.0,
    evenness: float = 0.3,
    first: float = 1.0,
    steps: int = 4000,
    levels: int = 2,
    courant: float = 1.2,
    compiled: bool = False,
    progress: Callable[[str, Steady], None] | None = None,
) -> Steady:
    """Steady flows by local time steps, with the point vortex in the far field, from coarse grids to the one wanted.

    Args:
        airfoil: NACA four-digit section.
        streams: (M, α in degrees) of each.
        around, layers, far, evenness, first: as of `Airfoil`.
        steps: local time steps on each grid.
        levels: grids, each of half the nodes along either line of the next.
        courant: share of the longest stable local step.
        compiled: whether the fluxes are compiled (half a minute a grid, then about a third of the time).
        progress: told every 1000 steps where the work is.
    """
    mach, angle = np.array(streams, np.float64).T
    stream = Stream(_tensor(mach), torch.deg2rad(_tensor(angle)), True)
    found = None
    for level in reversed(range(levels)):
        size = around // 2**level, layers // 2**level
        euler = Euler(Duals.of(_grid(airfoil, *size, far, evenness, first).z), stream)
        state = uniform(euler.duals, stream) if found is None else _finer(found.state, *size)
        if compiled:
            euler.rate = torch.compile(euler.rate, dynamic=False)
        for done in range(0, steps, 1000):
            state = _relax(euler, state, min(1000, steps - done), courant)
            lift, drag = euler.force(primitive(state)).tolist()
            residual = (euler.rate(state)[0] * euler.duals.volume).abs().sum((1, 2)).tolist()
            found = Steady(lift, drag, residual, state, euler)
            if progress:
                progress(f"{size[0]} x {size[1]}, {done + 1000} steps", found)
    assert found is not None
    return found


def _relax(euler: Euler, state: Tensor, steps: int, courant: float) -> Tensor:
    """Local time steps."""
    local = torch.zeros(())
    for step in range(steps):
        if step % 10 == 0:
            euler.feel_lift(state)
            local = courant * euler.stable_step(state)
        state = euler.advance(state, local)
    return state


def _finer(state: Float64[Tensor, "4 batch less fewer"], around: int, layers: int) -> Tensor:
    """The state on a grid of more nodes, linear in the numbers of the nodes."""
    closed = torch.cat([state, state[..., :1]], -1)
    return torch.nn.functional.interpolate(closed, (layers, around + 1), mode="bilinear", align_corners=True)[..., :-1]


@lru_cache(maxsize=4)
def _grid(airfoil: str, around: int, layers: int, far: float, evenness: float, first: float) -> OGrid:
    return o_grid(airfoil, around, layers, far, evenness, first)


def _tensor(values: Sequence[float] | Float64[np.ndarray, " n"], device: str = "cpu") -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64, device=device)
