"""What a training step asks of a GPU, counted on any machine: kernels, memory traffic, arithmetic, the time they allow.

    python -P benchmarks/launches.py [--seeds 5] [--launch 5] [--bandwidth 3.5] [--flops 25]

The published FNO settings with the transforms that a GPU uses: forward, backward and optimizer, seeds stacked. Each
operation that is no view counts as one kernel, whose time is the longest of: a launch (µs), its inputs and outputs at
the bandwidth (TB/s), its matrix products at the arithmetic rate (TFLOP/s). No overlap, no CUDA graphs, no compiler. The
defaults are assumptions about one H200 in float32, not measurements; a Fourier transform of two axes counts as one
kernel though libraries use two or three.
"""

import argparse
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kitipde.config import FNOConfig
from kitipde.config.load import read_config, resolve_config
from kitipde.models import Normalised, build_model, spectral, transforms
from kitipde.models.rollout import Stepper
from kitipde.problem.problem import Domain, Problem

PROBLEMS = {"burgers": (1, (1024,), 50), "navier-stokes": (2, (32, 32), 1), "heat": (2, (32, 32), 1)}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}


class Counter(TorchDispatchMode):
    """Counts kernels and the time that each takes at least."""

    def __init__(self, launch: float, bandwidth: float, flops: float) -> None:
        super().__init__()
        self.launch, self.bandwidth, self.flops = launch * 1e-6, bandwidth * 1e12, flops * 1e12
        self.kernels, self.bytes, self.seconds = 0, 0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.name.split("::")[1] in ("detach", "empty", "new_empty", "empty_strided"):
            return result
        moved = _bytes(tree_leaves((args, kwargs))) + _bytes(tree_leaves(result))
        products = 0
        if func._schema.name.split("::")[1] in PRODUCTS:
            left, right = [each for each in args if isinstance(each, Tensor)][-2:]
            products = 2 * left.numel() * right.shape[-1]
        self.kernels += 1
        self.bytes += moved
        self.seconds += max(self.launch, moved / self.bandwidth, products / self.flops)
        return result


def _bytes(leaves: Iterable[Any]) -> int:
    return sum(each.numel() * each.element_size() for each in leaves if isinstance(each, Tensor))


class Rollout(torch.nn.Module):
    """A model and how often it is applied."""

    def __init__(self, model: Normalised, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, window: Tensor) -> Tensor:
        """All frames."""
        return Stepper(self.model).run(window, self.steps)


def count_step(problem: str, seeds: int, counter: Counter) -> int:
    """Count one step; how many of them the published run has."""
    dimension, grid, batches = PROBLEMS[problem]
    config = resolve_config(read_config(f"paper-fno-{problem}"))
    assert isinstance(config.model, FNOConfig)
    given, predicted = (10, 10) if dimension == 2 else (1, 1)
    task = Problem(("u",), ("u",), (), (), given, predicted, Domain.square(grid[-1], dimension))
    networks = [Rollout(build_model(config, task), predicted) for _ in range(seeds)]
    weights, buffers = torch.func.stack_module_state(networks)
    inputs = torch.randn(seeds, config.training.batch_size, given, 1, *grid)

    def loss(weights: Any, buffers: Any, inputs: Tensor) -> Tensor:
        return torch.func.functional_call(networks[0], (weights, buffers), (inputs,)).square().sum()

    leaves = list(weights.values())
    optimizer = torch.optim.Adam(leaves, foreach=True)
    with counter:
        torch.func.vmap(loss)(weights, buffers, inputs).sum().backward()
        optimizer.step()
    return config.training.epochs * batches


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--launch", type=float, default=5.0, help="µs")
    parser.add_argument("--bandwidth", type=float, default=3.5, help="TB/s")
    parser.add_argument("--flops", type=float, default=25.0, help="TFLOP/s")
    options = parser.parse_args()
    # What a GPU would do: fast transforms, and nothing arranged for matrix products.
    spectral.to_modes, spectral.to_grid = (
        transforms._transform_to_modes,
        lambda s, m, _: transforms._transform_to_grid(s, m),
    )
    total = 0.0
    print(f"{options.seeds} seeds stacked, {options.launch} µs, {options.bandwidth} TB/s, {options.flops} TFLOP/s\n")
    print("| problem | kernels a step | GB moved a step | ms a step at least | steps | minutes a run of all seeds |")
    print("|---|---|---|---|---|---|")
    for problem in PROBLEMS:
        counter = Counter(options.launch, options.bandwidth, options.flops)
        steps = count_step(problem, options.seeds, counter)
        minutes = counter.seconds * steps / 60
        total += minutes
        row = (
            f"{counter.kernels}",
            f"{counter.bytes / 1e9:.2f}",
            f"{counter.seconds * 1e3:.1f}",
            f"{steps}",
            f"{minutes:.1f}",
        )
        print(f"| {problem} | {' | '.join(row)} |")
    print(
        f"\nthree plain rows: {total:.1f} minutes; with as many of KITI at its target of 1.1 times: {2.1 * total:.1f}"
    )


if __name__ == "__main__":
    main()
