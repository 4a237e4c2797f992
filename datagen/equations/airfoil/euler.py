"""The Euler equations on the median duals of a grid of quadrilaterals that closes round a body.

    ∂U/∂t + ∇·F(U) = 0,    U = (ρ, ρu, ρv, E),    p = (γ − 1)(E − ½ρ|u|²)

Lengths in chords, density in ρ∞, speed in a∞, so that p∞ = 1/γ. The unknowns are at the nodes. A node's control volume
is bounded by the segments between the centroids of the quadrilaterals round it: two faces along each grid line, whose
normals add to zero, so a uniform flow stays one. States on both sides of a face are extrapolated along the grid line,
q ± ½(a + 2b)/3, where a and b are the differences behind and ahead, along a layer per length of the edge. The change is
kept within ±2|a| and ±2|b|, and to nothing where a and b differ in sign (Koren), but for Kh², which smooth extrema need
(Shu). HLLC gives the flux. It damps a jump Δu of the normal velocity by ρaΔu, which where the air is slow, at the nose
most of all, is far more than the flow's own ρuΔu and makes entropy, hence drag; so that jump is scaled by min(1, M)
before (Thornber et al.; Rieper). The wall passes nothing but pressure.
At the far field the Riemann invariants meet a uniform flow, to which the field of a point vortex may be added.

References:
    E. F. Toro, M. Spruce, W. Speares, "Restoration of the contact surface in the HLL-Riemann solver", Shock Waves 4
    (1994). B. Koren, "A robust upwind discretization method for advection, diffusion and source
    terms", 1993. C.-W. Shu, "TVB uniformly high-order schemes", Math. Comp. 49 (1987). J. L. Thomas, M. D. Salas,
    "Far-field boundary conditions for transonic lifting solutions to the Euler equations", AIAA J. 24 (1986).
    B. Thornber, A. Mosedale, D. Drikakis, D. Youngs, R. J. R. Williams, "An improved reconstruction method for
    compressible flows with low Mach number features", J. Comput. Phys. 227 (2008). F. Rieper, "A low-Mach number fix
    for Roe's approximate Riemann solver", J. Comput. Phys. 230 (2011).
    S. Gottlieb, C.-W. Shu, E. Tadmor, "Strong stability-preserving high-order time discretization methods", SIAM Rev.
    43 (2001).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from datagen.equations.airfoil.air import GAMMA

__all__ = ["Duals", "Euler", "Stream", "conserved", "primitive", "uniform"]

_LEAST_SHARE = 0.2
"""A face's density or pressure below this share of its node's is not believed: the node's own values are taken."""

_SMOOTH = 10.0
"""Factor K of ε = K h², h the length of the edge: differences that small are not limited."""


