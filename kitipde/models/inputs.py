"""What a loaded model takes, checked before its layers see it: shape, kind of array, precision, device."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kitipde.errors import InputError
from kitipde.problem.problem import Problem

__all__ = ["InputCheck"]


@dataclass(frozen=True)
class InputCheck:
    """A forward pre-hook that names what a model wants where something else is given.

    Attributes:
        problem: what the model is for.
    """

    problem: Problem

    def __call__(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Check the frames and the context that the model is given.

        Raises:
            InputError: with what the model wants, and what was given.
        """
        if not inputs:
            return
        problem = self.problem
        frames = f"{problem.input_frames} frame{'s' if problem.input_frames > 1 else ''}"
        fields = f"{len(problem.inputs)} field{'s' if len(problem.inputs) > 1 else ''} ({', '.join(problem.inputs)})"
        self._check(model, inputs[0], "", (frames, fields), (problem.input_frames, len(problem.inputs)))
        if not problem.context:
            return
        names = ", ".join((*problem.static, *problem.parameters))
        if len(inputs) < 2 or inputs[1] is None:
            raise InputError(f"this model takes a context too, [batch, {problem.context} channels ({names}), *space]")
        self._check(model, inputs[1], "context ", (f"{problem.context} channels ({names})",), (problem.context,))

    def _check(self, model: nn.Module, a: Any, what: str, words: tuple[str, ...], sizes: tuple[int, ...]) -> None:
        own = next(each for each in model.parameters() if each.is_floating_point())
        allowed = tuple(dict.fromkeys((own.dtype, *getattr(model, "precisions", ()))))
        precision, shape = " or ".join(map(str, allowed)), ", ".join(("batch", *words, *self._space()))
        wanted = f"this model takes a {what}torch tensor of {precision} and shape [{shape}]"
        if not isinstance(a, Tensor):
            kind = f"{type(a).__module__}.{type(a).__name__}".removeprefix("builtins.")
            raise InputError(f"{wanted}, not a {kind}; convert it with torch.as_tensor(a, dtype={own.dtype})")
        if a.dtype not in allowed:
            raise InputError(f"{wanted}, not {a.dtype}; convert with a.to({own.dtype})")
        space = self.problem.domain.shape
        fits = a.ndim == 1 + len(sizes) + len(space) and tuple(a.shape[1 : 1 + len(sizes)]) == sizes
        if not fits or (self.problem.domain.kind == "mesh" and tuple(a.shape[1 + len(sizes) :]) != space):
            raise InputError(f"{wanted}, not {list(a.shape)}")
        if a.device != own.device:
            raise InputError(f"the model is on {own.device} and its input on {a.device}: move one with .to(…)")

    def _space(self) -> tuple[str, ...]:
        domain = self.problem.domain
        return (f"{domain.shape[0]} nodes",) if domain.kind == "mesh" else ("x", "y", "z")[: domain.dimension]
