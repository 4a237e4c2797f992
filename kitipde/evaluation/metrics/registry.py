"""Metrics by name: what each is, what it needs, and how it is computed from quantities of frames.

A metric of another package is one file with a `Metric`, found by the entry point `kitipde.metrics`:

    def largest(compared):                                    # of each sample, frame and field
        return {"largest_error": compared.error.abs().amax(compared.axes)}

    metric = Metric("largest_error", "largest error", "max |e|", largest, lambda q: q["largest_error"].amax(1))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from datagen.geometry import Geometry, Grid, Mesh
from kitipde.evaluation.metrics.compared import Compared, Quantities

__all__ = ["Metric", "Need"]

Need = Literal["grid", "periodic", "mesh"]


@dataclass(frozen=True)
class Metric:
    """A number that tells how wrong a prediction is.

    Attributes:
        name: of the variable, without the `rollout_` of errors over whole rollouts.
        title: in words, for tables and axes.
        definition: its formula.
        measure: quantities of each sample, frame and field of a batch; metrics may share one function, which is called
            once.
        rollout: from the quantities of all samples to the error of each whole rollout, [samples, fields].
        frame: the same for each frame, [samples, frames, fields]; none for a metric of rollouts only.
        units: `field` for those of the field, `field squared` for their square, or its own; `1` for none.
        needs: where it is defined; elsewhere it is absent.
        fields: targets that it is about; empty for any.
        finish: from errors [seeds, samples] to what is averaged and compared, if that is not a number a sample.
    """

    name: str
    title: str
    definition: str
    measure: Callable[[Compared], Quantities]
    rollout: Callable[[Quantities], Tensor]
    frame: Callable[[Quantities], Tensor] | None = None
    units: str = "1"
    needs: frozenset[Need] = frozenset()
    fields: tuple[str, ...] = ()
    finish: Callable[[Float[np.ndarray, "seeds samples"]], Float[np.ndarray, "seeds columns"]] | None = None

    def units_of(self, field_units: str) -> str:
        """Its units, given those of the field."""
        if self.units == "field squared":
            return f"({field_units})^2"
        return field_units if self.units == "field" else self.units

    @property
    def by_field(self) -> bool:
        """Whether each field has its own."""
        return not self.fields

    def applies(self, geometry: Geometry, targets: Sequence[str]) -> bool:
        """Whether it is defined for fields of these names on this geometry."""
        has = {
            "grid": isinstance(geometry, Grid),
            "periodic": isinstance(geometry, Grid) and geometry.periodic and geometry.uniform,
            "mesh": isinstance(geometry, Mesh),
        }
        return all(has[need] for need in self.needs) and set(self.fields) <= set(targets)
