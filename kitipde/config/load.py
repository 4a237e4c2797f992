"""How shipped defaults, a file, `--set` and flags become one resolved configuration."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from kitipde.config.schema import RunConfig
from kitipde.errors import InputError, unknown

__all__ = ["override", "place", "read_config", "resolve_config", "shipped_configs", "validate_config", "write_config"]

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the program, by name."""
    package = Path(__file__).parent.parent
    # A wheel carries them inside the package; in a checkout they lie beside it.
    folder = next(place for place in (package / "configs", package.parent / "configs") if place.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_config(source: str) -> Tree:
    """A configuration as nested dictionaries, from a file's path or the name of a shipped one.

    Raises:
        InputError: if there is no such file, or it is no mapping in YAML.
    """
    shipped = shipped_configs()
    if source in shipped:
        path = shipped[source]
    elif source.endswith((".yaml", ".yml")) or "/" in source:
        path = Path(source)
    else:
        raise unknown("configuration (give a .yaml file or a shipped name)", source, shipped)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{path} must be a mapping of sections to settings, not a {type(tree).__name__}")
    return tree


def override(tree: Tree, assignments: Iterable[str]) -> Tree:
    """A copy of the tree with each `a.b=value` applied; values are read as YAML.

    Raises:
        InputError: for a text without `=`, or a value that is not YAML.
    """
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set takes KEY=VALUE, for example training.epochs=10, not '{text}'")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {key}: '{value}' is not a YAML value") from error
        tree = place(tree, key.strip(), parsed)
    return tree


def place(tree: Tree, key: str, value: Any) -> Tree:
    """A copy of the tree with one dotted key set.

    Raises:
        InputError: if the key leads through something that is no section.
    """
    head, _, rest = key.partition(".")
    if not rest:
        return {**tree, head: value}
    branch = tree.get(head) or {}
    if not isinstance(branch, dict):
        raise InputError(f"config key '{key}': '{head}' is a value, not a section")
    return {**tree, head: place(branch, rest, value)}


def resolve_config(tree: Tree, assignments: Iterable[str] = ()) -> RunConfig:
    """The configuration of a run.

    Raises:
        InputError: naming the first wrong key, its value and what is allowed.
    """
    return validate_config(RunConfig, override(tree, assignments))


def validate_config(schema: type[Model], tree: Tree) -> Model:
    """Check a tree against a schema.

    Raises:
        InputError: naming the first wrong key, its value and what is allowed.
    """
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(schema, error)) from error


def _explain(schema: type[BaseModel], error: ValidationError) -> str:
    details = error.errors()
    # A misspelt key is named before what its absence may have caused.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        siblings = _section(schema, location[:-1]).model_fields
        return f"{unknown('config key', key, ['.'.join([*location[:-1], name]) for name in siblings])}{more}"
    if first["type"] == "model_type":
        return f"config key '{key}' is a section of settings, not a value (given {first['input']!r}){more}"
    # A setting with several types fails once for each: together they say what is allowed.
    key = _setting(schema, location)
    about = [detail for detail in details if _setting(schema, [str(part) for part in detail["loc"]]) == key]
    messages = [detail["msg"].removeprefix("Value error, ") for detail in about]
    message = " or ".join(dict.fromkeys(text[:1].lower() + text[1:] for text in messages))
    value = first["input"]
    given = f" (given {value!r})" if isinstance(value, str | int | float | bool) or value is None else ""
    more = f" (and {len(details) - len(about)} more)" if len(details) > len(about) else ""
    return f"config key '{key}': {message}{given}{more}"


def _setting(schema: type[BaseModel], location: list[str]) -> str:
    """The dotted key of an error's location, without what pydantic adds for the members of a union."""
    parents = location[: len(location) - 1]
    while parents and _section(schema, parents) is _section(schema, parents[:-1]):
        parents = parents[:-1]
    return ".".join(location[: len(parents) + 1])


def _section(schema: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The section of a schema that a path of keys leads to."""
    for name in path:
        field = schema.model_fields.get(name)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        schema = field.annotation
    return schema


def write_config(config: BaseModel) -> str:
    """A configuration as YAML, complete: reading it back gives the same one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
