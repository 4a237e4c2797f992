"""What is to be made of a dataset, and what of it is there: parts of samples, by number."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datagen.equations.recipe import Recipe
from datagen.equations.settings import NUMERICAL_SETTINGS, numerical_settings
from datagen.errors import InputError
from datagen.generation.machine import Machine
from datagen.solvers.random_fields import LARGEST_SEED
from datagen.store.layout import Layout
from datagen.store.parts import being_replaced, clean_up, parts_folder
from datagen.store.reader import open_dataset

__all__ = ["SETTINGS", "Parts", "Plan", "Recipe", "finished", "plan", "plan_anew"]

SETTINGS = "recipe.json"
"""Where the settings of the parts stand, in their folder."""

_PART_BYTES = 64 * 1024 * 1024
_FEWEST_PARTS = 16


@dataclass(frozen=True)
class Parts(Sequence[range]):
    """Sample indices of each part: `step` a part, and in the last one what is left. Many parts take no memory."""

    samples: int
    step: int

    def __len__(self) -> int:
        return -(-self.samples // self.step)

    def __getitem__(self, number: Any) -> Any:
        first = range(0, self.samples, self.step)[number]
        return range(first, min(first + self.step, self.samples))

    def samples_of(self, machine: Machine) -> int:
        """How many samples are in the share of a process."""
        numbers = range(machine.shard, len(self), machine.shards)
        lacking = self.step - len(self[-1]) if len(self) - 1 in numbers else 0
        return len(numbers) * self.step - lacking


@dataclass(frozen=True)
class Plan:
    """What a generation will make.

    Attributes:
        path: the finished file.
        folder: where its parts wait.
        layout: what the file holds.
        parts: sample indices of each part.
        present: numbers of the parts that are there, of all shards.
        file_bytes: size of the finished file before compression.
    """

    path: Path
    folder: Path
    layout: Layout
    parts: Parts
    present: frozenset[int]
    file_bytes: int

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the parts still to be made, of all shards."""
        return tuple(number for number in range(len(self.parts)) if number not in self.present)

    def part_path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.h5"

    def shard(self, machine: Machine) -> tuple[int, ...]:
        """The missing parts that this process is to make."""
        numbers = range(machine.shard, len(self.parts), machine.shards)
        return tuple(number for number in numbers if number not in self.present)

    def samples_left(self, machine: Machine) -> int:
        """How many samples this process is to make."""
        there = (len(self.parts[number]) for number in self.present if number % machine.shards == machine.shard)
        return self.parts.samples_of(machine) - sum(there)


def _config_text(recipe: Recipe, device: str) -> str:
    """The settings as the file keeps them; rounding differs between kinds of devices, so the kind belongs to them."""
    return json.dumps({"equation": recipe.equation, **asdict(recipe), "device": device}, sort_keys=True)


def plan_anew(recipe: Recipe, path: Path, device: str) -> Plan:
    """Divide up the work, whatever is there.

    Raises:
        InputError: one sample is larger than the memory, or the seed is too large.
    """
    recipe.check_size()
    if recipe.seed > LARGEST_SEED:
        raise InputError(
            f"seed {recipe.seed} is too large (allowed: up to {LARGEST_SEED}; with larger ones, samples of two "
            "datasets can be the same)"
        )
    layout = recipe.layout()
    attributes = {**layout.attributes, NUMERICAL_SETTINGS: " ".join(numerical_settings(recipe))}
    layout = replace(layout, config=_config_text(recipe, device), attributes=attributes)
    size = layout.sample_bytes()
    group = recipe.group(device)
    step = group * max(1, min(_PART_BYTES // size, -(-recipe.samples // _FEWEST_PARTS)) // group)
    parts = Parts(recipe.samples, step)
    return Plan(path, parts_folder(path), layout, parts, frozenset(), size * recipe.samples)


def plan(recipe: Recipe, path: Path, device: str) -> Plan:
    """Look at what is there and divide up the rest.

    Raises:
        InputError: the parts of a dataset with other settings are in the way, or one sample is larger than the memory.
    """
    empty = plan_anew(recipe, path, device)
    begun = empty.folder / SETTINGS
    there = [item.stem.removeprefix("part-") for item in empty.folder.glob("part-*.h5")]
    # Settings under which nothing was made yet (a first attempt that failed) bind nobody.
    if there:
        difference = _difference(_settings(begun), json.loads(empty.layout.config))
        if difference:
            raise InputError(
                f"{empty.folder} holds an unfinished dataset of other settings ({difference}): "
                "give the same settings to continue it, or --overwrite to begin anew"
            )
    present = frozenset(int(number) for number in there if number.isdecimal())
    return replace(empty, present=frozenset(number for number in present if number < len(empty.parts)))


def _settings(begun: Path) -> Mapping[str, Any]:
    """The settings that parts were begun with.

    Raises:
        InputError: they are missing or damaged.
    """
    try:
        settings = json.loads(begun.read_text())
    except (OSError, ValueError) as error:
        settings = error
    if not isinstance(settings, dict):
        raise InputError(
            f"{begun.parent} holds parts of a dataset whose settings are not known ({begun.name} is missing or "
            "damaged): --overwrite begins anew"
        )
    return settings


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The settings that differ, in words; empty if none does."""
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} was {old.get(name)} and is now {new.get(name)}" for name in names)


def finished(recipe: Recipe, path: Path, device: str) -> bool:
    """Whether the file is there already; what an interruption after its last part left beside it is removed.

    One that was being replaced by this recipe's when an interruption came is not.

    Raises:
        InputError: there is a file of that name with something else in it.
    """
    if not path.exists():
        return False
    settings = _config_text(recipe, device)
    with open_dataset(path) as data:
        difference = _difference(data.config, json.loads(settings))
    if difference and being_replaced(path, settings):
        return False
    if difference:
        raise InputError(f"{path} exists with other settings ({difference}); --overwrite replaces it")
    clean_up(path)
    return True
