"""The training objective."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["relative_l2"]


def relative_l2(
    prediction: Float[Tensor, "batch frames *grid"], target: Float[Tensor, "batch frames *grid"]
) -> Float[Tensor, "batch frames"]:
    """Relative L2 error of each frame, |û - u| / |u|, with finite gradient also at an exact fit.

    A target that is zero everywhere has no relative error; its error is divided by the smallest positive number
    instead of making the whole batch NaN.
    """
    # Autocast would take the norms in half precision.
    with torch.autocast(target.device.type, enabled=False):
        difference = prediction.to(target.dtype) - target
        error, norm = (torch.linalg.vector_norm(field.flatten(2), dim=2) for field in (difference, target))
    return error / norm.clamp_min(torch.finfo(norm.dtype).tiny)
