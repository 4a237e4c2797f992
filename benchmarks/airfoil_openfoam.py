"""Flow round NACA 0012 by OpenFOAM's rhoCentralFoam on the grids of `datagen.equations.airfoil`, to compare with.

    python -P benchmarks/airfoil_openfoam.py write DIR [--mach 0.5 --angle 1.25 --around 96 --layers 24] [--until 0.025]
    export WM_PROJECT_DIR=/usr/share/openfoam        # Debian's package `openfoam`, 1912; elsewhere source its bashrc
    (cd DIR && checkMesh && rhoCentralFoam)
    python -P benchmarks/airfoil_openfoam.py compare DIR [--figure FILE.png]

The quadrilaterals of the O-grid are OpenFOAM's cells. Its solver is an independent one: cell-centred, the central-
upwind flux of Kurganov, Noelle and Petrova, van Leer's limiter, one Euler step in time. Units are those of
`datagen.equations.airfoil.euler`: chord, ρ∞ and a∞ are 1. With --until the case is the impulsive start up to that many
seconds for a chord of 1 m. Without it the case is the steady flow: it begins with ours, far field included, and goes on
for --time chords per a∞, in which OpenFOAM finds its own; from an impulsive start that would take some hundred of them.
`compare` prints lift and drag of both; OpenFOAM's come from the pressure that its wall has, that of the first cells.
"""

import argparse
import json
import math
import re
from pathlib import Path

import numpy as np
import torch

from datagen.equations.airfoil.air import GAMMA, SOUND
from datagen.equations.airfoil.euler import Duals, Euler, Stream, primitive, uniform
from datagen.equations.airfoil.marching import march, steady
from datagen.equations.airfoil.o_grid import o_grid

_FAR = 60.0
_INSTANTS = 26

_CONTROL = """
application rhoCentralFoam;
startFrom startTime; startTime 0; stopAt endTime; endTime {end};
deltaT 1e-6; adjustTimeStep yes; maxCo 0.4; maxDeltaT 1;
writeControl adjustableRunTime; writeInterval {interval}; writePrecision 10; timePrecision 8;
"""
_SCHEMES = """
fluxScheme Kurganov;
ddtSchemes { default Euler; }
gradSchemes { default Gauss linear; }
divSchemes { default none; div(tauMC) Gauss linear; }
laplacianSchemes { default Gauss linear corrected; }
interpolationSchemes { default linear; reconstruct(rho) vanLeer; reconstruct(U) vanLeerV; reconstruct(T) vanLeer; }
snGradSchemes { default corrected; }
"""
_SOLUTION = """
solvers
{
    "(rho|rhoU|rhoE)" { solver diagonal; }
    U { solver smoothSolver; smoother GaussSeidel; tolerance 1e-9; relTol 0.01; }
    e { $U; tolerance 1e-10; relTol 0; }
}
"""
# The gas of which a = 1 where p = 1/γ and ρ = T = 1: R = 1/γ = 8314.47/molWeight, c_p = γR/(γ − 1).
_GAS = """
thermoType
{
    type hePsiThermo; mixture pureMixture; transport const; thermo hConst; equationOfState perfectGas;
    specie specie; energy sensibleInternalEnergy;
}
mixture { specie { molWeight 11640.3; } thermodynamics { Cp 2.5; Hf 0; } transport { mu 0; Pr 1; } }
"""


def write_case(folder: Path, arguments: argparse.Namespace) -> None:
    """The mesh, the gas, the stream and the schemes."""
    z = o_grid("0012", arguments.around, arguments.layers, _FAR).z
    mesh = folder / "constant" / "polyMesh"
    for each in (mesh, folder / "system", folder / "0"):
        each.mkdir(parents=True)
    (folder / "case.json").write_text(
        json.dumps({name: getattr(arguments, name) for name in ("mach", "angle", "around", "layers", "until")})
    )
    _write_mesh(mesh, z)
    constant, system = folder / "constant", folder / "system"
    _write(constant / "thermophysicalProperties", "dictionary", _GAS)
    _write(constant / "turbulenceProperties", "dictionary", "simulationType laminar;")
    end = arguments.time if arguments.until is None else arguments.until * SOUND
    _write(system / "controlDict", "dictionary", _CONTROL.format(end=repr(end), interval=repr(end / (_INSTANTS - 1))))
    _write(system / "fvSchemes", "dictionary", _SCHEMES)
    _write(system / "fvSolution", "dictionary", _SOLUTION)
    if arguments.until is None:
        found = steady(
            "0012",
            [(arguments.mach, arguments.angle)],
            arguments.around,
            arguments.layers,
            _FAR,
            steps=4000,
            compiled=True,
        )
        nodes = primitive(found.state)[:, 0].numpy()
        np.savez(folder / "ours.npz", pressure=nodes[3, 0], lift=found.lift[0], drag=found.drag[0])
    else:
        euler = Euler(Duals.of(z), _stream(arguments.mach, arguments.angle))
        nodes = primitive(uniform(euler.duals, euler.stream))[:, 0].numpy()
    along = nodes + np.roll(nodes, -1, axis=2)
    _write_fields(folder / "0", 0.25 * (along[:, :-1] + along[:, 1:]).reshape(4, -1), 0.5 * along[:, -1])


