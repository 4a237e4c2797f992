"""Linear attention with rotary positions, and the blocks that OFormer is made of.

For N points with queries q, keys k and values v in R^D a head gives

    out_n = (1/N) Σ_m (q_n · k_m) v_m = q_n (kᵀ v) / N,

a sum over points that a grid refinement turns into an integral; no softmax, so the cost is linear in N. The *Galerkin*
type normalises k and v, the *Fourier* type q and k, each point's vector by itself. Positions enter by rotation (RoPE):
pairs of components of q and k turn by angles proportional to the coordinates, so that q_n · k_m depends on the
difference of the two positions only.

References:
    Li, Meidani and Barati Farimani, Transformer for Partial Differential Equations' Operator Learning, 2023.
    Cao, Choose a Transformer: Fourier or Galerkin, 2021. Su et al., RoFormer, 2021.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = [
    "AttentionKind",
    "CrossAttention",
    "CrossBlock",
    "EncoderBlock",
    "GatedMLP",
    "GaussianFeatures",
    "SelfAttention",
    "linear_attention",
    "rotate",
]

AttentionKind = Literal["galerkin", "fourier"]


def rotate(
    features: Float[Tensor, "*batch points size"],
    positions: Float[Tensor, "*#batch points dimension"],
    scale: float,
    min_frequency: float,
) -> Float[Tensor, "*batch points size"]:
    """Turn pairs of components by θ_j = coordinate · (scale/min_frequency) · 10000^(−2j/D), D = size/dimension.

    The first D components turn with the first coordinate, the next with the second. Angles reach 1e5 and more, so they
    are formed in float32 at least, outside autocast.
    """
    dimension = positions.shape[-1]
    size = features.shape[-1] // dimension
    with torch.autocast(features.device.type, enabled=False):
        coordinates = positions.to(torch.promote_types(positions.dtype, torch.float32)) * (scale / min_frequency)
        steps = torch.arange(0, size, 2, dtype=coordinates.dtype, device=coordinates.device)
        angles = coordinates[..., None] * 10000.0 ** (-steps / size)
        cosine, sine = angles.cos().to(features.dtype), angles.sin().to(features.dtype)
    first, second = features.unflatten(-1, (dimension, 2, size // 2)).unbind(-2)
    turned = torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=-2)
    return turned.flatten(-3)


def linear_attention(
    q: Float[Tensor, "batch heads targets size"],
    k: Float[Tensor, "batch heads sources size"],
    v: Float[Tensor, "batch heads sources size"],
) -> Float[Tensor, "batch heads targets size"]:
    """q (kᵀ v) / N, N the number of sources."""
    return q @ (k.transpose(-1, -2) @ v) / k.shape[-2]


class _Attention(nn.Module):
    """What self- and cross-attention share: heads, normalisation, rotation, output map."""

    def __init__(
        self, width: int, heads: int, head_width: int, kind: AttentionKind, scale: float, min_frequency: float
    ) -> None:
        super().__init__()
        self.heads, self.head_width, self.kind = heads, head_width, kind
        self.scale, self.min_frequency = scale, min_frequency
        alone = heads == 1 and head_width == width
        self.output = nn.Identity() if alone else nn.Linear(heads * head_width, width)

    def _attend(
        self,
        q: Float[Tensor, "batch targets inner"],
        k: Float[Tensor, "batch sources inner"],
        v: Float[Tensor, "batch sources inner"],
        target_positions: Float[Tensor, "targets dimension"],
        source_positions: Float[Tensor, "sources dimension"],
    ) -> Float[Tensor, "batch targets width"]:
        q, k, v = (part.unflatten(-1, (self.heads, self.head_width)).transpose(1, 2) for part in (q, k, v))
        size = (self.head_width,)
        k = F.layer_norm(k, size)
        if self.kind == "galerkin":
            v = F.layer_norm(v, size)
        else:
            q = F.layer_norm(q, size)
        q = rotate(q, target_positions, self.scale, self.min_frequency)
        k = rotate(k, source_positions, self.scale, self.min_frequency)
        return self.output(linear_attention(q, k, v).transpose(1, 2).flatten(-2))


class SelfAttention(_Attention):
    """Linear attention of points among themselves.

    Args:
        width: channels of the stream.
        heads: number of heads.
        head_width: channels of each.
        kind: what is normalised.
        scale: of the rotary angles.
        min_frequency: of the rotary angles.
    """

    def __init__(
        self, width: int, heads: int, head_width: int, kind: AttentionKind, scale: float, min_frequency: float
    ) -> None:
        super().__init__(width, heads, head_width, kind, scale, min_frequency)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        q, _, v = self.qkv.weight.data.chunk(3)
        _near_identity(q if kind == "galerkin" else v, heads)

    def forward(
        self, x: Float[Tensor, "batch points width"], positions: Float[Tensor, "points dimension"]
    ) -> Float[Tensor, "batch points width"]:
        """Each point's weighted sum over all points."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self._attend(q, k, v, positions, positions)