@dataclass(frozen=True, eq=False)
class Duals:
    """Control volumes of a grid.

    Attributes:
        volume: of each node's.
        along: normals, as long as the faces, between the nodes i and i + 1 of a layer, [2, layers, around].
        across: of the faces between the layers j and j + 1, outwards, [2, layers − 1, around].
        inner, outer: of the edges of the first and the last layer, out of the flow, [2, around].
        edge_along, edge_across: lengths of the edges from node to node.
        x, y: nodes.
    """

    volume: Float64[Tensor, "layers around"]
    along: Float64[Tensor, "2 layers around"]
    across: Float64[Tensor, "2 less around"]
    inner: Float64[Tensor, "2 around"]
    outer: Float64[Tensor, "2 around"]
    edge_along: Float64[Tensor, "layers around"]
    edge_across: Float64[Tensor, "less around"]
    x: Float64[Tensor, "layers around"]
    y: Float64[Tensor, "layers around"]

    @classmethod
    def of(cls, z: Complex128[np.ndarray, "layers around"], device: str = "cpu") -> "Duals":
        """Of a grid whose layers run anticlockwise and lie one outside the other."""
        after = np.roll(z, -1, axis=1)
        centroid = 0.25 * (z[:-1] + after[:-1] + z[1:] + after[1:])
        middle_along, middle_across = 0.5 * (z + after), 0.5 * (z[:-1] + z[1:])
        # The border of a dual: edge middles on the first and last layer, centroids between.
        border = np.concatenate([middle_along[:1], centroid, middle_along[-1:]])
        along = 1j * np.diff(border, axis=0)
        across = -1j * (centroid - np.roll(centroid, 1, axis=1))
        edges = after - z
        volume = np.zeros(z.shape)
        for shift in (0, 1):
            # The quadrilaterals after (0) and before (1) each node, and the halves that belong to it below and above.
            centre, middle = np.roll(centroid, shift, axis=1), np.roll(middle_along, shift, axis=1)
            sign = 1 - 2 * shift
            volume[:-1] += sign * _area(z[:-1], middle_across, centre, middle[:-1])
            volume[1:] += sign * _area(z[1:], middle[1:], centre, middle_across)

        def tensor(values: np.ndarray) -> Tensor:
            if np.iscomplexobj(values):
                values = np.stack([np.real(values), np.imag(values)])
            return torch.from_numpy(np.ascontiguousarray(values, np.float64)).to(device)

        return cls(
            tensor(volume),
            tensor(along),
            tensor(across),
            tensor(1j * edges[0]),
            tensor(-1j * edges[-1]),
            tensor(np.abs(edges)),
            tensor(np.abs(np.diff(z, axis=0))),
            tensor(np.real(z)),
            tensor(np.imag(z)),
        )


@dataclass(frozen=True, eq=False)
class Stream:
    """The uniform flow far away, of each of a batch.

    Attributes:
        mach: M.
        angle: α in radians.
        vortex: whether the circulation that the lift tells is felt at the far field. It is when the flow is steady;
            soon after a start from uniform flow the starting vortex cancels it.
    """

    mach: Float64[Tensor, " batch"]
    angle: Float64[Tensor, " batch"]
    vortex: bool = False


