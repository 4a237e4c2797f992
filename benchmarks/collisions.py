"""Time and memory of collisions: ours against the textbook N×N×d form, and the overhead on a training step.

    python -P benchmarks/collisions.py --out docs/results/collisions.md

The textbook form is equations (2)-(5) as they stand, with tensors of shape [samples, N, N, d] for differences, centres
of mass and directions. Each case runs in a process of its own, so that its peak memory is its own; times are processor
time, forward and backward, the smallest of several runs. Features are smooth random fields.
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kitipde.collisions import collect, key_noise, make_residual
from kitipde.collisions.layouts import to_features, to_particles
from kitipde.config import FNOConfig, ResidualConfig
from kitipde.memory import keep_freed_memory

TEXTBOOK_LIMIT = 6 << 30


@dataclass(frozen=True)
class Setting:
    """Features [batch, channels, *grid] and how they become particles."""

    name: str
    shape: tuple[int, ...]
    layout: str
    heads: int

    @property
    def particles(self) -> int:
        """N of each sample."""
        points = math.prod(self.shape[2:])
        return self.shape[1] * (points if self.layout == "flat" else 1) // self.heads

    @property
    def textbook_bytes(self) -> int:
        """One tensor of the textbook form."""
        samples = self.shape[0] * (1 if self.layout == "flat" else math.prod(self.shape[2:]))
        return 4 * samples * self.particles**2 * self.heads


SETTINGS = (
    Setting("Burgers, as published: N = 256, d = 256", (4, 64, 1024), "flat", 256),
    Setting("Navier-Stokes, as published: N = 128, d = 160", (4, 20, 32, 32), "flat", 160),
    Setting("token, C = 128: N = 8, d = 16, 1024 tokens", (4, 128, 1024), "token", 16),
    Setting("N = 1024, d = 64", (1, 64, 1024), "flat", 64),
    Setting("N = 4096, d = 64", (1, 64, 4096), "flat", 64),
)
FORMS = {
    "textbook": None,
    "ours, 0.05 per particle": {"target_rate": 0.05},
    "ours, 1 per particle": {"target_rate": 1.0},
    "ours, 25 per particle": {"target_rate": 25.0},
    "ours, 25, noise=gaussian": {"target_rate": 25.0, "noise": "gaussian"},
}


def smooth_fields(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random fields of eight waves along the last axis of the flattened grid."""
    batch, channels, *grid = shape
    place = torch.linspace(0, 2 * math.pi, math.prod(grid))
    waves = [
        torch.randn(batch, channels, 1, generator=generator)
        * torch.cos(k * place + 2 * math.pi * torch.rand(batch, channels, 1, generator=generator))
        / k
        for k in range(1, 9)
    ]
    return torch.stack(waves).sum(0).reshape(shape)


def textbook(x: Tensor, v: Tensor, threshold: float = 0.1) -> Tensor:
    """Equations (2)-(5) with a tensor for each of their symbols."""
    x_i, x_j, v_i, v_j = x[:, :, None], x[:, None], v[:, :, None], v[:, None]
    relative_distance = (x_i - x_j).square().sum(-1).clamp_min(1e-20).sqrt()
    relative_speed = (v_i - v_j).square().sum(-1).clamp_min(1e-20).sqrt()
    x_centre, v_centre = (x_i + x_j) / 2, (v_i + v_j) / 2
    direction = torch.randn_like(v_centre)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    upper = torch.triu(torch.ones_like(relative_speed[0]), diagonal=1)[..., None]
    direction = direction * upper - (direction * upper).transpose(1, 2)
    change = v_centre + relative_speed[..., None] / 2 * direction - v_i
    with torch.no_grad():
        rate = relative_speed * torch.exp(-relative_distance) / relative_speed.amax((1, 2), keepdim=True)
        accepted = ((rate > threshold) & ~torch.eye(x.shape[1], dtype=torch.bool))[..., None].to(x.dtype)
    moved = v + (accepted * change).sum(2)
    return (x + (accepted * x_centre).sum(2)) / (1 + accepted.sum(2)) + moved