class CrossAttention(_Attention):
    """Linear attention of target points over source points; arguments as for `SelfAttention`."""

    def __init__(
        self, width: int, heads: int, head_width: int, kind: AttentionKind, scale: float, min_frequency: float
    ) -> None:
        super().__init__(width, heads, head_width, kind, scale, min_frequency)
        self.query = nn.Linear(width, heads * head_width, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * head_width, bias=False)
        for weight in (self.query.weight.data, *self.key_value.weight.data.chunk(2)):
            _near_identity(weight, heads)

    def forward(
        self,
        targets: Float[Tensor, "batch targets width"],
        sources: Float[Tensor, "batch sources width"],
        target_positions: Float[Tensor, "targets dimension"],
        source_positions: Float[Tensor, "sources dimension"],
    ) -> Float[Tensor, "batch targets width"]:
        """Each target's weighted sum over the sources."""
        key, value = self.key_value(sources).chunk(2, dim=-1)
        return self._attend(self.query(targets), key, value, target_positions, source_positions)


def _near_identity(weight: Float[Tensor, "inner width"], heads: int) -> None:
    """Initialise each head's block as (orthogonal + identity) / head width."""
    for block in weight.chunk(heads):
        nn.init.orthogonal_(block, gain=1.0 / len(block))
        block.diagonal().add_(1.0 / len(block))


class GatedMLP(nn.Module):
    """Linear(d → 2m), GELU of one half times the other, Linear(m → d), with m = d."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Acts on each point alone."""
        gate, value = self.expand(x).chunk(2, dim=-1)
        return self.contract(F.gelu(gate) * value)


class GaussianFeatures(nn.Module):
    """[sin 2πxB, cos 2πxB] with fixed frequencies B ~ N(0, scale²)."""

    frequencies: Tensor

    def __init__(self, dimension: int, frequencies: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(dimension, frequencies) * scale)

    def forward(self, positions: Float[Tensor, "*batch dimension"]) -> Float[Tensor, "*batch features"]:
        """Twice as many features as frequencies."""
        # No matrix product: in TF32 or bfloat16 it would lose angles of hundreds of radians.
        angles = 2 * torch.pi * (positions.unsqueeze(-1) * self.frequencies).sum(dim=-2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class EncoderBlock(nn.Module):
    """x ← LN₁ x; x ← R(x, attention(x)); x ← LN₂ x; x ← R(x, mlp(x)): the skip carries the normalised stream.

    Args:
        attention: of the stream's width.
        width: of the stream.
        normalise: without it both LN are left out.
        residuals: R of the two sums, for feature maps [batch, width, points].
    """

    def __init__(
        self, attention: SelfAttention, width: int, normalise: bool, residuals: tuple[nn.Module, nn.Module]
    ) -> None:
        super().__init__()
        self.attention, self.mlp = attention, GatedMLP(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) if normalise else nn.Identity() for _ in range(2))
        self.residuals = nn.ModuleList(residuals)

    def forward(
        self, x: Float[Tensor, "batch points width"], positions: Float[Tensor, "points dimension"]
    ) -> Float[Tensor, "batch points width"]:
        """The stream after attention and MLP."""
        x = self.norms[0](x)
        x = _joined(self.residuals[0], x, self.attention(x, positions))
        x = self.norms[1](x)
        return _joined(self.residuals[1], x, self.mlp(x))


class CrossBlock(nn.Module):
    """q ← R(q, cross-attention(q, z)); q ← R(q, mlp(q)), without normalisation."""

    def __init__(self, attention: CrossAttention, width: int, residuals: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.attention, self.mlp = attention, GatedMLP(width)
        self.residuals = nn.ModuleList(residuals)

    def forward(
        self,
        queries: Float[Tensor, "batch targets width"],
        sources: Float[Tensor, "batch sources width"],
        target_positions: Float[Tensor, "targets dimension"],
        source_positions: Float[Tensor, "sources dimension"],
    ) -> Float[Tensor, "batch targets width"]:
        """The queries after they have seen the sources."""
        seen = self.attention(queries, sources, target_positions, source_positions)
        queries = _joined(self.residuals[0], queries, seen)
        return _joined(self.residuals[1], queries, self.mlp(queries))


def _joined(
    residual: nn.Module, x: Float[Tensor, "batch points width"], v: Float[Tensor, "batch points width"]
) -> Float[Tensor, "batch points width"]:
    """R(x, v) for a stream of tokens: residuals take feature maps with the channels before the points."""
    return residual(x.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