class Euler:
    """Fluxes and time steps on one grid for a batch of streams.

    Args:
        duals: the grid.
        stream: far away.
        wall: whether the first layer is a wall; else it is a far field too.
    """

    def __init__(self, duals: Duals, stream: Stream, wall: bool = True) -> None:
        self.duals, self.stream, self.wall = duals, stream, wall
        self._lift = torch.zeros_like(stream.mach)[:, None]
        edge = duals.edge_along
        # Differences behind and ahead of a face, as they would be over the face's own edge.
        self._along_behind, self._along_ahead = edge / edge.roll(1, -1), edge / edge.roll(-1, -1)
        self._along_small = _SMOOTH * edge.clamp(max=1) ** 2
        edge = duals.edge_across
        self._across_small = _SMOOTH * edge.clamp(max=1) ** 2
        self._along_length, self._across_length = duals.along.norm(dim=0), duals.across.norm(dim=0)
        self._along_unit, self._across_unit = duals.along / self._along_length, duals.across / self._across_length
        self._spectral_i = 0.5 * (duals.along + duals.along.roll(1, -1))
        pad = torch.cat([-duals.inner[:, None], duals.across, duals.outer[:, None]], 1)
        self._spectral_j = 0.5 * (pad[:, 1:] + pad[:, :-1])

    def rate(self, state: Float64[Tensor, "4 batch layers around"]) -> Float64[Tensor, "4 batch layers around"]:
        """∂U/∂t."""
        fields = primitive(state)
        flux = self._flux_along(fields)
        gathered = flux.roll(1, -1) - flux
        flux = self._flux_across(fields)
        gathered[:, :, :-1] -= flux
        gathered[:, :, 1:] += flux
        outward = self._far(fields[:, :, -1], self.duals.outer, -1)
        gathered[:, :, -1] -= outward
        gathered[:, :, 0] -= self.inner_flux(fields)
        return gathered / self.duals.volume

    def inner_flux(self, fields: Float64[Tensor, "4 batch layers around"]) -> Float64[Tensor, "4 batch around"]:
        """What leaves through the first layer, by node: pressure alone at a wall."""
        if not self.wall:
            return self._far(fields[:, :, 0], self.duals.inner, 0)
        pressure = fields[3, :, 0]
        after = pressure.roll(-1, -1)
        normal = 0.5 * self.duals.inner[:, None]
        # Pressure is linear on an edge: either half takes its value at a quarter of it.
        here = (0.75 * pressure + 0.25 * after) * normal
        there = ((0.25 * pressure + 0.75 * after) * normal).roll(1, -1)
        nothing = torch.zeros_like(pressure)
        force = here + there
        return torch.stack([nothing, force[0], force[1], nothing])

    def outer_flux(self, fields: Float64[Tensor, "4 batch layers around"]) -> Float64[Tensor, "4 batch around"]:
        """What leaves through the far field, by node."""
        return self._far(fields[:, :, -1], self.duals.outer, -1)

    def force(self, fields: Float64[Tensor, "4 batch layers around"]) -> Float64[Tensor, "2 batch"]:
        """Coefficients of lift and drag, c_l and c_d, of the pressure on the first layer."""
        leaves = self.inner_flux(fields)[1:3].sum(-1)
        head = 0.5 * self.stream.mach**2
        cosine, sine = torch.cos(self.stream.angle), torch.sin(self.stream.angle)
        lift = leaves[1] * cosine - leaves[0] * sine
        drag = leaves[0] * cosine + leaves[1] * sine
        return torch.stack([lift, drag]) / head

    def stable_step(self, state: Float64[Tensor, "4 batch layers around"]) -> Float64[Tensor, "batch layers around"]:
        """V/(Λ_i + Λ_j), Λ the spectral radius |u·n| + a|n| of the mean faces of a control volume."""
        density, u, v, pressure = primitive(state)
        sound = (GAMMA * pressure / density).sqrt()
        total = torch.zeros_like(sound)
        for nx, ny in (self._spectral_i, self._spectral_j):
            total = total + (u * nx + v * ny).abs() + sound * torch.hypot(nx, ny)
        return self.duals.volume / total

    def advance(self, state: Tensor, step: Tensor | float) -> Tensor:
        """One step of the strong-stability-preserving Runge–Kutta method of third order (Shu and Osher)."""
        first = state + step * self.rate(state)
        second = 0.75 * state + 0.25 * (first + step * self.rate(first))
        return (state + 2 * (second + step * self.rate(second))) / 3

    def _flux_along(self, fields: Tensor) -> Tensor:
        difference = fields.roll(-1, -1) - fields
        behind = difference.roll(1, -1) * self._along_behind
        ahead = difference.roll(-1, -1) * self._along_ahead
        left = _extrapolated(fields, behind, difference, self._along_small, 0.5)
        right = _extrapolated(fields.roll(-1, -1), ahead, difference, self._along_small, -0.5)
        if self.wall:
            left, right = _lifted(left), _lifted(right)
        return _hllc(*_calmed(left, right, self._along_unit), self._along_unit) * self._along_length

    def _flux_across(self, fields: Tensor) -> Tensor:
        difference = fields[:, :, 1:] - fields[:, :, :-1]
        # At either end there is nothing behind or ahead: the difference itself is continued. The layers grow steadily,
        # so that numbers of layers do for lengths; taking lengths makes waves between the far layers nearly undamped.
        behind = torch.cat([difference[:, :, :1], difference[:, :, :-1]], 2)
        ahead = torch.cat([difference[:, :, 1:], difference[:, :, -1:]], 2)
        left = _extrapolated(fields[:, :, :-1], behind, difference, self._across_small, 0.5)
        right = _extrapolated(fields[:, :, 1:], ahead, difference, self._across_small, -0.5)
        return _hllc(*_calmed(left, right, self._across_unit), self._across_unit) * self._across_length

    def _far(self, inside: Tensor, edges: Tensor, layer: int) -> Tensor:
        """Flux through half of both edges at each node, out of the flow."""
        normal = 0.5 * (edges + edges.roll(1, -1))
        length = normal.norm(dim=0)
        nx, ny = normal / length
        density, u, v, pressure = inside
        far_density, far_u, far_v, far_pressure = self._stream_at(layer, inside)
        sound = (GAMMA * pressure / density).sqrt()
        far_sound = (GAMMA * far_pressure / far_density).sqrt()
        speed, far_speed = u * nx + v * ny, far_u * nx + far_v * ny
        leaving = speed + 2 / (GAMMA - 1) * sound
        entering = far_speed - 2 / (GAMMA - 1) * far_sound
        speed_there = 0.5 * (leaving + entering)
        sound_there = 0.25 * (GAMMA - 1) * (leaving - entering)
        out = speed_there > 0
        entropy = torch.where(out, pressure / density**GAMMA, far_pressure / far_density**GAMMA)
        change = speed_there - torch.where(out, speed, far_speed)
        u_there, v_there = torch.where(out, u, far_u) + change * nx, torch.where(out, v, far_v) + change * ny
        density_there = (sound_there**2 / (GAMMA * entropy)) ** (1 / (GAMMA - 1))
        pressure_there = density_there * sound_there**2 / GAMMA
        there = torch.stack([density_there, u_there, v_there, pressure_there])
        return _flux(there, nx, ny, speed_there) * length

    def _stream_at(self, layer: int, inside: Tensor) -> Tensor:
        """The far flow at the nodes of a layer."""
        mach, angle = self.stream.mach[:, None], self.stream.angle[:, None]
        u = (mach * torch.cos(angle)).expand_as(inside[0])
        v = (mach * torch.sin(angle)).expand_as(inside[0])
        if not (self.stream.vortex and self.wall):
            one = torch.ones_like(u)
            return torch.stack([one, u, v, one / GAMMA])
        x, y = self.duals.x[layer] - 0.25, self.duals.y[layer]
        around = torch.atan2(y, x)
        root = (1 - mach**2).sqrt()
        swirl = self._lift * mach * root / (4 * math.pi * torch.hypot(x, y))
        swirl = swirl / (1 - (mach * torch.sin(around - angle)) ** 2)
        u, v = u + swirl * torch.sin(around), v - swirl * torch.cos(around)
        squared = 1 + 0.5 * (GAMMA - 1) * (mach**2 - u**2 - v**2)
        density = squared ** (1 / (GAMMA - 1))
        return torch.stack([density, u, v, density * squared / GAMMA])

    def feel_lift(self, state: Tensor) -> None:
        """Take over the lift of a state for the vortex of the far field."""
        self._lift = self.force(primitive(state))[0][:, None]


