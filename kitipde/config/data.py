"""Settings of the problem: which fields of which dataset are learnt from, on which grid, by which samples."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PlainSerializer, model_validator

from datagen.geometry import parse_resolution, resolution_text
from kitipde.config.section import Count, Section, Seed

__all__ = ["DataConfig", "Names", "PerAxis"]


def _per_axis(given: Any) -> Any:
    """`64`, `64x128` and `[64, 128]` alike."""
    if isinstance(given, str | int) and not isinstance(given, bool) and given != "auto":
        return parse_resolution(given)
    return given


def _written(numbers: Any) -> Any:
    if not isinstance(numbers, tuple):
        return numbers
    text = resolution_text(numbers)
    return int(text) if text.isdecimal() else text


PerAxis = Annotated[
    tuple[Count, ...], Field(min_length=1, max_length=3), BeforeValidator(_per_axis), PlainSerializer(_written)
]
"""A whole number for every axis, or one for each."""


def _words(given: Any) -> Any:
    """`u` and `u,v` are lists of names."""
    return tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given


Names = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""Names of variables: a list, or one text with commas."""


class DataConfig(Section):
    """Which fields of which dataset are learnt from and how they are split.

    The last samples of the file are the test set. Of the others the first are for training, those after them for
    validation; with `split_seed` these two are drawn from them at random.

    Attributes:
        path: the dataset file.
        inputs: variables whose frames are the model's input; none for what the file says, or else its fields with time.
            One that is no target has to be known in advance, as a forcing is.
        targets: variables that are predicted; none as for `inputs`.
        static: fields that are constant in time and given beside the inputs.
        parameters: numbers of each sample that are given beside the inputs, each as a constant field.
        start: the first frame of the first window.
        stride: frames from one that is taken to the next.
        windows: whether each training sample gives its first window only, or one beginning at every frame; validation
            and test are always the first.
        input_frames: frames given to the model at once (1 for a field without time); none for what the file says, or 1.
        output_frames: frames predicted, by repeated application or by marching in the latent space; none for what the
            file says, or as many as there are, up to 10.
        resolution: points along every axis to train on, or along each, `64x128`; none for the stored grid.
        downsample: how a coarser grid is reached: every n-th point (of cells, averages), or truncation of the spectrum.
        train: number of training samples; none for what validation and test leave.
        validation: number of validation samples; none for a tenth of the file.
        test: number of test samples; none for a tenth of the file.
        split_seed: of the draw of training and validation samples; none for the first ones in their order.
        normalize: `standard` subtracts the mean of the training split from each field and divides by its standard
            deviation, `none` gives the network the values as they are.
        allow_uneven_times: whether one map may be trained for, and applied over, time steps that differ.
    """

    path: Path | None = None
    inputs: Names | None = None
    targets: Names | None = None
    static: Names = ()
    parameters: Names = ()
    start: NonNegativeInt = 0
    stride: Count = 1
    windows: Literal["first", "all"] = "first"
    input_frames: Count | None = None
    output_frames: Count | None = None
    resolution: PerAxis | None = None
    downsample: Literal["stride", "spectral"] = "stride"
    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None
    split_seed: Seed | None = None
    normalize: Literal["none", "standard"] = "none"
    allow_uneven_times: bool = False

    @model_validator(mode="before")
    @classmethod
    def _keys_of_the_first_edition(cls, given: Any) -> Any:
        """Runs of the first edition have one `input` and one `target`; `flow` was what four fields were called."""
        if not isinstance(given, dict):
            return given
        given = dict(given)
        for old, new in (("input", "inputs"), ("target", "targets")):
            if old in given:
                name = given.pop(old)
                if new in given:
                    raise ValueError(f"{old}={name} beside {new}={given[new]}: these are one setting, {new}")
                given[new] = _FLOW if name == "flow" else name
        return given

    @model_validator(mode="after")
    def _names_are_told_once(self) -> Self:
        for key in ("inputs", "targets", "static", "parameters"):
            names = getattr(self, key) or ()
            if len(set(names)) < len(names) or not all(names):
                raise ValueError(f"{key}={','.join(names)} has an empty name, or one twice")
        if self.inputs == () or self.targets == ():
            raise ValueError("inputs and targets need at least one name each")
        return self

    @property
    def given_frames(self) -> int:
        """`input_frames` of a run, in which it is known."""
        assert self.input_frames is not None
        return self.input_frames

    @property
    def wanted_frames(self) -> int:
        """`output_frames` of a run, in which it is known."""
        assert self.output_frames is not None
        return self.output_frames


_FLOW = ("velocity_x", "velocity_y", "density", "pressure")
