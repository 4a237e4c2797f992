"""The base of every settings model: closed to unknown keys, immutable once read."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Count", "Section", "Seed", "sections_of"]

Count = Annotated[int, Field(gt=0, le=2**31 - 1)]
"""A whole number of something; larger ones are no settings but mistakes."""

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Of torch's generators, which on a CPU see 32 bits of it: larger ones would repeat smaller ones."""


class Section(BaseModel):
    """A group of settings. Unknown keys and numbers that are not finite are refused; values stay as they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field can hold; none for a plain value."""
    members = get_args(annotation) or (annotation,)
    return [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
