"""Cost and error of our solvers against the original generators, exponax and torch-cfd.

    pip install --target /tmp/peers exponax==0.2.0 torch-cfd==0.2.6
    python -P benchmarks/datagen.py --peers /tmp/peers --out docs/results/datagen.md

Without --peers, or with a peer that is not there, its rows are left out with a line that says so. Everything runs in
float64 on one thread; times are processor time, the smallest of several runs, so that other work on the machine falls
out as far as it can. Costs are per sample and per unit of simulated time. Errors are relative L2, the largest over the
frames and samples, against the same equation solved with much smaller steps.

The original generators are written here from their papers' description: for Navier–Stokes Crank–Nicolson for viscosity
and forward Euler for the rest, five transforms a step, dt = 1e-4; for Burgers exact diffusion and a forward Euler step
for the rest, dt = 1e-4, 8192 points.
"""

import argparse
import importlib
import importlib.util
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch and JAX read them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_ENABLE_X64", "1")

import numpy as np
import torch
from torch import Tensor

from datagen.solvers import burgers
from datagen.solvers.etdrk4 import ETDRK4
from datagen.solvers.navier_stokes import VorticityEquation, published_forcing, solve
from datagen.solvers.random_fields import burgers_spectrum, gaussian_field_1d, gaussian_field_2d, vorticity_spectrum


@dataclass(frozen=True)
class Row:
    case: str
    scheme: str
    milliseconds: float
    error: float | None
    ratio: str = ""