def _stream(mach: float, angle: float) -> Stream:
    speed, direction = torch.tensor([[mach], [math.radians(angle)]], dtype=torch.float64)
    return Stream(speed, direction)


def _write(path: Path, kind: str, text: str) -> None:
    head = f"FoamFile {{ version 2.0; format ascii; class {kind}; object {path.name}; }}"
    path.write_text(f"{head}\n{text.strip()}\n")


def _write_fields(folder: Path, cells: np.ndarray, far: np.ndarray) -> None:
    """ρ, u, v, p of the cells at the start and of the far field's faces for ever, as U, p and T."""
    kinds = {
        "U": ("vector", "[0 1 -1 0 0 0 0]", "slip", "freestreamVelocity; freestreamValue {}"),
        "p": ("scalar", "[1 -1 -2 0 0 0 0]", "zeroGradient", "freestreamPressure; freestreamValue {}"),
        "T": ("scalar", "[0 0 0 1 0 0 0]", "zeroGradient", "inletOutlet; phi phi; inletValue {}"),
    }
    for name, (kind, unit, wall, outside) in kinds.items():
        start, beyond = (_numbers(name, kind, *each) for each in (cells, far))
        _write(
            folder / name,
            f"vol{kind.capitalize()}Field",
            f"dimensions {unit};\ninternalField {start};\nboundaryField\n{{\nwall {{ type {wall}; }}\n"
            f"far {{ type {outside.format(beyond)}; value {beyond}; }}\nsides {{ type empty; }}\n}}",
        )


def _numbers(name: str, kind: str, density: np.ndarray, u: np.ndarray, v: np.ndarray, pressure: np.ndarray) -> str:
    if name == "U":
        entries = [f"({one:.12g} {other:.12g} 0)" for one, other in zip(u, v, strict=True)]
    else:
        entries = [f"{one:.12g}" for one in (pressure if name == "p" else GAMMA * pressure / density)]
    return f"nonuniform List<{kind}> {len(entries)}({' '.join(entries)})"


def _write_mesh(folder: Path, z: np.ndarray) -> None:
    """A layer of hexahedra, 1 thick; cell j·around + i lies between layers j and j + 1, nodes i and i + 1."""
    layers, around = z.shape
    nodes = np.arange(z.size).reshape(z.shape)
    ahead = np.roll(nodes, -1, axis=1)
    cells = np.arange((layers - 1) * around).reshape(layers - 1, around)
    # Edges P → Q whose right-hand side is away from the owner.
    onwards = np.stack([ahead[1:, :-1], ahead[:-1, :-1], cells[:, :-1], cells[:, 1:]], -1)
    closing = np.stack([nodes[:-1, :1], nodes[1:, :1], cells[:, :1], cells[:, -1:]], -1)
    outwards = np.stack([nodes[1:-1], ahead[1:-1], cells[:-1], cells[1:]], -1)
    inner = np.concatenate([each.reshape(-1, 4) for each in (onwards, closing, outwards)])
    inner = inner[np.lexsort((inner[:, 3], inner[:, 2]))]
    wall = np.stack([ahead[0], nodes[0], cells[0]], -1)
    far = np.stack([nodes[-1], ahead[-1], cells[-1]], -1)
    edges = np.concatenate([inner[:, :3], wall, far])
    upright = np.stack([edges[:, 0], edges[:, 1], edges[:, 1] + z.size, edges[:, 0] + z.size], -1)
    corners = np.stack([nodes[:-1], ahead[:-1], ahead[1:], nodes[1:]], -1).reshape(-1, 4)
    faces = np.concatenate([upright, corners, corners[:, ::-1] + z.size])
    owner = np.concatenate([edges[:, 2], cells.ravel(), cells.ravel()])
    flat = [f"({one.real:.15g} {one.imag:.15g} {height})" for height in (0, 1) for one in z.ravel()]
    quads = [f"4({' '.join(map(str, face))})" for face in faces.tolist()]
    _write(folder / "points", "vectorField", f"{len(flat)}\n(\n" + "\n".join(flat) + "\n)")
    _write(folder / "faces", "faceList", f"{len(quads)}\n(\n" + "\n".join(quads) + "\n)")
    for name, labels in (("owner", owner), ("neighbour", inner[:, 3])):
        _write(folder / name, "labelList", f"{len(labels)}\n(\n" + "\n".join(map(str, labels.tolist())) + "\n)")
    first = len(inner)
    patches = (("wall", "wall", around), ("far", "patch", around), ("sides", "empty", 2 * cells.size))
    lines = []
    for name, kind, count in patches:
        lines.append(f"{name} {{ type {kind}; nFaces {count}; startFace {first}; }}")
        first += count
    _write(folder / "boundary", "polyBoundaryMesh", f"{len(lines)}\n(\n" + "\n".join(lines) + "\n)")


