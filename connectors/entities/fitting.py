"""Whether a value fits a field, and the value with the defaults of what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from connectors.entities.field import Field, FieldType, joined
from connectors.entities.values import same_value

_WORDS: Final[dict[FieldType, str]] = {
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "timestamp": "a time with its zone, such as 2024-03-20T10:00:00Z",
}


def problems(field: Field, value: object, path: str = "") -> Iterator[str]:
    """What is wrong with a value, each thing with its path; nothing when it is valid."""
    if not _is_of_type(field.type, value):
        yield f"{path or 'the value'} must be {_WORDS[field.type]}, not {_shown(value)}"
        return
    if field.enum is not None and not any(same_value(value, each) for each in field.enum):
        yield f"{path} must be one of {', '.join(map(str, field.enum))}, not {_shown(value)}"
    if isinstance(value, str):
        yield from _of_text(field, value, path)
    elif isinstance(value, int | float):
        yield from _of_number(field, value, path)
    elif isinstance(value, list):
        yield from _of_list(field, value, path)
    elif isinstance(value, Mapping):
        yield from _of_object(field, value, path)


def filled(field: Field, value: Mapping[str, Any]) -> dict[str, Any]:
    """A valid object with the defaults of what it leaves out; a null that stands for a described field is left out."""
    result = {name: each for name, each in value.items() if each is not None or name not in field.properties}
    for name, part in field.properties.items():
        if name in result:
            result[name] = _filled(part, result[name])
        elif part.has_default:
            result[name] = _filled(part, part.default)
        elif part.group and (inner := filled(part, {})):
            result[name] = inner
    return result


def matches(pattern: str, text: str) -> bool:
    """Whether the regular expression is found in the text; takes linear time, without look-around or back-reference."""
    return bool(pl.Series([text]).str.contains(pattern, strict=True)[0])


def is_linear(pattern: str) -> bool:
    """Whether :func:`matches` takes the regular expression."""
    try:
        matches(pattern, "")
    except pl.exceptions.ComputeError:
        return False
    return True


def is_timestamp(text: str) -> bool:
    """Whether it is a time of ISO 8601 that says its zone."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _filled(field: Field, value: Any) -> Any:
    if field.type == "object" and isinstance(value, Mapping):
        return filled(field, value)
    if field.type == "array" and field.items is not None and isinstance(value, list):
        return [_filled(field.items, each) for each in value]
    return value


def _is_of_type(kind: FieldType, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == "number":
        return isinstance(value, int | float)
    if kind == "timestamp":
        return isinstance(value, str) and is_timestamp(value)
    if kind == "array":
        return isinstance(value, list)
    return isinstance(value, Mapping) if kind == "object" else kind == "string" and isinstance(value, str)


def _of_text(field: Field, value: str, path: str) -> Iterator[str]:
    if field.min_length is not None and len(value) < field.min_length:
        yield f"{path} must have at least {field.min_length} characters, not {len(value)}"
    if field.max_length is not None and len(value) > field.max_length:
        yield f"{path} may have at most {field.max_length} characters, not {len(value)}"
    if field.pattern is not None and not matches(field.pattern, value):
        yield f"{path} must match {field.pattern}, and {_shown(value)} does not"


def _of_number(field: Field, value: float, path: str) -> Iterator[str]:
    if field.min is not None and value < field.min:
        yield f"{path} must be at least {field.min}, not {value}"
    if field.max is not None and value > field.max:
        yield f"{path} may be at most {field.max}, not {value}"


def _of_list(field: Field, value: list[Any], path: str) -> Iterator[str]:
    if field.min_length is not None and len(value) < field.min_length:
        yield f"{path} must have at least {field.min_length} items, not {len(value)}"
    if field.max_length is not None and len(value) > field.max_length:
        yield f"{path} may have at most {field.max_length} items, not {len(value)}"
    if field.items is not None:
        for position, each in enumerate(value):
            yield from problems(field.items, each, f"{path}[{position}]")


def _of_object(field: Field, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, part in field.properties.items():
        if value.get(name) is not None:
            yield from problems(part, value[name], joined(path, name))
        elif part.group:
            yield from problems(part, {}, joined(path, name))
        elif not part.may_be_absent:
            yield f"{joined(path, name)} is required and missing"
    if not field.additional:
        for name in value:
            if name not in field.properties:
                yield f"{joined(path, name)} is no property of this type"


def _shown(value: object) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}..."
