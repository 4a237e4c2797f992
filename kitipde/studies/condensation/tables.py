"""What the study of small networks found, in tables: means over seeds, and paired differences with their intervals."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from kitipde.studies.condensation.experiments import INPUTS, MAP_EPOCHS, NETWORKS, Setting, Trainings
from kitipde.studies.condensation.two_phase import Dynamics

__all__ = ["HEADER", "as_document", "as_markdown", "paired_interval", "rows_of", "target_variance"]

HEADER = (
    "activation",
    "variant",
    *(f"ρ, epoch {epoch}" for epoch in MAP_EPOCHS),
    "change of ρ",
    "training MSE",
    "test MSE",
    "test MSE, ratio",
)

_DYNAMICS_HEADER = (
    "seed",
    "t₀ (at most 1/η²)",
    "\\|θ−k\\|² at the start",
    "after the collisions",
    "ρ at the start",
    "after descent alone",
    "after the collisions",
    "then descent",
    "descent from t₀",
)


def rows_of(study: Sequence[Trainings], network: str) -> list[tuple[str, ...]]:
    """A row for each activation and variant; changes and ratios are against the activation's first variant."""
    rows = []
    for each in study:
        if each.network != network:
            continue
        reference = _reference(study, each)
        own = reference is each
        epochs = [epoch for epoch in MAP_EPOCHS if epoch <= each.degrees.shape[1]]
        degrees = [_spread(each.degrees[:, epoch - 1], ".2f") for epoch in epochs] + ["—"] * (
            len(MAP_EPOCHS) - len(epochs)
        )
        change = "—" if own else _signed(*paired_interval(each.degrees[:, -1], reference.degrees[:, -1]))
        ratio = "—"
        if not own:
            middle, half = paired_interval(np.log(each.test_losses), np.log(reference.test_losses))
            ratio = f"{np.exp(middle):.3f}"
            if np.isfinite(half):
                ratio += f" [{np.exp(middle - half):.3f}, {np.exp(middle + half):.3f}]"
        losses = (_spread(each.train_losses, ".1f"), _spread(each.test_losses, ".1f"))
        rows.append((each.activation, each.variant, *degrees, change, *losses, ratio))
    return rows


def as_markdown(study: Sequence[Trainings], dynamics: Sequence[Dynamics], setting: Setting) -> str:
    """All tables, as they stand in the documentation."""
    seeds = len(study[0].outcomes)
    intervals = "with 95 % intervals (Student's t)" if seeds > 1 else "without intervals, which one seed does not have"
    counted = f"{seeds} seed{'' if seeds == 1 else 's'}"
    parts = [
        f"{counted}, {setting.epochs} epochs of full batches, Adam at {setting.learning_rate:g}, "
        f"m = {setting.width}. Mean ± standard deviation over seeds; change of ρ and ratio of test errors against the "
        f"activation's first row, paired by seed, {intervals}. Always predicting the mean of y "
        "has the MSE "
        f"{target_variance():.1f}."
    ]
    for network in NETWORKS:
        deviation = f"{setting.deviation_of(network):.1e}"
        parts.append(f"### {network.capitalize()}, initial deviation {deviation}")
        lines = [HEADER, ("---",) * 2 + ("---:",) * (len(HEADER) - 2), *rows_of(study, network)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("### Two phases (theorem 4.1)")
    lines = [_DYNAMICS_HEADER, ("---:",) * len(_DYNAMICS_HEADER)]
    lines += [_dynamics_row(seed, each) for seed, each in enumerate(dynamics)]
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def as_document(study: Sequence[Trainings], dynamics: Sequence[Dynamics], setting: Setting) -> dict[str, Any]:
    """Everything but the maps, for programs."""
    return {
        "setting": asdict(setting),
        "target_variance": target_variance(),
        "trainings": [
            {
                "network": each.network,
                "activation": each.activation,
                "variant": each.variant,
                "degrees": each.degrees.tolist(),
                "train_losses": each.train_losses.tolist(),
                "test_losses": each.test_losses.tolist(),
            }
            for each in study
        ],
        "two_phases": [
            {"first_small": each.first_small, "bound": each.bound, "final_error": float(each.collisions.errors[-1])}
            for each in dynamics
        ],
    }


def target_variance() -> float:
    """The mean squared error of always predicting the mean of Σ_k 3.5 sin(5 x_k + 1), x uniform in [−4, 2]⁵."""
    low, high = 5 * -4.0 + 1, 5 * 2.0 + 1
    mean = (np.cos(low) - np.cos(high)) / (high - low)
    square = 0.5 - (np.sin(2 * high) - np.sin(2 * low)) / (4 * (high - low))
    return float(INPUTS * 3.5**2 * (square - mean**2))


def paired_interval(a: Float[np.ndarray, "seeds"], b: Float[np.ndarray, "seeds"]) -> tuple[float, float]:
    """Mean of a − b over seeds, and the half-width of its 95 % interval; infinite for one seed."""
    difference = a - b
    if len(difference) < 2:
        return float(difference.mean()), float("inf")
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean()), float(stats.t.ppf(0.975, len(difference) - 1) * error)


def _reference(study: Sequence[Trainings], each: Trainings) -> Trainings:
    same = [other for other in study if (other.network, other.activation) == (each.network, each.activation)]
    return same[0]


def _dynamics_row(seed: int, each: Dynamics) -> tuple[str, ...]:
    first = "none" if each.first_small is None else str(each.first_small)
    early = "—" if each.after_small is None else f"{each.after_small.degrees[-1]:.2f}"
    return (
        str(seed),
        f"{first} ({each.bound:.0f})",
        f"{each.collisions.errors[0]:.2f}",
        f"{each.collisions.errors[-1]:.2f}",
        f"{each.descent.degrees[0]:.2f}",
        f"{each.descent.degrees[-1]:.2f}",
        f"{each.collisions.degrees[-1]:.2f}",
        f"{each.after_all.degrees[-1]:.2f}",
        early,
    )


def _spread(values: Float[np.ndarray, "seeds"], form: str) -> str:
    deviation = f" ± {values.std(ddof=1):{form}}" if len(values) > 1 else ""
    return f"{values.mean():{form}}{deviation}"


def _signed(middle: float, half: float) -> str:
    # One seed has no interval.
    return f"{middle:+.2f} ± {half:.2f}" if np.isfinite(half) else f"{middle:+.2f}"
