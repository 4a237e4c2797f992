"""What denormal numbers cost: a step of training as a run goes on, with them and with zeros in their place.

    python -P benchmarks/denormals.py [--steps 3200] [--points 64]

The network and the optimizer are those of `paper-fno-burgers`, Adam with its weight decay in the gradient, on random
waves and their derivatives. Weights that the data do not need become smaller without end. The table has the median
processor time of a step in each eighth of the run, and the share of denormal weights at its end; each way has a
process of its own.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import torch
from torch import Tensor

from kitipde.config import FNOConfig
from kitipde.config.load import read_config, resolve_config
from kitipde.denormals import denormals_flushed
from kitipde.memory import keep_freed_memory
from kitipde.models.fno import FNO
from kitipde.problem.problem import Domain
from kitipde.training.losses import SMALLEST, relative_l2

PARTS = 8
WAYS = ("kept", "flushed")


def waves(samples: int, points: int) -> tuple[Tensor, Tensor]:
    """Random fields of a few modes, and their derivatives."""
    generator = torch.Generator().manual_seed(0)
    modes = torch.arange(1, 7)
    spectrum = torch.randn(samples, 6, 2, generator=generator) / modes[:, None] ** 2
    angle = 2 * torch.pi * modes[:, None] * torch.arange(points) / points
    cosine, sine = angle.cos(), angle.sin()
    a, b = spectrum.unbind(-1)
    return (a @ cosine + b @ sine)[:, None], ((b * modes) @ cosine - (a * modes) @ sine)[:, None]


def step_times(steps: int, points: int) -> dict[str, list[float]]:
    """Milliseconds a step, part by part of the run, and the share of denormal weights at its end."""
    keep_freed_memory()
    config = resolve_config(read_config("paper-fno-burgers"), [])
    assert isinstance(config.model, FNOConfig)
    settings, batch = config.optimizer, config.training.batch_size
    inputs, targets = waves(200, points)
    torch.manual_seed(0)
    model = FNO(config.model, config.residual, 1, 1, Domain.square(points, 1))
    optimizer = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    scale, floor = torch.ones(1), torch.full((1,), SMALLEST)
    times: list[float] = []
    rows: list[float] = []
    denormal: list[float] = []
    for step in range(steps):
        chosen = torch.arange(step * batch, (step + 1) * batch) % len(inputs)
        start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        relative_l2(model(inputs[chosen])[:, None], targets[chosen][:, None], scale, floor).sum().backward()
        optimizer.step()
        times.append(1e3 * (time.process_time() - start))
        if (step + 1) % (steps // PARTS) == 0:
            rows.append(statistics.median(times))
            times.clear()
            denormal.append(_denormal_share(model))
    return {"ms": rows, "denormal": denormal}


def _denormal_share(model: torch.nn.Module) -> float:
    weights = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    # As integers, which no setting of the processor flushes.
    bits = weights.view(torch.int32) & 0x7FFFFFFF
    return float(((bits > 0) & (bits < 0x00800000)).float().mean())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.way:
        with denormals_flushed() if options.way == "flushed" else nullcontext():
            print(json.dumps(step_times(options.steps, options.points)))
        return
    print(
        f"{os.cpu_count()}-core {platform.machine()}, one thread, torch {torch.__version__.split('+')[0]}, CPU only\n"
    )
    ends = [f"step {part * (options.steps // PARTS)}" for part in range(1, PARTS + 1)]
    print("| denormal numbers | | " + " | ".join(ends) + " |")
    print("|---|---|" + "---:|" * PARTS)
    for way in WAYS:
        arguments = ["--way", way, "--steps", str(options.steps), "--points", str(options.points)]
        done = subprocess.run([sys.executable, "-P", __file__, *arguments], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"| {way} | ms a step | " + " | ".join(f"{each:.1f}" for each in found["ms"]) + " |", flush=True)
        print("| | weights | " + " | ".join(f"{each:.1%}" for each in found["denormal"]) + " |", flush=True)


if __name__ == "__main__":
    main()
