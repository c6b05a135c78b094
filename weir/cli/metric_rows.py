"""One row of a file of metrics."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import ConfigDict, ValidationInfo, field_validator

from connectors.entities.metric_models import MetricCreate

COLUMNS: Final = (
    "name",
    "value_type",
    "unit",
    "min_value",
    "max_value",
    "bounds_action",
    "enum_values",
    "json_schema",
    "description",
)
"""Columns of an export, in order; an import takes any of them in any order."""

REQUIRED: Final = ("name",)


class MetricRow(MetricCreate):
    """A metric as a row gives it; in CSV, lists and schemas are JSON texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("enum_values", "json_schema", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("value_type", "unit", "bounds_action", "description", mode="before")
    @classmethod
    def _empty_is_the_default(cls, value: Any, info: ValidationInfo) -> Any:
        return cls.model_fields[str(info.field_name)].default if value is None else value
