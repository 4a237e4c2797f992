"""The base of every settings model: closed to unknown keys, immutable once read."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """A group of settings. Unknown keys are refused and values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
