"""How shipped defaults, a file, `--set` and flags become one resolved configuration."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from kitipde.config.foreign import settings_called
from kitipde.config.schema import RunConfig, schema_for
from kitipde.config.section import sections_of
from kitipde.config.text import parse_yaml, write_yaml
from kitipde.errors import InputError, unknown

__all__ = [
    "ALTERNATIVES",
    "override",
    "place",
    "read_config",
    "resolve_config",
    "shipped_configs",
    "validate_config",
    "write_config",
]

Tree = dict[str, Any]

# Two ways to say how often particles, or neurons, collide.
ALTERNATIVES = (
    ("residual.coll_coef", "residual.target_rate"),
    ("optimizer.collisions.coll_coef", "optimizer.collisions.target_rate"),
)
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
        InputError: if there is no such file, or it is no mapping of words to values in YAML.
    """
    shipped = shipped_configs()
    if source in shipped:
        path = shipped[source]
    elif source.endswith((".yaml", ".yml")) or "/" in source:
        path = Path(source)
    else:
        raise unknown("configuration (give a .yaml file or a shipped name)", source, shipped)
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{path} must be a mapping of sections to settings, not a {type(tree).__name__}")
    _check_keys(path, tree)
    return tree


def _check_keys(path: Path, tree: dict[Any, Any]) -> None:
    for key, value in tree.items():
        if not isinstance(key, str):
            raise InputError(f"{path}: the key {key!r} is not a word")
        if isinstance(value, dict):
            _check_keys(path, value)


def override(tree: Tree, assignments: Iterable[str]) -> Tree:
    """A copy of the tree with each `a.b=value` applied; values are read as YAML.

    Of two settings that exclude each other the one that is assigned replaces the one that the tree had.

    Raises:
        InputError: for a text without `=`, or a value that is not YAML.
    """
    assigned = [(text, *text.partition("=")) for text in assignments]
    keys = {key.strip() for _, key, _, _ in assigned}
    for one, other in (*ALTERNATIVES, *(pair[::-1] for pair in ALTERNATIVES)):
        if one in keys and other not in keys:
            tree = _without(tree, other)
    for text, key, equals, value in assigned:
        if not equals or not key.strip():
            raise InputError(f"--set takes KEY=VALUE, for example training.epochs=10, not '{text}'")
        try:
            parsed = parse_yaml(value)
        except InputError as error:
            raise InputError(f"--set {key}: '{value}' is not a YAML value: {error}") from error
        tree = place(tree, key.strip(), parsed)
    return tree


def _without(tree: Tree, key: str) -> Tree:
    """A copy of the tree without one dotted key."""
    head, _, rest = key.partition(".")
    if not rest:
        return {name: value for name, value in tree.items() if name != head}
    branch = tree.get(head)
    return {**tree, head: _without(branch, rest)} if isinstance(branch, dict) else tree


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
    if schema is RunConfig:
        model = tree.get("model")
        name = model.get("name", "fno") if isinstance(model, dict) else "fno"
        schema = cast(type[Model], schema_for(str(name)))
    _check_truth((schema,), tree)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(schema, error)) from error


def _check_truth(sections: Iterable[type[BaseModel]], tree: Tree, parents: str = "") -> None:
    """Refuse true and false as numbers, which Python, and so pydantic, takes for 1 and 0."""
    for key, value in tree.items():
        fields = [section.model_fields[key] for section in sections if key in section.model_fields]
        values = value if isinstance(value, list | tuple) else [value]
        if isinstance(value, dict):
            _check_truth(
                [each for field in fields for each in sections_of(field.annotation)], value, f"{parents}{key}."
            )
        elif fields and any(isinstance(each, bool) for each in values) and not any(map(_takes_truth, fields)):
            raise InputError(
                f"config key '{parents}{key}': true and false are not values of this setting (given {value})"
            )


def _takes_truth(field: FieldInfo) -> bool:
    return field.annotation is bool or bool in get_args(field.annotation)


def _explain(schema: type[BaseModel], error: ValidationError) -> str:
    details = error.errors()
    # A misspelt key is named before what its absence may have caused.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    section, key = _locate(schema, first["loc"])
    # A setting with several types fails once for each: together they say what is allowed.
    about = [detail for detail in details if _locate(schema, detail["loc"])[1] == key]
    more = f" (and {len(details) - len(about)} more)" if len(details) > len(about) else ""
    if first["type"] == "extra_forbidden":
        parents = key.rpartition(".")[0]
        elsewhere = [each for each in settings_called(key) if each != key]
        if elsewhere:
            return f"unknown config key '{key}': it is {' or '.join(elsewhere)} here{more}"
        return f"{unknown('config key', key, [f'{parents}.{name}'.strip('.') for name in section.model_fields])}{more}"
    if first["type"] in ("model_type", "model_attributes_type"):
        return f"config key '{key}' is a section of settings, not a value (given {first['input']!r}){more}"
    messages = [detail["msg"].removeprefix("Value error, ") for detail in about]
    message = " or ".join(dict.fromkeys(text[:1].lower() + text[1:] for text in messages))
    value = first["input"]
    given = f" (given {value!r})" if isinstance(value, str | int | float | bool) or value is None else ""
    return f"config key '{key}': {message}{given}{more}"


def _locate(schema: type[BaseModel], location: tuple[str | int, ...]) -> tuple[type[BaseModel], str]:
    """The section an error lies in and its dotted key, without what pydantic adds for the members of a union."""
    section, keys = schema, []
    for part in map(str, location):
        keys.append(part)
        field = section.model_fields.get(part)
        members = [] if field is None else sections_of(field.annotation)
        if not members:
            break
        section = members[0]
    return section, ".".join(keys)


def write_config(config: BaseModel) -> str:
    """A configuration as YAML, complete: reading it back gives the same one."""
    return write_yaml(config.model_dump(mode="json"))