def fastest(run: Callable[[], None], repeats: int) -> float:
    """Smallest processor time of a call, in ms, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def case(setting: Setting, form: str, repeats: int) -> dict[str, float | None]:
    """Time in ms and peak memory in MB of one form at one setting, with the rate that was measured."""
    options = FORMS[form]
    generator = torch.Generator().manual_seed(0)
    x, v, gradient = (smooth_fields(setting.shape, generator) for _ in range(3))
    if setting.layout == "token":
        # As a transformer has them: the channels of a token lie together.
        x, v, gradient = (each.transpose(1, 2).contiguous().transpose(1, 2) for each in (x, v, gradient))
    # What the first call loads is no memory of collisions.
    small = torch.randn(1, 8, 8, requires_grad=True)
    make_residual(ResidualConfig(kind="kiti", collision_heads=8), 0, 1)(small, small).sum().backward()
    x.requires_grad_()
    v.requires_grad_()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    residual = None
    if options is not None:
        config = ResidualConfig.model_validate(
            {"kind": "kiti", "layout": setting.layout, "collision_heads": setting.heads, **options}
        )
        residual = make_residual(config, 0, 1)

    def run() -> None:
        if residual is None:
            position, velocity = (to_particles(each, setting.layout, setting.heads) for each in (x, v))
            out = to_features(textbook(position, velocity), x, setting.layout)
        else:
            out = residual(x, v)
        out.backward(gradient)
        x.grad = v.grad = None

    milliseconds = fastest(run, repeats)
    statistics = collect(residual)[0] if residual is not None else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "ms": milliseconds,
        "mb": (peak - base) / 1024,
        "rate": statistics.collisions_per_particle if statistics else None,
    }


def in_own_process(arguments: list[str]) -> dict:
    """The JSON that this script prints with these arguments."""
    done = subprocess.run([sys.executable, "-P", __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def operator_table(repeats: int) -> list[str]:
    """Rows of the comparison with the textbook form."""
    lines = [
        "| setting | form | time (ms) | peak memory (MB) | textbook / ours, time | memory |",
        "|---|---|---|---|---|---|",
    ]
    for index, setting in enumerate(SETTINGS):
        reference: dict | None = None
        for form, options in FORMS.items():
            if options is None and 4 * setting.textbook_bytes > TEXTBOOK_LIMIT:
                needed = setting.textbook_bytes / 2**30
                lines.append(f"| {setting.name} | {form} | — | {needed:.0f} GB for each of its tensors | | |")
                continue
            if options is not None and options["target_rate"] > setting.particles - 1:
                continue
            found = in_own_process(["--case", f"{index}:{form}", "--repeats", str(repeats)])
            if options is None:
                reference = found
            gain = ("", "")
            if reference is not None and options is not None:
                gain = (f"{reference['ms'] / found['ms']:.0f}×", f"{reference['mb'] / max(found['mb'], 1):.0f}×")
            lines.append(f"| {setting.name} | {form} | {found['ms']:.1f} | {found['mb']:.0f} | {gain[0]} | {gain[1]} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


STEPS = {
    "Burgers, 1024 points, batch 20": (FNOConfig(modes=(16,), width=64, activation="relu"), (20, 1, 1024), 256),
    "Navier-Stokes, 32², batch 20, one frame": (FNOConfig(modes=(12,), width=20), (20, 10, 32, 32), 160),
}
STEP_FORMS = {
    "plain": {"kind": "plain"},
    "kiti, target_rate=0.01": {"target_rate": 0.01},
    "kiti, target_rate=0.05": {"target_rate": 0.05},
    "kiti, target_rate=0.05, last layer": {"target_rate": 0.05, "layers": "last"},
    "kiti, layout=token, target_rate=0.5": {"layout": "token", "collision_heads": "auto", "target_rate": 0.5},
    "kiti, coll_coef=0.9, at the start": {"coll_coef": 0.9},
    "kiti, coll_coef=0.9, noise=gaussian, at the start": {"coll_coef": 0.9, "noise": "gaussian"},
}


def steps(name: str, repeats: int) -> dict[str, list[float]]:
    """Time in ms of a training step of an untrained FNO with each residual, and collisions per particle."""
    from kitipde.models.fno import FNO
    from kitipde.problem.problem import Domain

    # As in training.
    keep_freed_memory()
    model_config, shape, heads = STEPS[name]
    data = smooth_fields(shape, torch.Generator().manual_seed(0))
    target = smooth_fields((shape[0], 1, *shape[2:]), torch.Generator().manual_seed(1))
    runs: dict[str, Callable[..., None]] = {}
    models: dict[str, FNO] = {}
    for form, options in STEP_FORMS.items():
        torch.manual_seed(0)
        config = ResidualConfig.model_validate({"kind": "kiti", "collision_heads": heads, **options})
        model = FNO(model_config, config, shape[1], 1, Domain.square(shape[-1], len(shape) - 2))
        key_noise(model, 0)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

        def run(model: FNO = model, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            (model(data) - target).square().mean().backward()
            optimizer.step()

        runs[form], models[form] = run, model
    times: dict[str, list[float]] = {form: [] for form in runs}
    for round_ in range(repeats + 1):
        for form, run in runs.items():
            if "coll_coef" in form and round_ > 2:
                continue
            start = time.process_time()
            run()
            if round_:
                times[form].append(1e3 * (time.process_time() - start))
    rates = {form: [each.collisions_per_particle for each in collect(model).values()] for form, model in models.items()}
    return {form: [min(values), max(rates[form], default=0.0)] for form, values in times.items()}


def step_table(repeats: int) -> list[str]:
    """Rows of the overhead on whole training steps."""
    lines = [
        "| training step | residual | most collisions per particle | time (ms) | against plain |",
        "|---|---|---|---|---|",
    ]
    for name in STEPS:
        found = in_own_process(["--steps", name, "--repeats", str(repeats)])
        for form, (milliseconds, rate) in found.items():
            ratio = milliseconds / found["plain"][0]
            lines.append(f"| {name} | {form} | {rate:.2g} | {milliseconds:.0f} | {ratio:.2f}× |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Runs every case, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the tables into this file, between its markers")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case:
        index, form = options.case.split(":", 1)
        few = 2 if FORMS[form] is None else options.repeats
        print(json.dumps(case(SETTINGS[int(index)], form, few)))
    elif options.steps:
        print(json.dumps(steps(options.steps, options.repeats)))
    else:
        machine = (
            f"{os.cpu_count()}-core {platform.machine()}, one thread, torch {torch.__version__.split('+')[0]}, CPU only"
        )
        text = "\n".join(
            [f"Machine: {machine}.", "", *operator_table(options.repeats), "", *step_table(options.repeats)]
        )
        if options.out is None:
            print(text)
            return
        before, _, rest = options.out.read_text().partition("<!-- tables -->")
        after = rest.partition("<!-- end of tables -->")[2]
        options.out.write_text(f"{before}<!-- tables -->\n\n{text}\n\n<!-- end of tables -->{after}")


if __name__ == "__main__":
    main()
