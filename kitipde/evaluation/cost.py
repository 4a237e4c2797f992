"""What a model costs, to stand beside what it gains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kitipde.models import example_input
from kitipde.models.flops import count_flops
from kitipde.runs import Run

__all__ = ["Cost", "run_cost"]


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


def _run_flops(run: Run) -> int | None:
    trained = next((replica for replica in run.replicas if replica.best_path.is_file()), None)
    if trained is None:
        return None
    return count_flops(trained.load_model(), *example_input(run.facts.problem))


def _mean(facts: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [fact[key] for fact in facts if fact.get(key) is not None]
    return sum(values) / len(values) if values else None
