"""One row of a file of devices: a sensor and the device it is on, or a device alone."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

COLUMNS: Final = (
    "organisation",
    "project",
    "device_id",
    "device_type",
    "device_name",
    "sensor",
    "metric",
    "unit",
    "min_value",
    "max_value",
    "value_type",
)
"""Columns of an export, in order; an import takes any of them in any order."""

REQUIRED: Final = ("device_id", "sensor")

MOST_BYTES: Final = 200
"""Of an id or a name, as the database has it."""


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed")
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"is longer than {MOST_BYTES} bytes")
    return text


def _identity(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("begins or ends with a space, or has nothing else")
    return _plain(text)


Identity = Annotated[str, Field(min_length=1), AfterValidator(_identity)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Bound = Annotated[float, Field(allow_inf_nan=False)]


class DeviceRow(BaseModel):
    """What a row gives. A column that is absent leaves what is known as it is; an empty one is set to its default.

    Without a sensor the row is of a device alone, and says nothing of what a sensor has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    organisation: Slug | None = None
    project: Slug | None = None
    device_id: Identity
    device_type: Annotated[str, Field(pattern=r"^(device|equipment)(\.[a-z][a-z0-9_]*)*$", max_length=100)] | None = (
        None
    )
    device_name: Annotated[str, AfterValidator(_plain)] | None = None
    sensor: Identity | None = None
    metric: Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=255)] | None = None
    unit: Annotated[str, AfterValidator(_plain)] | None = None
    min_value: Bound | None = None
    max_value: Bound | None = None
    value_type: Literal["float", "integer", "boolean", "string", "json", "enum"] | None = None
