"""KITI residuals for an existing neuraloperator model (FNO, TFNO, UNO, …) without touching its code.

Such a model adds skip and convolution inside its blocks' `forward`, where no module could be replaced. Both operands
come out of modules, though: a hook on the skip keeps x and lets zero pass, a hook on the other operand's module returns
R(x, v), and the model's own sum of the two is R(x, v). In evaluation the hooks do nothing: the model's bits stay.

    attachment = kitipde.attach(model, ResidualConfig(kind="kiti", target_rate=0.01, schedule="annealed"))
    advance(model, epoch / epochs, share)     # each epoch: the rate falls
    ...                                       # train as before
    collect(model)                            # what the collisions did
    attachment.remove()                       # the model as it was
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kitipde.collisions.residual import make_residuals
from kitipde.config import ResidualConfig
from kitipde.errors import InputError

__all__ = ["Attachment", "attach"]

_PART = "kiti_residuals"


@dataclass(frozen=True)
class Attachment:
    """The residuals put into a model.

    Attributes:
        residuals: one for each sum, in the model's order.
        handles: of the hooks.
        parts: the model's blocks, each with the residuals that it holds, where `advance` and `collect` find them.
    """

    residuals: nn.ModuleList
    handles: tuple[RemovableHandle, ...]
    parts: tuple[tuple[nn.Module, nn.ModuleList], ...]

    def remove(self) -> None:
        """Make the model what it was."""
        for handle in self.handles:
            handle.remove()
        for blocks, part in self.parts:
            # Others may have been attached meanwhile.
            if getattr(blocks, _PART, None) is part:
                delattr(blocks, _PART)


def attach(model: nn.Module, residual: ResidualConfig) -> Attachment:
    """Join skip and spectral convolution of every Fourier layer by a residual while the model trains.

    The model may be a part of any container: containers, and the keys of every state, stay as they are.

    Args:
        model: any model that holds neuraloperator's `FNOBlocks`.
        residual: the residual's settings.

    Raises:
        InputError: if the model has no such sum, works on complex fields, or has residuals already.
    """
    from neuralop.layers.fno_block import FNOBlocks

    found = [each for each in model.modules() if isinstance(each, FNOBlocks)]
    if any(hasattr(blocks, _PART) for blocks in found):
        raise InputError(f"this {type(model).__name__} has residuals already: call remove() of what attach returned")
    sums: list[tuple[nn.Module, nn.Module, nn.Module, nn.Module]] = []
    for blocks in found:
        if blocks.fno_skips is not None:
            if blocks.complex_data:
                raise InputError("the model works on complex fields: collisions are defined for real features only")
            sums += [(blocks, skip, *_operand(blocks, layer)) for layer, skip in enumerate(blocks.fno_skips)]
    if not sums:
        raise InputError(f"{type(model).__name__} has no Fourier layer with a skip to attach a residual to")
    residuals = make_residuals(residual, len(sums))
    handles: list[RemovableHandle] = []
    for (_, skip, convolution, operand), each in zip(sums, residuals, strict=True):
        meeting = _Meeting(each, convolution)
        handles += [skip.register_forward_hook(meeting.keep), operand.register_forward_hook(meeting.join)]
    parts = []
    for blocks in dict.fromkeys(owner for owner, *_ in sums):
        part = nn.ModuleList(each for (owner, *_), each in zip(sums, residuals, strict=True) if owner is blocks)
        # Not in `model`, which may be a container that calls or counts its members. The residuals have no parameters
        # and save nothing, so every state keeps its keys.
        blocks.add_module(_PART, part)
        parts.append((blocks, part))
    return Attachment(residuals, tuple(handles), tuple(parts))


def _operand(blocks: Any, layer: int) -> tuple[nn.Module, nn.Module]:
    """The convolution of a layer, and the module whose output is added to the skip: it, or a norm after it."""
    convolution = blocks.convs[layer]
    if blocks.norm is None or blocks.preactivation:
        return convolution, convolution
    return convolution, blocks.norm[blocks.n_norms * layer]


class _Meeting:
    """Where the two operands of one sum meet. Its methods are hooks; copies and pickles of the model carry it along."""

    def __init__(self, residual: nn.Module, convolution: nn.Module) -> None:
        self.residual = residual
        self.convolution = convolution
        self.position: Tensor | None = None

    def keep(self, module: nn.Module, _inputs: tuple[Tensor, ...], x: Tensor) -> Tensor | None:
        """Keeps x; the model goes on with zero."""
        if not module.training:
            return None
        self.position = x
        return torch.zeros((), dtype=x.dtype, device=x.device).expand_as(x)

    def join(self, _module: nn.Module, _inputs: tuple[Tensor, ...], v: Tensor) -> Tensor | None:
        """R(x, v) in the place of v, wherever x was kept: a part of a model may be frozen in evaluation mode."""
        if self.position is None:
            return None
        x, self.position = self.position, None
        if x.shape[2:] != v.shape[2:]:
            x = self.convolution.transform(x, output_shape=v.shape[2:])  # pyright: ignore[reportCallIssue]
        return self.residual.to(v.device).train()(x, v)
