"""1×1 convolutions as what they are: one matrix product at each point.

neuraloperator writes the maps that act on each point alone as `Conv1d` with kernel size 1. As batched matrix products
they are faster on a CPU (`benchmarks/models.py` has whole steps), and they batch over stacked replicas.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["PointwiseLinear", "as_matrix_products"]


class PointwiseLinear(nn.Conv1d):
    """W v(x) + b at each point x, with the parameters (names, shapes, initialisation) of a 1×1 `Conv1d`."""

    def forward(self, input: Float[Tensor, "batch in_channels points"]) -> Float[Tensor, "batch out_channels points"]:
        """The map applied at each point; where each point's channels are neighbours in memory, they stay so."""
        if input.stride(1) == 1:
            return nn.functional.linear(input.permute(2, 0, 1), self.weight.squeeze(-1), self.bias).permute(1, 2, 0)
        weight = self.weight.squeeze(-1).expand(input.shape[0], -1, -1)
        if self.bias is None:
            return torch.bmm(weight, input)
        return torch.baddbmm(self.bias[:, None], weight, input)


def as_matrix_products(layer: nn.Module) -> nn.Module:
    """The same layer with each 1×1 `Conv1d` in it evaluated as a matrix product; parameters stay where they are."""
    for child in layer.modules():
        if type(child) is nn.Conv1d and child.kernel_size == (1,) and child.groups == 1:
            child.__class__ = PointwiseLinear
    return layer
