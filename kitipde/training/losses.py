"""The training objective: the relative L2 error of each frame and field, safe where a target is nearly zero."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["FLOOR", "SMALLEST", "loss_units", "relative_l2"]

FLOOR = 0.03
"""Smallest norm that an error is divided by, as a share of the median norm of the training targets."""

SMALLEST = torch.finfo(torch.float32).tiny
"""Floor that only a target of zero reaches."""

# Targets below this share of the root mean square are at rest: they say nothing of the size of the others.
_AT_REST = 1e-3


def loss_units(sizes: Float[Tensor, "samples frames"]) -> tuple[float, float]:
    """The scale that errors and targets are multiplied by, and the floor of a target's root mean square.

    The scale brings the targets to a size near 1, so that norms of float32 numbers can neither under- nor overflow. It
    is a power of two: it changes no bit of a loss that was finite without it. The floor is 0.03 m, m the median over
    samples and frames; targets at rest are left out of it, so that a dataset of which most is zero has a scale too.

    Args:
        sizes: root mean square over the points of each training target, in the units of the network; not all zero.
    """
    typical = float(sizes.square().mean().sqrt())
    scale = 2.0 ** -round(math.log2(typical))
    median = float(sizes[sizes >= _AT_REST * typical].median())
    return scale, FLOOR * median * scale


def relative_l2(
    prediction: Float[Tensor, "batch frames fields *space"],
    target: Float[Tensor, "batch frames fields *space"],
    scale: float | Float[Tensor, " fields"] = 1.0,
    floor: float | Float[Tensor, " fields"] = SMALLEST,
) -> Float[Tensor, "batch frames"]:
    """Relative L2 error of each frame, the mean over fields of |c(û - u)| / max(|c u|, φ√n).

    Its gradient is finite also at an exact fit.

    Args:
        prediction: û.
        target: u.
        scale: c, which brings u to a size near 1.
        floor: φ > 0, the smallest root mean square over the n points of c u that an error is divided by.
    """
    # Autocast would take the norms in half precision.
    with torch.autocast(target.device.type, enabled=False):
        difference = prediction.to(target.dtype) - target
        factor = scale.reshape(-1, *(1,) * (target.ndim - 3)) if isinstance(scale, Tensor) else scale
        error, norm = (torch.linalg.vector_norm((factor * field).flatten(3), dim=3) for field in (difference, target))
    return (error / norm.clamp_min(floor * math.sqrt(target[0, 0, 0].numel()))).mean(2)
