"""What goes in and out of :mod:`connectors.entities.metrics`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

ValueType = Literal["float", "integer", "boolean", "string", "json", "enum"]
BoundsAction = Literal["reject", "mark"]


class MetricCreate(BaseModel):
    """What can be measured: ``unit`` is the base unit that readings are converted to, '' for none.

    ``bounds_action`` says what becomes of a number out of bounds: refused, or stored with a mark. ``enum_values`` are
    for the value type enum, ``json_schema`` is for json.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value_type: ValueType = "float"
    unit: str = ""
    min_value: FiniteFloat | None = None
    max_value: FiniteFloat | None = None
    bounds_action: BoundsAction = "reject"
    enum_values: list[str] | None = None
    json_schema: dict[str, Any] | bool | None = None
    description: str = ""


class MetricUpdate(BaseModel):
    """What changes of a metric: the fields that are given; a bound that is given as None is taken away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value_type: ValueType | None = None
    unit: str | None = None
    min_value: FiniteFloat | None = None
    max_value: FiniteFloat | None = None
    bounds_action: BoundsAction | None = None
    enum_values: list[str] | None = None
    json_schema: dict[str, Any] | bool | None = None
    description: str | None = None


class Metric(MetricCreate):
    """A metric as the registry has it."""

    created_at: datetime
    updated_at: datetime