def smallest_time(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds of one call."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def relative(one: Tensor, other: Tensor) -> float:
    axes = tuple(range(1, other.ndim))
    return float(((one - other).square().sum(axes) / other.square().sum(axes)).sqrt().max())


class OriginalNavierStokes:
    """(1 + ½dt ν κ²) ω̂' = (1 − ½dt ν κ²) ω̂ + dt (f̂ − F(u·∇ω)), the products with the 2/3 rule."""

    def __init__(self, points: int, viscosity: float, step: float) -> None:
        kx = 2 * math.pi * torch.fft.fftfreq(points, 1 / points, dtype=torch.float64)[:, None]
        ky = 2 * math.pi * torch.arange(points // 2 + 1, dtype=torch.float64)
        squared = kx**2 + ky**2
        inverse = torch.where(squared > 0, 1 / squared.clamp(min=1e-9), 0)
        self.points, self.step = points, step
        self.parts = torch.stack((1j * ky * inverse, -1j * kx * inverse, 1j * kx + 0 * ky, 1j * ky + 0 * kx))[:, None]
        edge = 2 * math.pi * points / 3
        self.kept = ((kx.abs() < edge) & (ky < edge)).double()
        self.keep, self.take = 1 - 0.5 * step * viscosity * squared, 1 / (1 + 0.5 * step * viscosity * squared)
        self.forcing = torch.fft.rfft2(published_forcing(points))

    def advance(self, modes: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            u, v, along, across = torch.fft.irfft2(self.parts * modes, s=(self.points, self.points))
            advection = self.kept * torch.fft.rfft2(u * along + v * across)
            modes = self.take * (self.keep * modes + self.step * (self.forcing - advection))
        return modes


def original_burgers(initial: Tensor, steps: int, step: float, viscosity: float, length: float) -> Tensor:
    points = initial.shape[-1]
    wavenumbers = 2 * math.pi / length * torch.arange(points // 2 + 1, dtype=torch.float64)
    decay, slope = torch.exp(-viscosity * wavenumbers**2 * step), -0.5j * step * wavenumbers
    modes = torch.fft.rfft(initial)
    for _ in range(steps):
        modes = decay * (modes + slope * torch.fft.rfft(torch.fft.irfft(modes, n=points) ** 2))
    return torch.fft.irfft(modes, n=points)


def start(points: int, samples: int) -> Tensor:
    return torch.from_numpy(gaussian_field_2d(range(samples), points, vorticity_spectrum("published")))


def burgers_rows() -> list[Row]:
    rows = []
    for name, length in (("(0, 1)", 1.0), ("(0, 2π)", 2 * math.pi)):
        fields = torch.from_numpy(gaussian_field_1d(range(200), 8192, burgers_spectrum, 1024))
        one = fields[:1]
        exact = burgers.cole_hopf(one, [1.0], 0.1, length)[:, 0]
        slow = smallest_time(lambda one=one, length=length: original_burgers(one, 50, 1e-4, 0.1, length), 5) / 50 * 1e4
        error = relative(original_burgers(one, 10000, 1e-4, 0.1, length), exact)
        # Formula and time stepping, nothing in common, bound each other's error.
        check = burgers.etdrk4(one, [1.0], 0.1, length, largest_step=2e-4)[:, 0]

        def ours(fields: Tensor = fields, length: float = length) -> None:
            for field in fields:
                # With what is stored of how well the grid resolves them.
                burgers.tail(burgers.solve(field[None], [1.0], 0.1, length)[0])

        fast = smallest_time(ours, 2) / len(fields)
        case = f"Burgers, 8192 points, ν = 0.1, x in {name}"
        rows.append(Row(case, "original: split Euler, dt 1e-4", 1e3 * slow, error))
        rows.append(Row(case, "ours, mean of 200 samples", 1e3 * fast, relative(exact, check), f"{slow / fast:.0f}×"))
    return rows


def flow_rows(
    points: int, viscosity: float, duration: int, finer: int, with_error: bool, tolerance: float = 1e-7
) -> list[Row]:
    (before, initial), times = start(points, 2).split(1), [float(time) for time in range(1, duration + 1)]
    original = OriginalNavierStokes(points, viscosity, 1e-4)
    modes = torch.fft.rfft2(initial)
    count = max(4, 2**18 // points**2)
    slow = smallest_time(lambda: original.advance(modes, count), 8) / count * 1e4

    equation = VorticityEquation(points, viscosity, forcing=published_forcing(points))
    # As in a dataset: the coefficients of the steps are there from the sample before.
    list(solve(equation, before, times, tolerance))
    begin = time.process_time()
    frames = list(solve(equation, initial, times, tolerance))
    fast = (time.process_time() - begin) / duration
    reference = [frame.vorticity for frame in solve(equation, initial, times, step=1 / finer)]
    ours = max(relative(frame.vorticity, exact) for frame, exact in zip(frames, reference, strict=True))
    theirs = None
    if with_error:
        later = torch.fft.irfft2(original.advance(modes, 10000), s=(points, points))
        theirs = relative(later, reference[0])
    case = f"Navier–Stokes {points}², ν = {viscosity:g}, t ≤ {duration}"
    steps = sum(frame.steps for frame in frames) / duration
    return [
        Row(case, "original: Crank–Nicolson + Euler, dt 1e-4", 1e3 * slow, theirs),
        Row(
            case,
            f"ours, tolerance {tolerance:g}: {steps:.0f} steps a unit of time",
            1e3 * fast,
            ours,
            f"{slow / fast:.0f}×",
        ),
    ]


def step_rows(points: int, samples: int) -> list[Row]:
    """One step of length 0.1 without forcing, ours and exponax's, in turns."""
    initial = start(points, samples)
    equation = VorticityEquation(points, 1e-3)
    scheme = ETDRK4.of(-1e-3 * equation.squared, 0.1)
    count = max(5, 2**17 // points**2)

    def ours() -> Tensor:
        modes = equation.to_modes(initial)
        for _ in range(count):
            modes = scheme.step(modes, equation.explicit)
        return equation.to_grid(modes)

    exponax, jax = importlib.import_module("exponax"), importlib.import_module("jax")
    stepper = exponax.stepper.NavierStokesVorticity(
        2, 1.0, points, 0.1, diffusivity=1e-3, order=4, vorticity_convection_scale=-1.0
    )
    many = jax.jit(jax.vmap(exponax.repeat(stepper, count)))
    array = jax.numpy.asarray(initial.numpy()[:, None])

    def theirs() -> Any:
        return many(array).block_until_ready()

    difference = relative(torch.from_numpy(np.array(theirs())[:, 0]), ours())
    pairs = [(smallest_time(ours, 1), smallest_time(theirs, 1)) for _ in range(12)]
    mine, peer = (min(times) / count / samples for times in zip(*pairs, strict=True))
    case = f"one step, {points}², {samples} at once"
    return [
        Row(case, "exponax 0.2.0, ETDRK4", 1e3 * peer, None),
        Row(case, "ours", 1e3 * mine, difference, f"{mine / peer:.2f}× its time"),
    ]


def torch_cfd_rows(points: int) -> list[Row]:
    """Its cheapest step that reaches our error at t = 5, without forcing."""
    grids, spectral = importlib.import_module("torch_cfd.grids"), importlib.import_module("torch_cfd.spectral")
    initial, times = start(points, 1), [1.0, 2.0, 3.0, 4.0, 5.0]
    equation = VorticityEquation(points, 1e-3)
    exact = list(solve(equation, initial, times, step=1 / 80))[-1].vorticity
    mine = relative(list(solve(equation, initial, times))[-1].vorticity, exact)
    fast = smallest_time(lambda: list(solve(equation, initial, times)), 5) / 5
    torch.set_default_dtype(torch.float64)
    peer = spectral.NavierStokes2DSpectral(
        1e-3, grids.Grid((points, points), domain=((0, 1), (0, 1))), step_fn=spectral.RK4CrankNicolsonStepper()
    )
    rows = []
    for steps in (10, 20, 40, 80, 160):

        def theirs(steps: int = steps) -> Tensor:
            return peer(torch.fft.rfft2(initial), 1 / steps, steps=5 * steps)[0]

        error = relative(torch.fft.irfft2(theirs(), s=(points, points)), exact)
        if error <= 2 * mine or steps == 160:
            slow = smallest_time(theirs, 2) / 5
            case = f"Navier–Stokes {points}², ν = 0.001, unforced, t = 5"
            rows.append(Row(case, f"torch-cfd 0.2.6, RK4 + Crank–Nicolson, dt {1 / steps:g}", 1e3 * slow, error))
            rows.append(Row(case, "ours", 1e3 * fast, mine, f"{slow / fast:.1f}×"))
            break
    torch.set_default_dtype(torch.float32)
    return rows


def table(rows: list[Row]) -> str:
    lines = [
        "| case | scheme | ms per unit of time and sample | error | ours against it |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        error = "" if row.error is None else f"{row.error:.1e}"
        lines.append(f"| {row.case} | {row.scheme} | {row.milliseconds:.3g} | {error} | {row.ratio} |")
    return "\n".join(lines)


def available(name: str) -> bool:
    if importlib.util.find_spec(name) is not None:
        return True
    print(f"{name} is not there; see the head of this file for how to add it", file=sys.stderr)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost and error of the data solvers.")
    parser.add_argument("--peers", type=Path, help="folder made by `pip install --target`")
    parser.add_argument("--out", type=Path, help="write the table into this file, after its last line '## Table'")
    arguments = parser.parse_args()
    if arguments.peers:
        sys.path.append(str(arguments.peers))
    torch.set_num_threads(1)

    rows: list[Row] = []

    def add(more: list[Row]) -> None:
        rows.extend(more)
        for row in more:
            print(row, file=sys.stderr, flush=True)

    if available("exponax"):
        for points, samples in ((64, 1), (64, 8), (128, 2), (256, 1)):
            add(step_rows(points, samples))
    if available("torch_cfd"):
        add(torch_cfd_rows(64))
        add(torch_cfd_rows(256))
    add(burgers_rows())
    add(flow_rows(64, 1e-3, 10, 80, with_error=True))
    for viscosity, finer, tolerance in ((1e-3, 50, 1e-7), (1e-4, 160, 1e-7), (1e-5, 240, 1e-7), (1e-5, 240, 2e-6)):
        add(flow_rows(256, viscosity, 10, finer, with_error=False, tolerance=tolerance))
    text = f"{table(rows)}\n\ntorch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}.\n"
    print(text)
    if arguments.out:
        before = arguments.out.read_text().split("## Table")[0] if arguments.out.exists() else ""
        arguments.out.write_text(f"{before}## Table\n\n{text}")


if __name__ == "__main__":
    main()
