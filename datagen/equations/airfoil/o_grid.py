"""O-grids round NACA four-digit airfoils, by conformal mapping.

The exterior of the airfoil is mapped onto the exterior of the unit circle in two steps. Kármán and Trefftz's map

    (ζ − c)/(ζ + c) = ((z − z_te)/(z − z_in))^{1/n},    n = 2 − τ/π

takes away the corner at the trailing edge (angle τ; z_in lies within the nose), which leaves a curve near to a circle;
Theodorsen's takes that to the circle, log((ζ − ζ₀)/σ) = Σ_{k≥0} C_k σ^{−k}, the coefficients found by iteration with
fast Fourier transforms. Rays and circles of the σ-plane are the grid: smooth and orthogonal up to the trailing edge.
Along the surface the nodes are shifted so that the cells at both edges are not needlessly small, outwards the spacing
grows with each layer.

References:
    J. C. Vassberg, A. Jameson, "In Pursuit of Grid Convergence for Two-Dimensional Euler Solutions", J. Aircraft 47
    (2010). I. H. Abbott, A. E. von Doenhoff, "Theory of Wing Sections" (four-digit sections; closed trailing edge).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float64
from scipy.interpolate import CubicSpline
from scipy.optimize import root_scalar

from datagen.checks import at_least, positive
from datagen.errors import InputError
from datagen.geometry.mesh import NODE_TYPES, Mesh

__all__ = ["OGrid", "naca_contour", "o_grid", "triangulated"]

_CONTOUR_POINTS = 1024
"""On each side, to find the map from."""

_MODES = 1024
"""Points on the circle, twice the number of coefficients C_k."""

_LONGEST_WAVES = 16
"""Waves of the node density along the surface that are kept."""


@dataclass(frozen=True, eq=False)
class OGrid:
    """Nodes z = x + iy of a grid that closes round the airfoil.

    Attributes:
        z: [layers, around]; layer 0 is the airfoil from the trailing edge over the upper side, the last the far field.
    """

    z: Complex128[np.ndarray, "layers around"]

    @property
    def around(self) -> int:
        return self.z.shape[1]

    @property
    def layers(self) -> int:
        return self.z.shape[0]


def naca_contour(code: str, points: int) -> tuple[Complex128[np.ndarray, " contour"], float]:
    """The contour of a four-digit section with closed trailing edge, and the angle τ there.

    y_t = 5t (0.2969√x − 0.1260x − 0.3516x² + 0.2843x³ − 0.1036x⁴), normal to the mean line of camber m at p.

    Args:
        code: such as "0012": m in hundredths, p in tenths, t in hundredths of the chord.
        points: on each side.

    Returns:
        From the trailing edge (1, 0) over the upper side to the nose and back, both ends included.

    Raises:
        InputError: not four digits, or a section that is none.
    """
    if len(code) != 4 or not code.isdecimal():
        raise InputError(f"airfoil '{code}' is no NACA four-digit section (allowed: four digits, such as 0012)")
    m, p, t = int(code[0]) / 100, int(code[1]) / 10, int(code[2:]) / 100
    if not 0.04 <= t <= 0.3 or (m > 0) != (p > 0):
        raise InputError(
            f"airfoil '{code}' cannot be meshed (allowed: thickness 04 to 30; both first digits zero or neither)"
        )
    angle = np.linspace(0, np.pi, points)
    x = 0.5 * (1 + np.cos(angle))
    x[-1] = 0.0
    thickness = 5 * t * (0.2969 * np.sqrt(x) + x * (-0.1260 + x * (-0.3516 + x * (0.2843 - 0.1036 * x))))
    camber, slope = np.zeros_like(x), np.zeros_like(x)
    if m:
        front = x < p
        camber = np.where(front, m / p**2 * (2 * p * x - x**2), m / (1 - p) ** 2 * (1 - 2 * p + 2 * p * x - x**2))
        slope = np.where(front, 2 * m / p**2 * (p - x), 2 * m / (1 - p) ** 2 * (p - x))
    normal = 1j * np.exp(1j * np.arctan(slope))
    line = x + 1j * camber
    upper, lower = line + thickness * normal, line - thickness * normal
    upper[0] = lower[0] = 1.0
    steepness = 5 * t * (0.2969 / 2 - 0.1260 - 2 * 0.3516 + 3 * 0.2843 - 4 * 0.1036)
    return np.concatenate([upper, lower[-2::-1]]), 2 * math.atan(-steepness)


_TOO_FAR = "the section is too far from a circle for the mesh's conformal map"


def o_grid(code: str, around: int, layers: int, far: float, evenness: float = 0.3, first: float = 1.0) -> OGrid:
    """A grid round a section of chord 1.

    Args:
        code: of the section.
        around: nodes on the airfoil.
        layers: of nodes, the airfoil's and the far field's included.
        far: radius of the far field in chords.
        evenness: 0: as the map crowds the nodes, most at both edges; 1: about evenly along the surface.
        first: height of the first cells, in the circle's plane, by their mean width.

    Raises:
        InputError: numbers too small for a grid, or a section that is none.
    """
    at_least("nodes around", around, 16)
    at_least("layers", layers, 8)
    positive("far field", far)
    if far < 2:
        raise InputError(f"far field {far:g} is too near (allowed: 2 chords or more)")
    if not (0 <= evenness <= 1 and 0.2 <= first <= 4):
        raise InputError(f"evenness {evenness:g}, first {first:g} give no grid (allowed: 0 to 1, 0.2 to 4)")
    contour, angle = naca_contour(code, _CONTOUR_POINTS)
    try:
        mapping = _Mapping.of(contour, angle)
    except ValueError as error:
        raise InputError(f"airfoil {code}: {_TOO_FAR}") from error
    places = _surface_places(mapping, around, evenness)
    try:
        radii = _logarithmic_radii(layers, first * 2 * math.pi / around, math.log(far / mapping.radius))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{layers} layers of {around} nodes do not reach a far field of {far:g} chords with cells that grow evenly "
            "from square ones at the airfoil (change layers, around or far)"
        ) from error
    z = mapping.physical(np.exp(radii)[:, None] * np.exp(1j * places))
    z[0, 0] = contour[0]
    grid = OGrid(z)
    if (_areas(triangulated(grid)) <= 0).any():
        raise InputError(f"airfoil {code}: the mesh would fold over itself (allowed: sections less thick or cambered)")
    return grid


def _areas(mesh: Mesh) -> Float64[np.ndarray, " cells"]:
    """Of triangles, positive if their corners go round counter-clockwise."""
    a, b, c = ((mesh.x + 1j * mesh.y)[mesh.cells[:, corner]] for corner in range(3))
    return 0.5 * np.imag(np.conj(b - a) * (c - a))


def triangulated(grid: OGrid) -> Mesh:
    """The nodes, layer after layer, with each quadrilateral cut along its shorter diagonal, counter-clockwise."""
    layers, around = grid.z.shape
    here = np.arange(layers * around).reshape(layers, around)
    a, b = here[:-1], np.roll(here, -1, axis=1)[:-1]
    d, c = here[1:], np.roll(here, -1, axis=1)[1:]
    flat = grid.z.ravel()
    straight = np.abs(flat[c] - flat[a]) <= np.abs(flat[d] - flat[b])
    # Seen from outside the layers run anticlockwise and grow outwards: a, d, c, b is the counter-clockwise order.
    first = np.where(straight[..., None], np.stack([a, d, c], -1), np.stack([a, d, b], -1))
    second = np.where(straight[..., None], np.stack([a, c, b], -1), np.stack([d, c, b], -1))
    cells = np.stack([first, second], 2).reshape(-1, 3).astype(np.int32)
    kinds = np.full((layers, around), NODE_TYPES["normal"], np.int8)
    kinds[0], kinds[-1] = NODE_TYPES["airfoil"], NODE_TYPES["inflow"]
    return Mesh(np.real(flat).copy(), np.imag(flat).copy(), cells, kinds.ravel())


@dataclass(frozen=True, eq=False)
class _Mapping:
    """From the exterior of the unit circle to that of the airfoil."""

    trailing: complex
    inner: complex
    exponent: float
    centre: complex
    coefficients: Complex128[np.ndarray, " modes"]
    start: float

    @classmethod
    def of(cls, contour: Complex128[np.ndarray, " contour"], angle: float) -> "_Mapping":
        trailing, inner, exponent = complex(contour[0]), _within_the_nose(contour), 2 - angle / math.pi
        curve = _without_corner(contour, inner, exponent)
        centre = complex(0.5 * (np.real(curve).max() + np.real(curve).min()), np.imag(curve).mean())
        theta = np.unwrap(np.angle(curve - centre))
        theta -= 2 * np.pi * np.round(theta[0] / (2 * np.pi))
        coefficients = _theodorsen(theta, np.log(np.abs(curve - centre)))
        wave = np.arange(len(coefficients))

        def missed(place: float) -> float:
            return place + float((coefficients * np.exp(-1j * wave * place)).sum().imag) - theta[0]

        # The angle on the circle that becomes the trailing edge.
        start = root_scalar(missed, bracket=(theta[0] - 1.0, theta[0] + 1.0), xtol=1e-15).root
        return cls(trailing, inner, exponent, centre, coefficients, start)

    @property
    def radius(self) -> float:
        """|dz/dσ| at infinity: the radius that the unit circle has in the σ-plane's far field."""
        return math.exp(self.coefficients[0].real)

    def physical(self, sigma: Complex128[np.ndarray, "*shape"]) -> Complex128[np.ndarray, "*shape"]:
        """z of points with |σ| ≥ 1."""
        inverse = 1 / sigma
        total = np.zeros_like(sigma)
        for coefficient in self.coefficients[::-1]:
            total = total * inverse + coefficient
        zeta = self.centre + sigma * np.exp(total)
        half = (self.trailing - self.inner) / (2 * self.exponent)
        root = (zeta - half) / (zeta + half)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.where(np.abs(root) > 0, np.exp(self.exponent * np.log(root)), 0)
        return (self.trailing - self.inner * power) / (1 - power)


