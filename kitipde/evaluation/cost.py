"""What a model costs, to stand beside what it gains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kitipde.runs import Run

__all__ = ["Cost", "count_flops", "run_cost"]


@dataclass(frozen=True)
class Cost:
    """Parameters, operations, time and memory of a run; the latter two are means over its seeds.

    Attributes:
        parameters: trainable real numbers.
        flops: floating-point operations of one forward step of one sample at the training resolution, counting matrix
            products, convolutions and Fourier transforms; collisions act in training only and show in its time.
        seconds_per_epoch: time of a training epoch.
        seconds: time of a whole training.
        peak_memory_bytes: most memory held in training.
        epochs: epochs trained.
        best_epoch: epoch whose weights are evaluated.
    """

    parameters: int | None
    flops: int | None
    seconds_per_epoch: float | None
    seconds: float | None
    peak_memory_bytes: float | None
    epochs: float | None
    best_epoch: float | None


def run_cost(run: Run) -> Cost:
    """The cost of a run from what its seeds recorded and from one counted forward step."""
    facts = [replica.facts() for replica in run.replicas if (replica.path / "facts.json").is_file()]
    parameters = _mean(facts, "parameters")
    return Cost(
        parameters=None if parameters is None else round(parameters),
        flops=_run_flops(run),
        seconds_per_epoch=_mean(facts, "seconds_per_epoch"),
        seconds=_mean(facts, "seconds"),
        peak_memory_bytes=_mean(facts, "peak_memory_bytes"),
        epochs=_mean(facts, "epochs"),
        best_epoch=_mean(facts, "best_epoch"),
    )


def count_flops(model: nn.Module, inputs: torch.Tensor) -> int:
    """Floating-point operations of one forward pass: matrix products, convolutions and Fourier transforms.

    A transform of n points is counted as 5 n log2 n, half of that where one side is real (the split-radix convention);
    a complex multiplication and addition as 8.
    """
    aten = torch.ops.aten
    rules = {
        aten._fft_r2c: _real_fft,
        aten._fft_c2r: _real_inverse_fft,
        aten._fft_c2c: _complex_fft,
        aten.mm: _product,
        aten.bmm: _product,
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=rules) as counter:
        model(inputs)
    return int(counter.get_total_flops())


def _run_flops(run: Run) -> int | None:
    trained = next((replica for replica in run.replicas if replica.best_path.is_file()), None)
    if trained is None:
        return None
    grid = (run.facts.resolution,) * run.facts.dimension
    return count_flops(trained.load_model(), torch.zeros(1, run.config.data.input_frames, *grid))


def _real_fft(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform(shape, dims) // 2


def _real_inverse_fft(shape: Sequence[int], dims: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return _transform(out_shape, dims) // 2


def _complex_fft(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform(shape, dims)


def _product(a: torch.Tensor, b: torch.Tensor, *_: Any, out_val: torch.Tensor, **__: Any) -> int:
    # torch counts a complex product like a real one.
    return out_val.numel() * a.shape[-1] * (8 if a.is_complex() else 2)


# Asks the counter for tensors instead of their shapes: whether they are complex matters.
_product._get_raw = True  # pyright: ignore[reportFunctionMemberAccess]


def _transform(shape: Sequence[int], dims: Sequence[int]) -> int:
    points = math.prod(shape[dim] for dim in dims)
    return round(math.prod(shape) * 5 * math.log2(points)) if points > 1 else 0


def _mean(facts: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [fact[key] for fact in facts if fact.get(key) is not None]
    return sum(values) / len(values) if values else None
