"""Matrix products by oneDNN against those by torch's default library: their errors and times, and those of a step.

    python -P benchmarks/matrix_products.py [--rounds 15] [--threads 1]

For each network the products of its step, forward and backward, as a training on a CPU tries them: the largest error
against float64 under both libraries, how many times longer they take by default, and what a training with
`training.matrix_products=auto` would choose. Then whole steps (forward, backward and Adam), in alternating rounds: the
median processor time under both, the median of the ratios round by round, and how far the outputs are apart.

Where oneDNN rounds because the processor has AMX, ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 in the environment keeps it from
that: the table then shows what exact products by oneDNN would bring.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kitipde.config import FNOConfig, OFormerConfig, ResidualConfig, TrainingConfig
from kitipde.memory import keep_freed_memory
from kitipde.models.fno import FNO
from kitipde.models.oformer import OFormer
from kitipde.problem.problem import Domain
from kitipde.training.matrix_products import by_onednn, choose_products, error_of, gain, products_of, using_products
from kitipde.training.provenance import provenance

MODES = ("default", "onednn")


@dataclass(frozen=True)
class Case:
    """One row: a network and the batch of its step, [batch, channels, *grid]."""

    name: str
    network: Callable[[], nn.Module]
    batch: tuple[int, ...]


def fno(modes: int, width: int, points: int, dimension: int, channels: int) -> Callable[[], nn.Module]:
    """Our FNO in the original's terms."""
    config = FNOConfig(modes=(modes,), width=width)
    return lambda: FNO(config, ResidualConfig(), channels, 1, Domain.square(points, dimension))


def oformer(points: int) -> Callable[[], nn.Module]:
    """On a line."""
    return lambda: OFormer(OFormerConfig(), ResidualConfig(), 1, 1, Domain.square(points, 1))


CASES = (
    Case("FNO 1-D, width 64, 1024 points, batch 20", fno(16, 64, 1024, 1, 1), (20, 1, 1024)),
    Case("FNO 1-D, width 64, 256 points, batch 20", fno(16, 64, 256, 1, 1), (20, 1, 256)),
    Case("FNO 2-D, width 20, 32², batch 20", fno(12, 20, 32, 2, 10), (20, 10, 32, 32)),
    Case("OFormer 1-D, 256 points, batch 4", oformer(256), (4, 1, 256)),
)


def gradient_of(loss: Callable[[], Tensor], model: nn.Module) -> Callable[[], object]:
    """Forward and backward, as the trial before a training makes them."""
    return lambda: torch.autograd.grad(loss(), [*model.parameters()], allow_unused=True)


def row(case: Case, rounds: int) -> str:
    """The numbers of a row."""
    torch.manual_seed(0)
    model, inputs = case.network(), torch.randn(case.batch)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def loss() -> Tensor:
        return model(inputs).square().mean()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    trial = gradient_of(loss, model)
    products = products_of(trial)
    errors = [max(map(error_of, products)), max(error_of(product, by_onednn) for product in products)]
    chosen = choose_products(TrainingConfig(), None, torch.device("cpu"), trial, bool, print)
    apart = difference(model.eval(), inputs)
    model.train()
    times: dict[str, list[float]] = {mode: [] for mode in MODES}
    for round_number in range(rounds + 2):
        for mode in MODES:
            with using_products(mode):
                started = time.process_time()
                step()
                if round_number >= 2:
                    times[mode].append(1e3 * (time.process_time() - started))
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    medians = " | ".join(f"{statistics.median(times[mode]):.1f}" for mode in MODES)
    return (
        f"{errors[0]:.0e} | {errors[1]:.0e} | {gain(products, by_onednn):.2f} | {chosen} | {medians} | {ratio:.2f} | "
        f"{apart:.0e}"
    )


@torch.no_grad()
def difference(model: nn.Module, inputs: Tensor) -> float:
    """Norm of the difference of the outputs under both libraries, as a share of the norm of one."""
    outputs = []
    for mode in MODES:
        with using_products(mode):
            outputs.append(model(inputs))
    return float((outputs[1] - outputs[0]).norm() / outputs[0].norm())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    print(f"{provenance(torch.device('cpu'))['device']}, limit of oneDNN's instructions: {limit}")
    print(
        f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, ms of processor time a step\n"
    )
    header = [
        "error",
        "by oneDNN",
        "products' time / by oneDNN",
        "`auto`",
        "step",
        "by oneDNN",
        "ratio",
        "outputs apart",
    ]
    print("| | " + " | ".join(header) + " |")
    print("|---" + "|---:" * len(header) + "|")
    for case in CASES:
        print(f"| {case.name} | {row(case, options.rounds)} |", flush=True)


if __name__ == "__main__":
    main()