def uniform(duals: Duals, stream: Stream) -> Float64[Tensor, "4 batch layers around"]:
    """U of the stream everywhere."""
    u, v = stream.mach * torch.cos(stream.angle), stream.mach * torch.sin(stream.angle)
    one = torch.ones_like(u)
    fields = torch.stack([one, u, v, one / GAMMA])[..., None, None]
    return conserved(fields.expand(-1, -1, *duals.volume.shape))


def primitive(state: Float64[Tensor, "4 *shape"]) -> Float64[Tensor, "4 *shape"]:
    """(ρ, u, v, p) of U."""
    density, along, across, energy = state
    u, v = along / density, across / density
    return torch.stack([density, u, v, (GAMMA - 1) * (energy - 0.5 * (along * u + across * v))])


def conserved(fields: Float64[Tensor, "4 *shape"]) -> Float64[Tensor, "4 *shape"]:
    """U of (ρ, u, v, p)."""
    density, u, v, pressure = fields
    energy = pressure / (GAMMA - 1) + 0.5 * density * (u**2 + v**2)
    return torch.stack([density, density * u, density * v, energy])


def _area(*corners: Complex128[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    total = sum(np.conj(one) * other for one, other in zip(corners, corners[1:] + corners[:1], strict=True))
    return 0.5 * np.imag(total)


def _extrapolated(fields: Tensor, behind: Tensor, ahead: Tensor, small: Tensor, half: float) -> Tensor:
    """States at a face from one side: a third-order formula, limited."""
    bound = torch.where(behind * ahead > 0, 2 * torch.minimum(behind.abs(), ahead.abs()), small)
    bound = torch.maximum(bound, small)
    change = half * torch.clamp((behind + 2 * ahead) / 3, -bound, bound)
    there = fields + change
    sound = ((there[0] > _LEAST_SHARE * fields[0]) & (there[3] > _LEAST_SHARE * fields[3])).to(fields.dtype)
    return fields + change * sound


def _lifted(states: Tensor) -> Tensor:
    """States at the middle of the faces of the wall's volumes, a quarter of the way to the next layer."""
    return torch.cat([0.75 * states[:, :, :1] + 0.25 * states[:, :, 1:2], states[:, :, 1:]], 2)


def _calmed(left: Tensor, right: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """States whose normal velocities differ by min(1, M) times as much, M the larger Mach number of both."""
    nx, ny = normal
    squared = torch.maximum(*((u**2 + v**2) * density / (GAMMA * p) for density, u, v, p in (left, right)))
    share = 0.5 - 0.5 * squared.clamp(max=1).sqrt()
    nearer = share * ((right[1] - left[1]) * nx + (right[2] - left[2]) * ny)
    x, y = nearer * nx, nearer * ny
    return (
        torch.stack([left[0], left[1] + x, left[2] + y, left[3]]),
        torch.stack([right[0], right[1] - x, right[2] - y, right[3]]),
    )


def _flux(fields: Tensor, nx: Tensor, ny: Tensor, speed: Tensor) -> Tensor:
    """F·n for a unit normal, with speed = u·n."""
    density, u, v, pressure = fields
    mass = density * speed
    energy = pressure / (GAMMA - 1) + 0.5 * density * (u**2 + v**2)
    return torch.stack([mass, mass * u + pressure * nx, mass * v + pressure * ny, (energy + pressure) * speed])


def _hllc(left: Tensor, right: Tensor, normal: Tensor) -> Tensor:
    """The flux of HLLC through faces of unit normal, with Roe's averages for the outer wave speeds (Batten et al.)."""
    nx, ny = normal
    dl, ul, vl, pl = left
    dr, ur, vr, pr = right
    speed_l, speed_r = ul * nx + vl * ny, ur * nx + vr * ny
    sound_l, sound_r = (GAMMA * pl / dl).sqrt(), (GAMMA * pr / dr).sqrt()
    weight = 1 / (1 + (dr / dl).sqrt())
    u, v = ur + weight * (ul - ur), vr + weight * (vl - vr)
    head_l, head_r = 0.5 * (ul**2 + vl**2), 0.5 * (ur**2 + vr**2)
    total_l, total_r = sound_l**2 / (GAMMA - 1) + head_l, sound_r**2 / (GAMMA - 1) + head_r
    total = total_r + weight * (total_l - total_r)
    speed = u * nx + v * ny
    sound = ((GAMMA - 1) * (total - 0.5 * (u**2 + v**2))).clamp(min=1e-12).sqrt()
    slow, fast = torch.minimum(speed_l - sound_l, speed - sound), torch.maximum(speed_r + sound_r, speed + sound)
    push_l, push_r = dl * (slow - speed_l), dr * (fast - speed_r)
    middle = (pr - pl + push_l * speed_l - push_r * speed_r) / (push_l - push_r)
    # Only the side from which the middle wave comes matters.
    forward = middle >= 0
    d, u, v, p = torch.where(forward, left, right)
    speed = torch.where(forward, speed_l, speed_r)
    edge = torch.where(forward, slow, fast)
    energy = d * torch.where(forward, total_l, total_r) - p
    inside = torch.where(forward, slow < 0, fast > 0)
    share = (edge - speed) / (edge - middle)
    pull = torch.where(inside, edge, torch.zeros_like(edge))
    # U* − U of the chosen side.
    d_star = d * share
    jump = middle - speed
    mass = d * speed
    energy_star = share * (energy + jump * (d * middle + p / (edge - speed)))
    return torch.stack(
        [
            mass + pull * (d_star - d),
            mass * u + p * nx + pull * (d_star * (u + jump * nx) - d * u),
            mass * v + p * ny + pull * (d_star * (v + jump * ny) - d * v),
            (energy + p) * speed + pull * (energy_star - energy),
        ]
    )
