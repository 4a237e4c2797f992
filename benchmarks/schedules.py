"""Time of a training step with collisions against a plain one, from the first moment of a run to its last.

    python -P benchmarks/schedules.py [--repeats 7]

Collisions die out during a run, so that what a user waits for is less than what the first step takes
(`benchmarks/collisions.py`). Each network is the shipped one of its equation, untrained, with `--kiti` as it ships: the
rate at a moment is that of its schedules, and a step is forward and backward. Processor time, the smallest of several
in turn with the plain network; a whole run is the sum over ten moments.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time

import torch

from kitipde.collisions import advance, key_noise
from kitipde.config import FNOConfig
from kitipde.config.load import read_config, resolve_config
from kitipde.memory import keep_freed_memory
from kitipde.models.fno import FNO
from kitipde.problem.problem import Domain
from kitipde.training.schedule import learning_rate

# The points and frames that each is timed with.
SHAPES = {"fno-burgers": (20, 1, 1024), "fno-navier-stokes": (20, 10, 32, 32)}
MOMENTS = [0.05 + tenth / 10 for tenth in range(10)]


def step_times(name: str, repeats: int) -> dict[str, list[float]]:
    """Time in ms of a step at each moment, plain and with `--kiti`."""
    keep_freed_memory()
    shape = SHAPES[name]
    data = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    models = {}
    for kind in ("plain", "kiti"):
        config = resolve_config(read_config(name), [f"residual.kind={kind}"])
        assert isinstance(config.model, FNOConfig)
        torch.manual_seed(0)
        models[kind] = FNO(config.model, config.residual, shape[1], 1, Domain.square(shape[-1], len(shape) - 2)), config
        # As in training.
        key_noise(models[kind][0], 0)
    times: dict[str, list[float]] = {kind: [] for kind in models}
    for moment in MOMENTS:
        tried: dict[str, list[float]] = {kind: [] for kind in models}
        for _ in range(repeats + 1):
            for kind, (model, config) in models.items():
                epochs = config.training.epochs
                advance(model, moment, learning_rate(config.schedule, 1.0, moment * epochs, epochs))
                model.zero_grad()
                start = time.process_time()
                model(data).square().mean().backward()
                tried[kind].append(1e3 * (time.process_time() - start))
        for kind, values in tried.items():
            times[kind].append(min(values[1:]))
    return times


def main() -> None:
    """Prints the table, each network timed in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--name", choices=SHAPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.name:
        print(json.dumps(step_times(options.name, options.repeats)))
        return
    print(
        f"{os.cpu_count()}-core {platform.machine()}, one thread, torch {torch.__version__.split('+')[0]}, CPU only\n"
    )
    print("| `--kiti` against plain | " + " | ".join(f"{moment:.0%}" for moment in MOMENTS) + " | whole run |")
    print("|---|" + "---:|" * (len(MOMENTS) + 1))
    for name in SHAPES:
        arguments = ["--name", name, "--repeats", str(options.repeats)]
        done = subprocess.run([sys.executable, "-P", __file__, *arguments], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        ratios = [kiti / plain for kiti, plain in zip(found["kiti"], found["plain"], strict=True)]
        ratios.append(sum(found["kiti"]) / sum(found["plain"]))
        print(f"| {name} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)


if __name__ == "__main__":
    main()
