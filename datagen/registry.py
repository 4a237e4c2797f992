"""What can be chosen by name: built in, or brought by another package through an entry point.

A registry lists names, modules and one line of help without importing any of them; `load` imports the one that is
asked for. A package adds its own in its `pyproject.toml`:

    [project.entry-points."kitipde.equations"]
    advection = "my_package.advection:Advection"
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from datagen.errors import InputError, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

__all__ = ["Entry", "Registry"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Entry:
    """One choice.

    Attributes:
        name: what users type.
        target: where it is: "module:attribute".
        help: one line.
        package: name and version of the package that brings it; empty: built in.
    """

    name: str
    target: str
    help: str
    package: str = ""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]


class Registry(Mapping[str, Entry], Generic[Value]):
    """All choices of a kind: the built-in ones in their order, then those of other packages by name.

    Args:
        group: of the entry points, such as "kitipde.equations".
        kind: what one of them is, in messages: "equation".
        entries: the built-in ones.
        flaw: what is wrong with an object that was loaded under a name, in words; empty if nothing is.
    """

    def __init__(
        self, group: str, kind: str, entries: tuple[Entry, ...], flaw: Callable[[str, Any], str] = lambda name, it: ""
    ) -> None:
        self.group, self.kind = group, kind
        self._built_in = {entry.name: entry for entry in entries}
        self.flaw = flaw

    @cached_property
    def _brought(self) -> dict[str, list[Entry]]:
        """Those of other packages; two may want the same name."""
        found: dict[str, list[Entry]] = {}
        for point in sorted(_entry_points(tuple(sys.path)).select(group=self.group), key=lambda point: point.name):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
            entry = Entry(point.name, f"{point.module}:{point.attr}", f"from {package}", package)
            found.setdefault(point.name, []).append(entry)
        return found

    def __getitem__(self, name: str) -> Entry:
        return self._built_in[name] if name in self._built_in else self._brought[name][0]

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from (name for name in self._brought if name not in self._built_in)

    def __len__(self) -> int:
        return len(self._built_in.keys() | self._brought.keys())

    def load(self, name: str) -> Value:
        """The object of a name; its module alone is imported.

        Raises:
            InputError: no such name; or a package brings one that cannot be imported, is not what it should be, or has
                the name of another.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        rivals = [entry.package for entry in self._brought.get(name, ())]
        if len(rivals) + (name in self._built_in) > 1:
            others = f"{' and '.join(rivals)} both bring" if name not in self._built_in else f"{rivals[0]} brings"
            built_in = ", which is built in" if name in self._built_in else ""
            raise InputError(f"{others} the {self.kind} '{name}'{built_in} (expected: another name, or uninstall it)")
        entry = self[name]
        where = f"the {self.kind} '{name}' of {entry.package} ({entry.target})"
        try:
            value = importlib.import_module(entry.module)
            for attribute in entry.target.partition(":")[2].split("."):
                value = getattr(value, attribute)
        except Exception as error:
            if not entry.package:
                raise
            raise InputError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
        if flaw := self.flaw(name, value):
            raise InputError(f"{where} {flaw}")
        return value  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=1)
def _entry_points(_path: tuple[str, ...]) -> "EntryPoints":
    """Of all packages on a search path, which is scanned once."""
    # Takes as long to import as all the rest of a command's help.
    from importlib.metadata import entry_points

    return entry_points()  # pyright: ignore[reportReturnType]
