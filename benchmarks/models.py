"""Time of one training step: our FNO against neuraloperator's, same shapes, in one run.

    python -P benchmarks/models.py [--rounds 9] [--compile] [--apart] [--threads 1]

Each round times every contestant once, in turn, so that a machine whose speed drifts treats all alike; the table has
the median of the rounds and the median of the ratios round by round. A step is forward, backward and Adam.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from kitipde.config import FNOConfig, ResidualConfig
from kitipde.models.fno import FNO
from kitipde.models.spectral import SpectralConv
from kitipde.problem.problem import Domain


@dataclass(frozen=True)
class Case:
    """One row: the shapes of a training step."""

    name: str
    modes: int
    width: int
    grid: tuple[int, ...]
    channels: int
    batch: int = 20


CASES = (
    Case("1-D, modes 16, width 64, 1024 points", 16, 64, (1024,), 1),
    Case("2-D, modes 12, width 20, 32²", 12, 20, (32, 32), 10),
    Case("2-D, modes 12, width 32, 32²", 12, 32, (32, 32), 10),
    Case("2-D, modes 12, width 32, 64²", 12, 32, (64, 64), 10),
)


def ours(case: Case) -> nn.Module:
    """Our FNO in the original's terms."""
    config = FNOConfig(modes=(case.modes,), width=case.width)
    return FNO(config, ResidualConfig(), case.channels, 1, Domain.square(case.grid[-1], len(case.grid)))


def apart(case: Case) -> nn.Module:
    """Ours with the parts of each layer computed one by one, as they are for whoever listens to one of them."""
    model = ours(case)
    for module in model.modules():
        if isinstance(module, SpectralConv):
            module.register_forward_hook(lambda *_: None)
    return model


def library(case: Case) -> nn.Module:
    """neuraloperator's FNO in the original's terms."""
    from neuralop.models import FNO as Library

    return Library(
        n_modes=(2 * case.modes,) * (len(case.grid) - 1) + (2 * case.modes - 1,),
        in_channels=case.channels,
        out_channels=1,
        hidden_channels=case.width,
        n_layers=4,
        lifting_channel_ratio=0,
        projection_channel_ratio=128 / case.width,
        use_channel_mlp=False,
    )


def library_defaults(case: Case) -> nn.Module:
    """neuraloperator's FNO as it comes."""
    from neuralop.models import FNO as Library

    modes = (2 * case.modes,) * (len(case.grid) - 1) + (2 * case.modes - 1,)
    return Library(n_modes=modes, in_channels=case.channels, out_channels=1, hidden_channels=case.width, n_layers=4)


def stepper(model: nn.Module, case: Case, device: torch.device, fused: bool) -> Callable[[], None]:
    """A function that makes one training step."""
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    inputs = torch.randn(case.batch, case.channels, *case.grid, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(inputs).square().mean().backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="also ours under torch.compile")
    parser.add_argument("--apart", action="store_true", help="also ours without sums inside of matrix products")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    names = ["ours", "library", "library defaults"]
    names += [name for name, wanted in (("ours compiled", options.compile), ("ours apart", options.apart)) if wanted]
    print(f"torch {torch.__version__}, {device}, {options.threads} threads, {options.rounds} rounds, ms a step\n")
    print("| | " + " | ".join(names) + " | library / ours |")
    print("|---" * (len(names) + 2) + "|")
    for case in CASES:
        # The library's weights are complex, for which there is no fused Adam.
        steps = {
            "ours": stepper(ours(case), case, device, fused=True),
            "library": stepper(library(case), case, device, fused=False),
            "library defaults": stepper(library_defaults(case), case, device, fused=False),
        }
        if options.compile:
            compiled = torch.compile(ours(case))
            steps["ours compiled"] = stepper(compiled, case, device, fused=True)  # pyright: ignore[reportArgumentType]
        if options.apart:
            steps["ours apart"] = stepper(apart(case), case, device, fused=True)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for round_number in range(options.rounds + 2):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                if round_number >= 2:
                    times[name].append(1e3 * (time.perf_counter() - started))
        ratio = statistics.median(b / a for a, b in zip(times["ours"], times["library"], strict=True))
        medians = " | ".join(f"{statistics.median(times[name]):.1f}" for name in names)
        print(f"| {case.name} | {medians} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
