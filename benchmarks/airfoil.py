"""Cost of the Euler solver, eager and compiled, and what the set of the paper's size would take.

    python -P benchmarks/airfoil.py [--out docs/results/airfoil.md] [--validate]

One thread, processor time, the smallest of several runs; ns are per node and stage (a step has three).
With --validate also the steady flows whose lift and drag are known (some minutes a grid).
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from datagen.equations.airfoil.air import SOUND
from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.airfoil.euler import Duals, Euler, Stream, uniform
from datagen.equations.airfoil.marching import march, steady

_PAPER_SAMPLES = 1100


def smallest_time(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds of one call."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def cost_rows(presets: Sequence[str]) -> list[str]:
    """ns per node and stage, by mesh and batch."""
    rows = [
        "| mesh | nodes | flows at once | eager (ns) | compiled (ns) | compiling (s) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for preset in presets:
        recipe = Airfoil(**Airfoil.presets[preset].settings)
        duals = Duals.of(recipe.grid().z)
        nodes = recipe.around * recipe.layers
        for batch in sorted({1, recipe.group("cpu")}):
            mach, angle = torch.linspace(0.2, 0.7, batch), torch.linspace(-0.4, 0.4, batch)
            euler = Euler(duals, Stream(mach.double(), angle.double()))
            state = uniform(duals, euler.stream)
            torch.compiler.reset()
            compiled = torch.compile(euler.rate, dynamic=False)
            begin = time.perf_counter()
            compiled(state)
            waited = time.perf_counter() - begin
            eager, fast = (
                smallest_time(lambda work=work, state=state: work(state), 15) for work in (euler.rate, compiled)
            )
            scale = 1e9 / (nodes * batch)
            rows.append(f"| {preset} | {nodes} | {batch} | {eager * scale:.0f} | {fast * scale:.0f} | {waited:.0f} |")
    return rows


def estimate_rows(presets: Sequence[str]) -> list[str]:
    """Steps that a flow takes, and the time of the whole set."""
    rows = [
        "| mesh | steps of a flow | processor seconds a flow | 1,100 flows, hours of one processor |",
        "|---|---:|---:|---:|",
    ]
    for preset in presets:
        recipe = Airfoil(**Airfoil.presets[preset].settings)
        count = recipe.group("cpu")
        mach, angle = recipe.streams(range(count))
        stream = Stream(torch.tensor(mach), torch.deg2rad(torch.tensor(angle)))
        euler = Euler(Duals.of(recipe.grid().z), stream)
        begin = time.process_time()
        steps, _ = march(euler, uniform(euler.duals, stream), 0.1 * recipe.interval * SOUND, recipe.courant)
        seconds = time.process_time() - begin
        intervals = (recipe.frames - 1) / 0.1
        rows.append(
            f"| {preset} | {steps * intervals:.0f} | {seconds * intervals / count:.0f} | "
            f"{seconds * intervals / count * _PAPER_SAMPLES / 3600:.1f} |"
        )
    return rows


def validation_rows(grids: Sequence[tuple[int, int]]) -> list[str]:
    """Lift and drag of NACA 0012."""
    rows = [
        "| around × layers | M 0.5, 1.25°: CL | CD | M 0.8, 1.25°: CL | CD | M 0.8, 0°: CL |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for around, layers in grids:
        found = steady("0012", [(0.5, 1.25), (0.8, 1.25), (0.8, 0.0)], around, layers, steps=2000, compiled=True)
        rows.append(
            f"| {around} × {layers} | {found.lift[0]:.4f} | {found.drag[0]:.5f} | {found.lift[1]:.4f} | "
            f"{found.drag[1]:.5f} | {found.lift[2]:.1e} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, help="put the tables between its marks <!-- tables --> and <!-- end of tables -->"
    )
    parser.add_argument("--validate", action="store_true", help="also the steady flows whose lift and drag are known")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    presets = ("quick", "standard")
    parts = [cost_rows(presets), estimate_rows(presets)]
    if arguments.validate:
        parts.append(validation_rows([(96, 24), (128, 40), (192, 48)]))
    text = "\n\n".join("\n".join(rows) for rows in parts)
    print(text)
    if arguments.out:
        document = arguments.out.read_text()
        head, _, rest = document.partition("<!-- tables -->")
        _, _, tail = rest.partition("<!-- end of tables -->")
        arguments.out.write_text(f"{head}<!-- tables -->\n\n{text}\n\n<!-- end of tables -->{tail}")


if __name__ == "__main__":
    main()
