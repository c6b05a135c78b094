"""What makes the definition of a metric one that readings can be held against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from connectors.entities.errors import InvalidError
from connectors.entities.fitting import is_linear
from connectors.entities.metric_models import MetricCreate

LONGEST_NAME: Final = 255
MOST_ENUM_VALUES: Final = 1_000
LONGEST_ENUM_VALUE: Final = 200

_NAME: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def check_metric(metric: MetricCreate) -> None:
    """Raise :class:`InvalidError` for the first rule that ``metric`` breaks."""
    if not _NAME.fullmatch(metric.name) or len(metric.name) > LONGEST_NAME:
        raise InvalidError(
            f"{metric.name!r} is no name of a metric: words of a-z, 0-9 and _ joined by dots, such as"
            f" greenhouse.climate.temperature, of at most {LONGEST_NAME} characters."
        )
    _check_bounds(metric)
    _check_unit(metric)
    _check_enum(metric)
    if metric.json_schema is not None:
        if metric.value_type != "json":
            raise InvalidError(f"{metric.name} is {metric.value_type}: a JSON schema is for the value type json.")
        check_json_schema(metric.json_schema, f"The JSON schema of {metric.name}")


def check_json_schema(schema: dict[str, Any] | bool, what: str) -> None:
    """Raise :class:`InvalidError` for what is no JSON Schema, or needs something from elsewhere."""
    # jsonschema takes 0.1 s to load, which commands without a schema need not wait for
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator, validator_for

    dialect = schema.get("$schema", "") if isinstance(schema, dict) else ""
    if not isinstance(dialect, str):
        raise InvalidError(f"{what} is invalid at /$schema: it names the dialect, as a text.")
    draft = validator_for(schema, default=Draft202012Validator)
    # with the formats, so that a regular expression that is none is found here and not at the first reading
    error = best_match(draft(draft.META_SCHEMA, format_checker=draft.FORMAT_CHECKER).iter_errors(schema))
    if error is not None:
        place = "".join(f"/{part}" for part in error.absolute_path) or "/"
        raise InvalidError(f"{what} is invalid at {place}: {error.message[:300]}.")
    for place, pattern in _patterns(schema, ""):
        if not is_linear(pattern):
            raise InvalidError(
                f"{what} has the pattern {pattern!r} at {place}: look-around and back references could keep a worker"
                " busy for ever; write it without."
            )
    for place, target in _references(schema, ""):
        if not target.startswith("#"):
            raise InvalidError(f"{what} refers to {target!r} at {place}: it may refer to its own parts only (#…).")


def _check_bounds(metric: MetricCreate) -> None:
    low, high = metric.min_value, metric.max_value
    if (low is not None or high is not None) and metric.value_type not in ("float", "integer"):
        raise InvalidError(f"{metric.name} is {metric.value_type}: bounds are for the value types float and integer.")
    if low is not None and high is not None and low > high:
        raise InvalidError(f"The bounds of {metric.name} are the wrong way round: {low:g} is more than {high:g}.")


def _check_unit(metric: MetricCreate) -> None:
    if not metric.unit:
        return
    # pint takes half a second to load, which whoever only reads metrics need not wait for
    from connectors.entities.units import is_unit

    if not is_unit(metric.unit):
        raise InvalidError(f"{metric.unit!r}, the unit of {metric.name}, is not known; leave it empty if it has none.")


def _check_enum(metric: MetricCreate) -> None:
    values = metric.enum_values or []
    if (metric.value_type == "enum") != bool(values):
        raise InvalidError(
            f"{metric.name} is {metric.value_type}: enum_values are for the value type enum, and it needs them."
        )
    if len(values) > MOST_ENUM_VALUES or len(set(values)) < len(values):
        raise InvalidError(f"The values of {metric.name} must differ, and be at most {MOST_ENUM_VALUES:,}.")
    wrong = [value for value in values if not 0 < len(value) <= LONGEST_ENUM_VALUE]
    if wrong:
        raise InvalidError(f"A value of {metric.name} is empty or longer than {LONGEST_ENUM_VALUE} characters.")


def _patterns(schema: object, place: str) -> Iterator[tuple[str, str]]:
    """Every regular expression of a schema, and where it stands; refuses the keyword that cannot be bounded."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from _patterns(item, f"{place}/{number}")
    if not isinstance(schema, dict):
        return
    if "unevaluatedProperties" in schema:
        raise InvalidError(f"unevaluatedProperties at {place or '/'} is not done; use additionalProperties.")
    if isinstance(schema.get("pattern"), str):
        yield f"{place}/pattern", schema["pattern"]
    if isinstance(schema.get("patternProperties"), dict):
        yield from ((f"{place}/patternProperties", each) for each in schema["patternProperties"])
    for name, inner in schema.items():
        if name not in ("const", "enum", "default", "examples"):
            yield from _patterns(inner, f"{place}/{name}")


def _references(schema: object, place: str) -> list[tuple[str, str]]:
    """Every reference of a schema: where it stands, and to what."""
    if isinstance(schema, list):
        return [found for number, item in enumerate(schema) for found in _references(item, f"{place}/{number}")]
    if not isinstance(schema, dict):
        return []
    own = [
        (f"{place}/{word}", schema[word])
        for word in ("$ref", "$dynamicRef", "$recursiveRef")
        if isinstance(schema.get(word), str)
    ]
    return own + [found for key, item in schema.items() for found in _references(item, f"{place}/{key}")]
