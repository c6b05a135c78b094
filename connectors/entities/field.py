"""One field of a definition, as read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FieldType = Literal["string", "number", "integer", "boolean", "array", "object", "timestamp"]


class Field(BaseModel):
    """One field, or the whole of a definition; ``group`` marks an object that is always there."""

    model_config = ConfigDict(frozen=True)

    type: FieldType
    required: bool = False
    has_default: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None
    min: int | float | None = None
    max: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    items: Field | None = None
    properties: dict[str, Field] = {}
    additional: bool = True
    group: bool = False

    @property
    def may_be_absent(self) -> bool:
        """Whether a value without this field is valid."""
        if self.group:
            return all(field.may_be_absent for field in self.properties.values())
        return self.has_default or not self.required


def joined(path: str, name: str) -> str:
    """Path of a field in an object."""
    return f"{path}.{name}" if path else name
