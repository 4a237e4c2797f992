"""What a loaded model takes, checked before its layers see it: shape, kind of array, precision, device."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kitipde.config import AirfoilOFormerConfig, RunConfig
from kitipde.errors import InputError

__all__ = ["InputCheck"]


@dataclass(frozen=True)
class InputCheck:
    """A forward pre-hook that names what a model wants where something else is given.

    Attributes:
        frames: given to the model at once.
        axes: names of the axes behind batch and frames.
        fixed: sizes of those axes that the model fixes, by name.
    """

    frames: int
    axes: tuple[str, ...]
    fixed: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, config: RunConfig, dimension: int, points: int) -> "InputCheck":
        """For the model that a run's settings describe.

        Args:
            config: the settings.
            dimension: spatial axes.
            points: nodes of the mesh; a grid may have any number.
        """
        if isinstance(config.model, AirfoilOFormerConfig):
            return cls(config.data.input_frames, ("node", "field"), (("node", points), ("field", 4)))
        return cls(config.data.input_frames, ("x", "y", "z")[:dimension])

    def __call__(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Check the first argument of the model.

        Raises:
            InputError: with what the model wants, and what was given.
        """
        if not inputs:
            return
        a, own = inputs[0], next(each for each in model.parameters() if each.is_floating_point())
        allowed = tuple(dict.fromkeys((own.dtype, *getattr(model, "precisions", ()))))
        precision = " or ".join(map(str, allowed))
        wanted = f"this model takes a torch tensor of {precision} and shape [{', '.join(self._shape())}]"
        if not isinstance(a, Tensor):
            kind = f"{type(a).__module__}.{type(a).__name__}".removeprefix("builtins.")
            raise InputError(f"{wanted}, not a {kind}; convert it with torch.as_tensor(a, dtype={own.dtype})")
        if a.dtype not in allowed:
            raise InputError(f"{wanted}, not {a.dtype}; convert with a.to({own.dtype})")
        if not self._fits(a):
            raise InputError(f"{wanted}, not {list(a.shape)}")
        if a.device != own.device:
            raise InputError(f"the model is on {own.device} and its input on {a.device}: move one with .to(…)")

    def _shape(self) -> tuple[str, ...]:
        sizes = dict(self.fixed)
        frames = f"{self.frames} frame{'s' if self.frames > 1 else ''}"
        return ("batch", frames, *(f"{sizes[axis]} {axis}s" if axis in sizes else axis for axis in self.axes))

    def _fits(self, a: Tensor) -> bool:
        if a.ndim != 2 + len(self.axes) or a.shape[1] != self.frames:
            return False
        return all(a.shape[2 + self.axes.index(axis)] == size for axis, size in self.fixed)
