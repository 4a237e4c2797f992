"""Time and memory of KO: training steps of FNOs with collisions of gradients, against the base optimizer alone.

    python -P benchmarks/ko.py --out docs/results/ko.md

Forward and backward are the same work for every form: they are timed once, and the optimizers' steps by themselves,
each once in each round, in turn. The table has the smallest processor time of the rounds, which other work on the
machine disturbs least, and what it makes of a whole training step. Memory is the peak of a process during a few steps
of one form, with the libraries in it (Linux only).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from kitipde.config import FNOConfig, ResidualConfig
from kitipde.models.fno import FNO
from kitipde.optim import KO
from kitipde.problem.problem import Domain

CASES = {
    "Burgers, width 64, modes 16, 1024 points": (FNOConfig(modes=(16,), width=64, activation="relu"), (20, 1, 1024)),
    "Navier-Stokes, width 20, modes 12, 32², one frame": (FNOConfig(modes=(12,), width=20), (20, 10, 32, 32)),
}
FORMS: dict[str, dict | None] = {
    "Adam": None,
    "soft, last-linear": {"kind": "soft", "coll_coef": 0.01},
    "soft, all layers": {"kind": "soft", "coll_coef": 0.01, "layers": "all"},
    "hard 0.1, last-linear": {"kind": "hard", "coll_coef": 0.1},
    "hard, rate 0.2, last-linear": {"kind": "hard", "target_rate": 0.2},
    "hard, rate 0.2, all layers": {"kind": "hard", "target_rate": 0.2, "layers": "all"},
    "hard 0.5, all layers": {"kind": "hard", "coll_coef": 0.5, "layers": "all"},
    "hard 1, all layers (every pair)": {"kind": "hard", "coll_coef": 1.0, "layers": "all"},
    "hard 1, all layers, noise=gaussian": {"kind": "hard", "coll_coef": 1.0, "layers": "all", "noise": "gaussian"},
}


class Contestant:
    """A model in training with one form of collisions.

    Args:
        case: which FNO and batch.
        form: which collisions.
    """

    def __init__(self, case: str, form: str) -> None:
        config, shape = CASES[case]
        generator = torch.Generator().manual_seed(0)
        self.data = torch.randn(shape, generator=generator)
        self.target = torch.randn(shape[0], 1, *shape[2:], generator=generator)
        torch.manual_seed(0)
        self.model = FNO(config, ResidualConfig(), shape[1], 1, Domain.square(shape[-1], len(shape) - 2))
        # A rate that leaves the weights where they are: every step of a form does the same work.
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-6, fused=True)
        options = FORMS[form]
        if options is not None:
            self.optimizer = KO(self.optimizer, self.model, **options)

    def backward(self) -> None:
        """Loss and gradients."""
        self.optimizer.zero_grad()
        (self.model(self.data) - self.target).square().mean().backward()

    def step(self) -> None:
        """The optimizer's part of a training step."""
        self.optimizer.step()

    @property
    def rate(self) -> float | None:
        """Most collisions per neuron in a layer; None for forms without collisions to count."""
        if not isinstance(self.optimizer, KO) or self.optimizer.kind != "hard":
            return None
        return max(float(rates.mean()) for rates in self.optimizer.collision_rates.values())


def processor_time(run: Callable[[], None]) -> float:
    """Of one call, in ms."""
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def times(case: str, rounds: int) -> dict[str, dict[str, float | None]]:
    """Smallest times of the optimizers' steps, and the whole training step as a multiple of that without collisions."""
    contestants = {form: Contestant(case, form) for form in FORMS}
    for each in contestants.values():
        each.backward()
        each.step()
    found = {form: [] for form in FORMS}
    common = []
    for _ in range(rounds):
        common.append(processor_time(contestants["Adam"].backward))
        for form, each in contestants.items():
            found[form].append(processor_time(each.step))
    rest, base = min(common), min(found["Adam"])
    return {
        form: {
            "ms": min(values),
            "whole": rest + min(values),
            "ratio": (rest + min(values)) / (rest + base),
            "rate": contestants[form].rate,
        }
        for form, values in found.items()
    }


def peak(case: str, form: str) -> float:
    """Peak memory of this process during a few steps, in MB."""
    contestant = Contestant(case, form)
    contestant.backward()
    contestant.step()
    # Loading the libraries has had a peak of its own: forget it.
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(3):
        contestant.backward()
        contestant.step()
    status = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def in_own_process(*arguments: str) -> float:
    """The number that this script prints with these arguments."""
    done = subprocess.run([sys.executable, "-P", __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(rounds: int) -> list[str]:
    """Rows of time and memory."""
    lines = [
        "| training step | optimizer | most collisions per neuron | optimizer's part (ms) | whole step (ms) | "
        "against Adam | peak memory (MB) |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        for form, found in times(case, rounds).items():
            rate = "" if found["rate"] is None else f"{found['rate']:.2g}"
            memory = in_own_process("--peak", f"{case}:{form}")
            cells = (case, form, rate, f"{found['ms']:.1f}", f"{found['whole']:.0f}", f"{found['ratio']:.2f}×")
            lines.append(f"| {' | '.join(cells)} | {memory:.0f} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Makes the table, or measures the one case that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the table into this file, between its markers")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(json.dumps(peak(*options.peak.split(":", 1))))
        return
    text = "\n".join(table(options.rounds))
    if options.out is None:
        print(text)
        return
    before, _, rest = options.out.read_text().partition("<!-- table -->")
    after = rest.partition("<!-- end of table -->")[2]
    options.out.write_text(f"{before}<!-- table -->\n\n{text}\n\n<!-- end of table -->{after}")


if __name__ == "__main__":
    main()
