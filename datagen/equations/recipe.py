"""What a dataset of an equation is: the base class of all recipes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from datagen.checks import at_least, number_of
from datagen.equations.settings import Preset, setting
from datagen.store.layout import Layout

__all__ = ["SAMPLES", "Recipe"]

SAMPLES = "How many samples."
"""The help of `samples`, for recipes with another default."""


@dataclass(frozen=True)
class Recipe(ABC):
    """A dataset as a frozen dataclass: its fields are all that its samples depend on.

    Fields are declared by `datagen.equations.settings.setting`; those that change neither the equation nor the initial
    fields of its seeds as numerical. `layout` and `solve` must be defined, the rest has defaults. A subclass with
    checks of its own in `__post_init__` calls that of this class first.

    Attributes:
        equation: its name in files and on the command line.
        dimension: how many axes its space has.
        main_field: the field that the equation is for; empty: there is no single one.
        start_field: the name under which a file may hold that field at time 0; empty: `initial_` and its name.
        presets: names for values of several settings, the first being the default.
        samples: how many.
        seed: of the dataset; each sample's own follows from it and the sample's index.
    """

    equation: ClassVar[str]
    dimension: ClassVar[int] = 1
    main_field: ClassVar[str] = ""
    start_field: ClassVar[str] = ""
    presets: ClassVar[Mapping[str, Preset]] = {}

    samples: int = setting(100, SAMPLES)
    seed: int = setting(0, "Seed of the dataset, below 2^32; it gives each sample's own.")

    def __post_init__(self) -> None:
        number_of("samples", self.samples, 1)
        at_least("seed", self.seed, 0)

    @abstractmethod
    def layout(self) -> Layout:
        """The file's coordinates, variables and attributes; its `config` is left empty."""

    @abstractmethod
    def solve(self, indices: Sequence[int], device: str) -> Mapping[str, np.ndarray]:
        """Values of every per-sample variable of the layout, for a whole group of samples.

        They depend on the settings and the indices alone. `device` is "cpu" or "cuda:0", ….
        """

    def start(self, indices: Sequence[int]) -> np.ndarray | None:
        """The main field at time 0 on the stored grid, [sample, *space]; None if it cannot be had without solving."""
        return None

    def group(self, device: str) -> int:
        """How many samples are solved together on "cpu" or "cuda".

        Transforms of several fields at once may round otherwise than one after the other, and the time step is that of
        the fastest flow among them. So groups are cut from the dataset once and for all, and always solved whole.
        """
        return 1

    def probe(self) -> tuple[Self, float]:
        """A recipe whose samples are cheaper, and by what factor, to measure the speed with.

        Raises:
            InputError: a sample takes too many time steps.
        """
        return self, 1.0

    def check_size(self) -> None:
        """Raise `InputError` if one sample is larger than the memory of this machine."""
        return

    def causes(self) -> str:
        """The settings that make values too large when they are extreme, in words."""
        return "a setting"

    def frame_interval(self) -> float | None:
        """Time between stored frames, or from the start to the only one; None if that means nothing."""
        return None

    def remark(self) -> str:
        """What a person who makes this dataset should know; empty if nothing."""
        return ""
