"""Datasets of compressible flow round an airfoil.

Each sample starts impulsively: at time 0 the air has the velocity of the stream everywhere, the airfoil inside it. A
pressure wave leaves, the circulation grows while the starting vortex drifts away. Mach number and angle of attack are
drawn evenly from their ranges. As in the published set the chord is 1 m and the air that of a standard day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64

from datagen.checks import finite, number_of, positive
from datagen.equations.airfoil.air import DENSITY, GAMMA, PRESSURE, SOUND, TEMPERATURE
from datagen.equations.recipe import Recipe
from datagen.equations.settings import Preset, setting
from datagen.errors import InputError
from datagen.solvers.limits import few_enough_steps, fits_memory
from datagen.solvers.random_fields import sample_seeds
from datagen.store.layout import Coordinate, Layout, Variable, rollout_problem
from datagen.store.ugrid import node_field

if TYPE_CHECKING:
    from datagen.equations.airfoil.o_grid import OGrid

__all__ = ["Airfoil"]

_CACHE_NODES = 6_000
"""Nodes of a batch that a processor's cache holds well."""

_MOST_NODES = 10**7

_MACH = "Mach number, uniformly distributed."
_ANGLE = "Angle of attack in degrees, uniformly distributed."


@dataclass(frozen=True)
class Airfoil(Recipe):
    """A dataset of flows round one airfoil.

    Attributes:
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
    dimension: ClassVar[int] = 2
    presets: ClassVar[Mapping[str, Preset]] = {
        "standard": Preset("5,120 nodes, frames 2 ms apart", {}),
        "quick": Preset(
            "1,600 nodes, 1 ms",
            {"around": 80, "layers": 20, "far": 50.0, "evenness": 1.0, "first": 2.0, "interval": 0.001},
        ),
    }

    airfoil: str = setting("0012", "Four-digit NACA section.", metavar="NACA")
    least_mach: float = setting(0.2, _MACH, option="--mach")
    most_mach: float = setting(0.7, _MACH, option="--mach")
    least_angle: float = setting(-25.0, _ANGLE, option="--angle")
    most_angle: float = setting(25.0, _ANGLE, option="--angle")
    around: int = setting(128, "Nodes on the airfoil.", numerical=True)
    layers: int = setting(40, "Nodes from airfoil to far field.", numerical=True)
    far: float = setting(60.0, "Radius of the far field.", metavar="CHORDS", numerical=True)
    evenness: float = setting(0.3, "How evenly the nodes lie on the airfoil.", option="", numerical=True)
    first: float = setting(1.0, "How high the first cells are.", option="", numerical=True)
    frames: int = setting(26, "Instants stored, the start included.", numerical=True)
    interval: float = setting(0.002, "Time between frames (chord 1 m).", metavar="SECONDS", numerical=True)
    courant: float = setting(1.0, "Share of the longest stable time step.", numerical=True)

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def grid(self) -> "OGrid":
        return _grid(self.airfoil, self.around, self.layers, self.far, self.evenness, self.first)

    def layout(self) -> Layout:
        """The file's mesh, coordinates, variables and attributes."""
        from datagen.equations.airfoil.o_grid import triangulated

        mesh = triangulated(self.grid())
        per_frame = ("sample", "time")
        return Layout(
            equation=self.equation,
            config="",
            geometry=mesh,
            coordinates=(Coordinate("time", self.times, "s", "time since the impulsive start", "T"),),
            variables=(
                Variable(
                    "wall_node",
                    ("wall",),
                    "1",
                    "nodes on the airfoil, from the trailing edge",
                    "int32",
                    role="geometry",
                ),
                node_field("velocity_x", "m s-1", "velocity along x", "velocity"),
                node_field("velocity_y", "m s-1", "velocity along y", "velocity"),
                node_field("density", "kg m-3", "density"),
                node_field("pressure", "Pa", "pressure"),
                Variable("mach", ("sample",), "1", "Mach number of the stream", "float64"),
                Variable("aoa", ("sample",), "degree", "angle of attack", "float64"),
                Variable("lift_coefficient", per_frame, "1", "lift coefficient"),
                Variable("drag_coefficient", per_frame, "1", "drag coefficient"),
                Variable(
                    "pressure_coefficient",
                    (*per_frame, "wall"),
                    "1",
                    "pressure coefficient on the airfoil",
                    role="parameter",
                ),
                Variable("steps", per_frame, "1", "time steps since the frame before", "int32"),
            ),
            attributes={
                "title": f"Euler equations round NACA {self.airfoil}, impulsive start",
                "chord": "1 m, nose at (0, 0)",
                "far_field": f"{self.far:g} chords; Riemann invariants of the stream",
                "stream": f"{TEMPERATURE:g} K, {PRESSURE:g} Pa, {DENSITY:.6g} kg m-3, sound at {SOUND:.6g} m s-1",
                "scheme": "vertex-centred finite volumes on median duals of an O-grid, third-order extrapolation, "
                f"limited, HLLC, SSP-RK3, Courant number {self.courant:g}",
                "precision": "computed in float64, stored in float32",
            },
            shared={"wall_node": np.arange(self.around, dtype=np.int32)},
            more_dimensions={"wall": self.around},
            problem=rollout_problem(("velocity_x", "velocity_y", "density", "pressure"), self.frames, 4, 22),
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
        # Brings torch in, for which a command's help does not wait.
        import torch

        from datagen.equations.airfoil.euler import Duals, Euler, Stream, primitive, uniform
        from datagen.equations.airfoil.marching import float64, frames

        mach, angle = self.streams(indices)
        stream = Stream(float64(mach, device), torch.deg2rad(float64(angle, device)))
        euler = Euler(Duals.of(self.grid().z, device), stream)
        fields, forces, heads, steps = [], [], [], []
        for count, state in frames(
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

    def frame_interval(self) -> float:
        return self.interval

    def causes(self) -> str:
        return f"far field {self.far:g}, interval {self.interval:g} or courant number {self.courant:g}"

    def probe(self) -> tuple["Airfoil", float]:
        """The first sixteen steps or so.

        Raises:
            InputError: there are too many steps between two frames.
        """
        from datagen.equations.airfoil.euler import Duals, Euler, Stream, uniform
        from datagen.equations.airfoil.marching import float64

        euler = Euler(Duals.of(self.grid().z), Stream(float64([self.most_mach]), float64([0.0])))
        step = float(euler.stable_step(uniform(euler.duals, euler.stream)).min()) * self.courant / SOUND
        given = f"interval {self.interval:g} with courant number {self.courant:g}"
        few_enough_steps(self.interval / max(step, 1e-300), given, "a shorter interval or a larger courant number")
        short = min(16 * step, self.interval)
        return replace(self, frames=2, interval=short), max(self.frames - 1, 1) * self.interval / short


@lru_cache(maxsize=4)
def _grid(airfoil: str, around: int, layers: int, far: float, evenness: float, first: float) -> "OGrid":
    from datagen.equations.airfoil.o_grid import o_grid

    return o_grid(airfoil, around, layers, far, evenness, first)
