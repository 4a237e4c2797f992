"""What a sweep varies: settings with ranges or choices, as `--param` takes them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kitipde.config.load import ALTERNATIVES, Tree, override
from kitipde.config.text import parse_yaml
from kitipde.errors import InputError

if TYPE_CHECKING:
    from optuna import Trial

__all__ = ["Dimension", "assigned_keys", "check_dimensions", "parse_dimension"]

_EXAMPLES = "residual.coll_coef=0.1:0.9, optimizer.learning_rate=1e-4:1e-2:log or model.width=16,32,64"

_SPLITS = (
    "it moves samples between training, validation and test: one trial would be judged, or tested, on samples that "
    "another was trained on"
)
_TARGETS = "it changes what is predicted, so that the validation losses of two trials are not of the same targets"
_DATA = "the validation losses of trials on other data cannot be compared"
_LUCK = "a lucky seed would be taken for good settings; give --seeds for several seeds of every trial"
_FIXED = {
    "data.path": _DATA,
    **dict.fromkeys(("data.train", "data.validation", "data.test"), _SPLITS),
    **dict.fromkeys(("data.target", "data.input_frames", "data.output_frames"), _TARGETS),
    **dict.fromkeys(("data.resolution", "data.downsample"), _TARGETS),
    "data.normalize": "the validation loss is in standardised units",
    **dict.fromkeys(("training.seed", "training.seeds"), _LUCK),
    "model.region_weight": "it weighs the errors that trials are judged by",
}
"""What no sweep may vary, and why."""


@dataclass(frozen=True)
class Dimension:
    """One setting and its values: a range of whole or real numbers, or choices.

    Attributes:
        key: the setting.
        low: least value of a range.
        high: largest.
        logarithmic: whether the range is searched by factors.
        choices: the values, where it is no range.
    """

    key: str
    low: float | int | None = None
    high: float | int | None = None
    logarithmic: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: "Trial") -> Any:
        """A value for a trial."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.logarithmic)
        assert self.low is not None
        assert self.high is not None
        return trial.suggest_float(self.key, self.low, self.high, log=self.logarithmic)

    def examples(self) -> tuple[Any, ...]:
        """All choices, or both ends: values to try the settings with."""
        return self.choices or (self.low, self.high)


def parse_dimension(text: str) -> Dimension:
    """A dimension from KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A,B,C.

    Raises:
        InputError: if it is none of these.
    """
    key, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not key or not values:
        raise InputError(f"--param '{text}' is not understood (allowed: {_EXAMPLES})")
    if ":" not in values:
        choices = tuple(_value(word, text) for word in values.split(","))
        if len(set(map(repr, choices))) < 2:
            raise InputError(f"--param '{text}' has nothing to choose from (allowed: {_EXAMPLES})")
        return Dimension(key, choices=choices)
    ends, logarithmic = values.split(":"), False
    if len(ends) == 3 and ends[2] == "log":
        ends, logarithmic = ends[:2], True
    if len(ends) != 2:
        raise InputError(f"--param '{text}' is no range (allowed: {_EXAMPLES})")
    low, high = (_number(word, text) for word in ends)
    if not low < high:
        raise InputError(f"--param '{text}': the range must begin below its end")
    if logarithmic and low <= 0:
        raise InputError(f"--param '{text}': a range that is searched by factors must begin above 0")
    return Dimension(key, low, high, logarithmic)


def check_dimensions(dimensions: Sequence[Dimension], assignments: Iterable[str]) -> None:
    """Whether trials that differ in these settings can be compared, and each has what `--set` says.

    Args:
        dimensions: what varies.
        assignments: the texts of `--set`.

    Raises:
        InputError: if they cannot, because of a setting that would move the splits, the targets or the seeds; or a
            trial would drop what `--set` says.
    """
    given = assigned_keys(assignments)
    keys = [each.key for each in dimensions]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise InputError(f"--param names {key} twice")
        if key in _FIXED:
            raise InputError(f"--param {key}: a sweep cannot vary it: {_FIXED[key]}")
        if key in given:
            raise InputError(f"{key} is in --param and in --set: leave one of them out")
        for pair in ALTERNATIVES:
            if key not in pair:
                continue
            other = pair[1 - pair.index(key)]
            for option, names in (("--set", given), ("--param", keys)):
                if other in names:
                    raise InputError(f"--param {key} and {option} {other} exclude each other: leave one of them out")


def assigned_keys(assignments: Iterable[str]) -> set[str]:
    """The dotted keys of all settings that texts of `--set` give a value."""
    return set(_leaves(override({}, assignments)))


def _leaves(tree: Tree, parents: str = "") -> Iterator[str]:
    """The dotted keys of all values in a tree."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{parents}{key}.")
        else:
            yield f"{parents}{key}"


def _value(word: str, text: str) -> Any:
    try:
        value = parse_yaml(word)
    except InputError as error:
        raise InputError(f"--param '{text}': '{word}' is not a YAML value: {error}") from error
    if isinstance(value, list | dict):
        raise InputError(f"--param '{text}': '{word}' is not a single value (allowed: {_EXAMPLES})")
    return value


def _number(word: str, text: str) -> float | int:
    if not _is_number(word):
        raise InputError(f"--param '{text}': '{word}' is not a number (allowed: {_EXAMPLES})")
    return int(word) if word.strip().lstrip("-").isdigit() else float(word)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
