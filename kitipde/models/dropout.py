"""Dropout whose choices are a function of a key and a count of calls."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.collisions.backends.counter_rng import uniform_like

__all__ = ["KeyedDropout", "key_dropout"]


class KeyedDropout(nn.Module):
    """Elements are zero with a probability, the others scaled up by 1/(1 − probability); in evaluation nothing happens.

    `torch.nn.Dropout` draws from a generator, which replicas under `torch.func.vmap` cannot have one each of.

    Args:
        probability: of an element to be dropped, in [0, 1).
    """

    dropout_key: Tensor

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.register_buffer("dropout_key", torch.zeros((), dtype=torch.long), persistent=False)
        self.keyed = False

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or self.probability == 0:
            return x
        if not self.keyed:
            key = torch.randint(1 << 62, (), device=x.device)
        else:
            key = self.dropout_key.clone()
            self.dropout_key.add_(1)
        kept = (uniform_like(key, x) >= self.probability) / (1 - self.probability)
        return x * kept.to(x.dtype)


def key_dropout(model: nn.Module, key: int) -> None:
    """From now on the choices of each `KeyedDropout` follow from this number, its place and a count of calls.

    Args:
        model: any module.
        key: below 2^61.
    """
    for place, module in enumerate(each for each in model.modules() if isinstance(each, KeyedDropout)):
        # Places lie so far apart that no count of calls reaches the next.
        module.dropout_key.fill_(key + (place << 48))
        module.keyed = True