def wall_pressure(path: Path, around: int) -> np.ndarray:
    """Pressure of the cells at the wall, from a field that OpenFOAM has written."""
    found = re.search(r"internalField\s+nonuniform List<scalar>\s+\d+\s*\(([^)]*)\)", path.read_text())
    if found is None:
        raise SystemExit(f"{path} has no field of numbers: has rhoCentralFoam been run?")
    return np.array(found[1].split()[:around], float)


def coefficients(z: np.ndarray, pressure: np.ndarray, mach: float, angle: float) -> tuple[float, float]:
    """c_l and c_d of a pressure on the edges of the airfoil, edge i from node i to i + 1."""
    force = 1j * (pressure * (np.roll(z, -1) - z)).sum() / (0.5 * mach**2) * np.exp(-1j * math.radians(angle))
    return force.imag, force.real


def compare(folder: Path, figure: Path | None) -> None:
    """A table of lift and drag of both codes, and the pressure on the wall in a figure."""
    case = json.loads((folder / "case.json").read_text())
    mach, angle, around, layers = case["mach"], case["angle"], case["around"], case["layers"]
    z = o_grid("0012", around, layers, _FAR).z
    times = [each for each in folder.iterdir() if re.fullmatch(r"[0-9.e+-]+", each.name)]
    times.sort(key=lambda path: float(path.name))
    theirs = [wall_pressure(each / "p", around) for each in times[1:]]
    if case["until"] is None:
        known = np.load(folder / "ours.npz")
        ours = [known["pressure"]]
        print("| code | CL | CD | Cp on the wall: mean, largest difference |\n|---|---:|---:|---:|")
        print(f"| kitipde | {known['lift']:.4f} | {known['drag']:.5f} | |")
        for path, pressure in list(zip(times[1:], theirs, strict=True))[4::5]:
            lift, drag = coefficients(z[0], pressure, mach, angle)
            gap = np.abs(pressure - 0.5 * (ours[0] + np.roll(ours[0], -1))) / (0.5 * mach**2)
            row = f"{lift:.4f} | {drag:.5f} | {gap.mean():.4f}, {gap.max():.4f}"
            print(f"| rhoCentralFoam, {float(path.name):.3g} chords/a∞ later | {row} |")
    else:
        ours = _start(z, mach, angle, case["until"])
        print("| time (s) | CL, kitipde | CL, rhoCentralFoam | CD, kitipde | CD, rhoCentralFoam |")
        print("|---:|---:|---:|---:|---:|")
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True), 1):
            here = coefficients(z[0], 0.5 * (mine + np.roll(mine, -1)), mach, angle)
            there = coefficients(z[0], other, mach, angle)
            time = case["until"] * number / (_INSTANTS - 1)
            print(f"| {time:.4g} | {here[0]:.4f} | {there[0]:.4f} | {here[1]:.4f} | {there[1]:.4f} |")
    if figure:
        _draw(figure, z[0], ours[-1], theirs[-1], mach)


def _start(z: np.ndarray, mach: float, angle: float, until: float) -> list[np.ndarray]:
    """Pressure on the wall in our impulsive start, at OpenFOAM's instants."""
    euler = Euler(Duals.of(z), _stream(mach, angle))
    euler.rate = torch.compile(euler.rate, dynamic=False)
    state, pressures = uniform(euler.duals, euler.stream), []
    for _ in range(_INSTANTS - 1):
        _, state = march(euler, state, until * SOUND / (_INSTANTS - 1), 1.0)
        pressures.append(primitive(state)[3, 0, 0].numpy())
    return pressures


def _draw(path: Path, wall: np.ndarray, ours: np.ndarray, theirs: np.ndarray, mach: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    scale = 0.5 * mach**2
    middle = 0.5 * (wall + np.roll(wall, -1))
    axes.plot(np.real(wall), (ours - 1 / GAMMA) / scale, color="#0072b2", label="kitipde, nodes")
    there = (theirs - 1 / GAMMA) / scale
    axes.plot(np.real(middle), there, ".", color="#d55e00", ms=4, label="rhoCentralFoam, first cells")
    axes.invert_yaxis()
    axes.set_xlabel("x / chord")
    axes.set_ylabel("pressure coefficient")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("write", help="a case for rhoCentralFoam")
    write.add_argument("folder", type=Path)
    write.add_argument("--mach", type=float, default=0.5)
    write.add_argument("--angle", type=float, default=1.25, help="of attack, degrees")
    write.add_argument("--around", type=int, default=96)
    write.add_argument("--layers", type=int, default=24)
    write.add_argument("--until", type=float, help="seconds of an impulsive start, instead of the steady flow")
    write.add_argument("--time", type=float, default=8.0, help="chords per a∞ that the steady flow is given")
    read = verbs.add_parser("compare", help="our flow and the one rhoCentralFoam has left in the folder")
    read.add_argument("folder", type=Path)
    read.add_argument("--figure", type=Path, help="the pressure on the wall at the end")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.verb == "write":
        write_case(arguments.folder, arguments)
    else:
        compare(arguments.folder, arguments.figure)


if __name__ == "__main__":
    main()
