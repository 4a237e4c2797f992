"""The two phases of theorem 4.1: a linear network whose outer weights jump while the inner ones learn.

A regression y = k·x, x standard normal in R^d, is learnt by θ = aᵀW, W [m, d], a [m], with loss ½⟨(θ·x − y)²⟩ over n
samples of covariance S. With r = S(θ − k):

    gradient descent   W ← W − η a rᵀ,   a ← a − η W r                                       (22), (23)
    collisions         W ← W − η a rᵀ,   a ← a + δ                                           (30), (31)

δ_i takes a_i from ±η^¼ to 0, and from 0 to one of ±η^¼ at random (32), starting from its stationary law (33).
Lemma J.5: for some t₀ ≤ 1/η² the mean of |w_i|² is at most √η. The second phase is not part of that model: Lemma J.3
says that E[θ] stays what it was, so that collisions alone learn nothing. Here it is gradient descent without
collisions, from the state at t₀ or from that after 1/η² steps.

References:
    KITINet, section 4.2 and appendix J.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from kitipde.optim.condensation import degree

__all__ = ["Dynamics", "History", "two_phases"]

POINTS = 200


@dataclass(frozen=True)
class History:
    """A trajectory at some of its steps.

    Attributes:
        steps: t.
        squares: mean of |w_i|² over neurons.
        errors: |θ − k|².
        degrees: ρ of W.
    """

    steps: Float[np.ndarray, "points"]
    squares: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    degrees: Float[np.ndarray, "points"]


@dataclass(frozen=True)
class Dynamics:
    """Gradient descent, collisions, and gradient descent after collisions.

    Attributes:
        descent: (22), (23) from the start.
        collisions: (30), (31) from the same start, 1/η² steps.
        after_small: (22), (23) from where collisions have made the weights small; None if they have not.
        after_all: (22), (23) from the end of the collisions.
        first_small: t₀, the first step at which the mean of |w_i|² is at most √η; None if there was none.
        bound: 1/η², what the lemma allows.
        threshold: √η.
    """

    descent: History
    collisions: History
    after_small: History | None
    after_all: History
    first_small: int | None
    bound: float
    threshold: float


def two_phases(seed: int, rate: float = 0.01, neurons: int = 100, dimension: int = 5, samples: int = 1000) -> Dynamics:
    """Simulate one start.

    Args:
        seed: of samples, start and jumps.
        rate: η.
        neurons: m.
        dimension: d.
        samples: n.
    """
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, dimension))
    covariance = x.T @ x / samples
    target = random.standard_normal(dimension)
    size = rate**0.25
    # The mean of |w_i|² is 1, as the lemma's proof has it.
    weights = random.standard_normal((neurons, dimension)) / np.sqrt(dimension)
    outer = random.choice([-size, 0.0, 0.0, size], neurons)
    steps = round(rate**-2)

    kept = np.unique(np.geomspace(1, steps, POINTS).astype(int))

    def descend(weights: np.ndarray, outer: np.ndarray) -> History:
        rows = [_measured(0, weights, outer, target)]
        for step in range(1, steps + 1):
            residual = covariance @ (outer @ weights - target)
            weights, outer = weights - rate * np.outer(outer, residual), outer - rate * weights @ residual
            if step in kept:
                rows.append(_measured(step, weights, outer, target))
        return History(*np.array(rows).T)

    def collide(weights: np.ndarray, outer: np.ndarray):
        rows, small = [_measured(0, weights, outer, target)], None
        for step in range(1, steps + 1):
            residual = covariance @ (outer @ weights - target)
            weights = weights - rate * np.outer(outer, residual)
            outer = np.where(outer == 0, random.choice([-size, size], neurons), 0.0)
            if step in kept:
                rows.append(_measured(step, weights, outer, target))
            if small is None and (weights**2).sum() / neurons <= rate**0.5:
                small = step, weights, outer
        return History(*np.array(rows).T), small, (weights, outer)

    collisions, small, end = collide(weights, outer)
    return Dynamics(
        descent=descend(weights, outer),
        collisions=collisions,
        after_small=None if small is None else descend(*small[1:]),
        after_all=descend(*end),
        first_small=None if small is None else small[0],
        bound=rate**-2,
        threshold=rate**0.5,
    )


def _measured(step: int, weights: np.ndarray, outer: np.ndarray, target: np.ndarray) -> tuple[float, ...]:
    error = outer @ weights - target
    return step, float((weights**2).sum()) / len(weights), float(error @ error), degree(torch.from_numpy(weights))