def _within_the_nose(contour: Complex128[np.ndarray, " contour"]) -> complex:
    """Half of the nose's radius of curvature behind it, where the curve in the ζ-plane is roundest."""
    middle = len(contour) // 2
    nose, ends = contour[middle], contour[[middle - 12, middle + 12]]
    radius = np.abs(ends[0] - ends[1]) ** 2 / (8 * np.abs(ends.mean() - nose))
    return complex(nose + 0.5 * radius)


def _without_corner(
    contour: Complex128[np.ndarray, " contour"], inner: complex, exponent: float
) -> Complex128[np.ndarray, " curve"]:
    """Kármán and Trefftz's map of a contour; its trailing edge comes first."""
    half = (contour[0] - inner) / (2 * exponent)
    ratio = (contour[1:-1] - contour[0]) / (contour[1:-1] - inner)
    # The branch that is real at the nose, continued along the contour: camber may turn it by more than π.
    turn = np.unwrap(np.angle(ratio))
    turn -= 2 * np.pi * np.round(turn[len(turn) // 2] / (2 * np.pi))
    root = np.abs(ratio) ** (1 / exponent) * np.exp(1j * turn / exponent)
    return np.concatenate([[half], half * (1 + root) / (1 - root)])


def _theodorsen(
    theta: Float64[np.ndarray, " curve"], logarithm: Float64[np.ndarray, " curve"]
) -> Complex128[np.ndarray, " modes"]:
    """C_k of the map from the unit circle to the curve log|ζ − ζ₀| at the angles θ.

    Re F on the circle is the logarithm at θ = φ + Im F, and F = Σ C_k e^{−ikφ} makes Im F of Re F: a fixed point.

    Raises:
        InputError: the iteration does not converge.
    """
    closed = np.append(theta, theta[0] + 2 * np.pi)
    spline = CubicSpline(closed, np.append(logarithm, logarithm[0]), bc_type="periodic")
    phi = 2 * np.pi * np.arange(_MODES) / _MODES
    turned = np.zeros(_MODES)
    for _ in range(300):
        modes = np.fft.fft(spline(phi + turned)) / _MODES
        coefficients = np.concatenate([modes[:1].real, 2 * modes[-1 : _MODES // 2 : -1]])
        change = np.fft.fft(coefficients, _MODES).imag - turned
        turned = turned + 0.7 * change
        if np.abs(change).max() < 1e-12:
            return coefficients
    raise InputError(_TOO_FAR)


def _surface_places(mapping: _Mapping, around: int, evenness: float) -> Float64[np.ndarray, " around"]:
    """Angles on the circle, from the trailing edge on, where |dz/dφ| to the power of the evenness is shared evenly."""
    fine = 16 * around
    angles = mapping.start + 2 * np.pi * np.arange(fine + 1) / fine
    speed = np.abs(np.diff(mapping.physical(np.exp(1j * angles)))) * fine / (2 * np.pi)
    weight = speed**evenness
    # Only the long waves of the weight: the spacing shall change slowly.
    modes = np.fft.rfft(weight)
    weight = np.fft.irfft(modes * np.exp(-((np.arange(len(modes)) / _LONGEST_WAVES) ** 2)), n=fine)
    shared = np.concatenate([[0], np.cumsum(weight)])
    return np.interp(np.arange(around) / around * shared[-1], shared, angles)


def _logarithmic_radii(layers: int, first: float, last: float) -> Float64[np.ndarray, " layers"]:
    """s_j = first (e^{bj} − 1)/b with s at the last layer as given: first cells square, the last ones the longest."""
    steps = layers - 1

    def reached(b: float) -> float:
        return first * (math.expm1(b * steps) / b if abs(b) > 1e-12 else steps) - last

    # As far as e^{b·steps} is a number.
    b = root_scalar(reached, bracket=(-1.0, min(1.0, 700 / max(1, steps))), xtol=1e-15).root
    numbers = np.arange(layers)
    return first * (np.expm1(b * numbers) / b if abs(b) > 1e-12 else numbers.astype(float))
