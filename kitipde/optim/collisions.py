"""Collisions between the gradients of a layer's neurons: equations (5)-(8) and Algorithms 1 and 2 of KO.

Neurons i = 1…N of a layer have weights w_i, their positions, and gradients g_i, their velocities, in R^D.

Hard collisions are those of particles (`kitipde.collisions.rules`) without a change of position:

    w_r = |w_i − w_j|,   g_r = |g_i − g_j|,   g_cm = (g_i + g_j)/2                                     (5)
    Δg_ij = g_cm + ½ g_r n_ij − g_i,   n_ij uniform on the unit sphere, n_ji = −n_ij                    (6)
    the pair collides if g_r e^(−w_r) / max g_r > 1 − coll_coef                                         (7)
    g*_i = g_i + Σ_j Δg_ij                                                                              (8)

Δg_ij + Δg_ji = 0: the sum of the gradients over the neurons does not change.

Soft collisions are a repulsion without chance:

    Δg = −(cos(w, w) ∘ cos(g, g)) g,   g* = g + coll_coef Δg                                  (Algorithm 2)

with cos the N×N matrices of cosines. As printed, their diagonals take part, so that each neuron repels itself,
g* = (1 − coll_coef) g − …; here they are left out unless asked for. A weight or gradient of zero has the cosine 0.

References:
    KO, sections 3.3 and appendix A.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from kitipde.collisions.backends.gaussian import acceptance, laplacian_noise
from kitipde.collisions.backends.precision import full_precision, product
from kitipde.collisions.pairs import pairs_at_rate, pairs_by_coefficient
from kitipde.collisions.rules import CHUNK, LAWS, Pairs, unit_vectors, velocity_change

__all__ = ["cosines", "hard_collisions", "hard_collisions_in_law", "soft_collisions"]


def hard_collisions(
    w: Float[Tensor, "replicas N D"],
    g: Float[Tensor, "replicas N D"],
    coll_coef: float | None,
    target_rate: float | None,
    generators: list[torch.Generator],
) -> tuple[Float[Tensor, "replicas N D"], Float[Tensor, "replicas"]]:
    """Equations (5)-(8) pair by pair: memory O(N·D), time in proportion to the collisions.

    Args:
        w: weights.
        g: gradients. A replica with one that is not finite has no collisions.
        coll_coef: threshold of equation (7); used if no rate is given.
        target_rate: collisions per neuron: those of the pairs with the largest g_r e^(−w_r).
        generators: one for each replica.

    Returns:
        The gradients after the collisions, and the collisions per neuron.
    """
    with full_precision(w.device):
        if target_rate is None:
            pairs = pairs_by_coefficient(w, g, coll_coef or 0.0)
        else:
            neurons = w.shape[1]
            draws = [torch.rand(1, generator=each, dtype=torch.float64, device=w.device) for each in generators]
            most = neurons * (neurons - 1) // 2
            # A fraction of a pair is rounded up or down at random.
            number = (torch.cat(draws) + target_rate * neurons / 2).long().clamp_max(most)
            pairs = pairs_at_rate(w, g, number)
    if len(pairs.sample) == 0:
        return g, g.new_zeros(len(g))
    return _scattered(g, pairs, generators)


def hard_collisions_in_law(
    w: Float[Tensor, "replicas N D"],
    g: Float[Tensor, "replicas N D"],
    coll_coef: float,
    generators: list[torch.Generator],
) -> tuple[Float[Tensor, "replicas N D"], Float[Tensor, "replicas"]]:
    """Equations (5)-(8) with Σ_j ½ g_r n_ij drawn from the normal law of the same mean and covariance.

    N·D random numbers instead of D for each collision (`kitipde.collisions.backends.gaussian` says how good that is),
    N×N matrices and no synchronisation with the host. Arguments and results are those of `hard_collisions`.
    """
    law = LAWS["kiti"]
    # Only a rate's rounding would need the key.
    no_key = torch.zeros((), dtype=torch.long, device=g.device)
    # Filled on the device: copied from the host it would have to be waited for.
    strength = torch.full((), coll_coef, dtype=g.dtype, device=g.device)
    accepted, sound = acceptance(w, g, no_key, strength, by_rate=False, most=0)
    count = accepted.sum(2, keepdim=True)
    finite = torch.where(sound, g, 0)
    normal = torch.stack(
        [torch.randn(g.shape[1:], generator=each, dtype=g.dtype, device=g.device) for each in generators]
    )
    pull = law.drift / 2 * (product(accepted, finite) - count * finite)
    after = g + torch.where(count > 0, pull + laplacian_noise(finite, accepted, normal, law.scatter), 0)
    return after, count.mean((1, 2))


def _scattered(
    g: Float[Tensor, "replicas N D"], pairs: Pairs, generators: list[torch.Generator]
) -> tuple[Float[Tensor, "replicas N D"], Float[Tensor, "replicas"]]:
    """g + Σ Δg over the pairs, equation (8), and the collisions per neuron."""
    replicas, neurons, dimension = g.shape
    before = g.flatten(0, 1)
    after = before.clone()
    first, second = (pairs.sample * neurons + each for each in (pairs.first, pairs.second))
    counts = torch.bincount(pairs.sample, minlength=replicas)
    length = max(1, CHUNK // dimension)
    start = 0
    for generator, count in zip(generators, counts.tolist(), strict=True):
        end = start + count
        while start < end:
            part = slice(start, min(start + length, end))
            i, j = first[part], second[part]
            direction = unit_vectors(len(i), dimension, generator, g)
            change = velocity_change(before[i], before[j], direction, LAWS["kiti"])
            after.index_add_(0, i, change).index_add_(0, j, change, alpha=-1)
            start = part.stop
    return after.view_as(g), 2 * counts / neurons


def soft_collisions(
    w: Float[Tensor, "replicas *block N D"],
    g: Float[Tensor, "replicas *block N D"],
    coll_coef: float,
    self_similarity: bool,
) -> Float[Tensor, "replicas *block N D"]:
    """Algorithm 2: g − coll_coef (cos(w, w) ∘ cos(g, g)) g.

    Args:
        w: weights; the coordinates of a neuron may be spread over the blocks of one axis.
        g: gradients.
        coll_coef: factor of the repulsion.
        self_similarity: whether the diagonal takes part.
    """
    with full_precision(g.device):
        similarity = cosines(w).mul_(cosines(g))
        if not self_similarity:
            similarity.diagonal(dim1=1, dim2=2).zero_()
        if g.ndim == 3:
            return torch.baddbmm(g, similarity, g, alpha=-coll_coef)
        flat = g.flatten(0, 1)
        everywhere = similarity[:, None].expand(-1, g.shape[1], -1, -1).flatten(0, 1)
        return torch.baddbmm(flat, everywhere, flat, alpha=-coll_coef).view(g.shape)


def cosines(a: Float[Tensor, "replicas *block N D"]) -> Float[Tensor, "replicas N N"]:
    """cos(a_i, a_j) of all pairs; 0 where a_i or a_j is zero, or too small for its square (3·10⁻¹⁶ in float32)."""
    if a.ndim == 3:
        product = torch.bmm(a, a.mT)
    else:
        flat = a.flatten(0, 1)
        product = torch.bmm(flat, flat.mT).unflatten(0, a.shape[:2]).sum(1)
    square = product.diagonal(dim1=1, dim2=2)
    # Numbers near the smallest have lost their digits.
    least = torch.finfo(a.dtype).tiny / torch.finfo(a.dtype).eps
    inverse = torch.where(square > least, square.rsqrt(), 0)
    return product * (inverse[:, :, None] * inverse[:, None, :])
