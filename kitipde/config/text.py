"""YAML as settings need it: mappings, lists, words and numbers, from people who may be strangers.

Tags, anchors and aliases are refused (a few lines of aliases can stand for gigabytes), as are a key given twice, a text
or a nesting out of all proportion, and numbers are what they look like: YAML 1.1 would read 1e-3 as a word, 010 as 8,
1:30 as 90 and no as false.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from kitipde.errors import InputError

__all__ = ["parse_yaml", "write_yaml"]

_LONGEST = 1_000_000
"""Characters; the longest file of settings has a few thousand."""
_DEEPEST = 20
"""Mappings and lists within each other; settings need four."""


class _Loader(yaml.SafeLoader):
    """Builds plain values only."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        for kind in ("tag", "anchor"):
            if getattr(event, kind, None):
                raise _refusal(f"{kind}s are not allowed ('{getattr(event, kind)}')", event)
        if self.depth > _DEEPEST:
            raise _refusal(f"nested more than {_DEEPEST} deep", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = [str(key.value) for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), keys[-1])
            raise _refusal(f"the key '{twice}' is given twice", node)
        return mapping


def _refusal(text: str, where: yaml.Event | yaml.Node) -> yaml.YAMLError:
    return yaml.YAMLError(f"{text}{_place(where.start_mark)}")


def _place(mark: Any) -> str:
    return "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    """Quotes the words that other readers of YAML, or the one above, would take for something else."""


# The core schema of YAML 1.2, in which a number needs no point to have an exponent.
_CORE = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?[0-9]+", [*"-+0123456789"]),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _CORE.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def parse_yaml(text: str) -> Any:
    """The value that a text stands for.

    Raises:
        InputError: if it is not YAML, or YAML that settings have no use for.
    """
    if len(text) > _LONGEST:
        raise InputError(f"longer than {_LONGEST} characters")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{error.problem}{_place(error.problem_mark)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(" ".join(str(error).split())) from error


def write_yaml(document: Any) -> str:
    """A text that `parse_yaml` reads as the same plain values; so does any other reader of YAML."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
