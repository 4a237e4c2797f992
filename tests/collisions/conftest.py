"""The collision operator once more, written independently: a double loop over pairs of plain Python numbers."""

import math
from types import SimpleNamespace

import pytest
import torch


def distance(a, b):
    return math.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))


def colliding_pairs(x, v, coll_coef):
    """Equation (4) for one sample [N, d]: the set of (i, j), i < j."""
    particles = range(len(x))
    fastest = max((distance(v[i], v[j]) for i in particles for j in particles), default=0.0)
    if fastest == 0 or not math.isfinite(fastest):
        return set()
    return {
        (i, j)
        for i in particles
        for j in particles
        if i < j and distance(v[i], v[j]) * math.exp(-distance(x[i], x[j])) / fastest > 1 - coll_coef
    }


def pair_scores(x, v):
    """V_r e^(−X_r) of every pair of one sample."""
    return {(i, j): distance(v[i], v[j]) * math.exp(-distance(x[i], x[j])) for i in range(len(x)) for j in range(i)}


def collide(x, v, pairs, direction, drift=1.0, scatter=0.5, dt=1.0, update_position=True):
    """Equations (2), (3) and (5) for one sample; `direction[i, j]` is n_ij for i < j."""
    x_star, v_new, count = x.clone(), v.clone(), [0] * len(x)
    for i in range(len(x)):
        for j in range(len(x)):
            if (min(i, j), max(i, j)) not in pairs or i == j:
                continue
            n = direction[i, j] if i < j else -direction[j, i]
            v_new[i] += drift * ((v[i] + v[j]) / 2 - v[i]) + scatter * distance(v[i].detach(), v[j].detach()) * n
            x_star[i] += (x[i] + x[j]) / 2
            count[i] += 1
    for i, k in enumerate(count):
        x_star[i] /= 1 + k
    return (x_star if update_position else x) + dt * v_new, v_new, count


@pytest.fixture(scope="session")
def reference():
    return SimpleNamespace(colliding_pairs=colliding_pairs, pair_scores=pair_scores, collide=collide, distance=distance)


@pytest.fixture
def cloud():
    """Makes x, v [samples, N, d] in float64 at distances where a part of the pairs collides."""

    def make(samples, particles, dimension, seed=0, scale=1.0, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        shape = (samples, particles, dimension)
        x = scale * torch.randn(shape, generator=generator, dtype=torch.float64) / dimension**0.5
        v = torch.randn(shape, generator=generator, dtype=torch.float64)
        return x.to(dtype), v.to(dtype)

    return make
