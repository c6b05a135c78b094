"""Definitions of entity types: which properties there are, of what type, and which of them must be there::

    {"name": {"type": "string", "required": true},
     "status": {"type": "string", "enum": ["online", "offline"], "default": "offline"},
     "hardware": {"model": {"type": "string", "required": true},
                  "sensors": {"type": "array", "items": {"type": "object"}}}}

A field whose value has no text under ``type`` is a group: an object that is always there, so that what is required in
it is required. What a definition does not name is allowed, unless it says ``"additional": false`` at that level. A null
counts as left out. Patterns are searched for by an engine that takes linear time, so that no pattern can hang a server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, get_args

import polars as pl

from connectors.entities.errors import InvalidError
from connectors.entities.field import Field, FieldType, joined
from connectors.entities.fitting import matches, problems
from connectors.entities.values import unstorable

MOST_LEVELS: Final = 16
MOST_BYTES: Final = 65536

_TYPES: Final = get_args(FieldType)
_KEYS_OF: Final[dict[str, frozenset[str]]] = {
    "string": frozenset({"enum", "min_length", "max_length", "pattern"}),
    "number": frozenset({"enum", "min", "max"}),
    "integer": frozenset({"enum", "min", "max"}),
    "boolean": frozenset({"enum"}),
    "array": frozenset({"items", "min_length", "max_length"}),
    "object": frozenset({"properties", "additional"}),
    "timestamp": frozenset(),
}
_KEYS_OF_ALL: Final = frozenset({"type", "required", "default", "description"})


def parse(definition: Mapping[str, Any]) -> Field:
    """Read a definition; raises :class:`InvalidError` that names the field and what is wrong with it."""
    broken = unstorable(definition, "the definition")
    if broken is not None:
        raise InvalidError(f"{broken[0].upper()}{broken[1:]}.")
    if len(json.dumps(definition)) > MOST_BYTES:
        raise InvalidError(f"The definition is larger than {MOST_BYTES // 1024} KiB; describe less in one type.")
    return _group(definition, "", 0)


def _field(raw: object, path: str, level: int) -> Field:
    if not isinstance(raw, Mapping):
        raise InvalidError(f'{path} must be described by an object such as {{"type": "string"}}, not by {raw!r}.')
    if level > MOST_LEVELS:
        raise InvalidError(f"{path} lies more than {MOST_LEVELS} levels deep; describe it less deeply.")
    if not isinstance(raw.get("type"), str):
        return _group(raw, path, level)
    _refuse_unknown_keys(raw, path)
    field = Field(
        type=raw["type"],
        required=_flag(raw, "required", False, path),
        has_default=raw.get("default") is not None,
        default=raw.get("default"),
        enum=_enum(raw, path),
        min=_number(raw, "min", path),
        max=_number(raw, "max", path),
        min_length=_length(raw, "min_length", path),
        max_length=_length(raw, "max_length", path),
        pattern=_pattern(raw, path),
        items=_items(raw, path, level),
        properties=_properties(raw, path, level),
        additional=_flag(raw, "additional", True, path),
    )
    _refuse_contradictions(field, path)
    return field


def _group(raw: Mapping[str, Any], path: str, level: int) -> Field:
    closed = raw.get("additional")
    named = {name: each for name, each in raw.items() if not (name == "additional" and isinstance(each, bool))}
    fields = {name: _field(each, joined(path, name), level + 1) for name, each in named.items()}
    return Field(type="object", group=True, properties=fields, additional=closed is not False)


def _refuse_unknown_keys(raw: Mapping[str, Any], path: str) -> None:
    kind = raw["type"]
    if kind not in _TYPES:
        raise InvalidError(f"{path} has the unknown type {kind!r}; the types are {', '.join(_TYPES)}.")
    for key in raw:
        if key not in _KEYS_OF_ALL | _KEYS_OF[kind]:
            known = ", ".join(sorted(_KEYS_OF_ALL | _KEYS_OF[kind]))
            raise InvalidError(f"{path}: {key!r} says nothing about a field of type {kind}; it may have {known}.")


def _flag(raw: Mapping[str, Any], key: str, default: bool, path: str) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise InvalidError(f"{path}: {key} must be true or false, not {value!r}.")
    return value


def _number(raw: Mapping[str, Any], key: str, path: str) -> float | None:
    value = raw.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidError(f"{path}: {key} must be a number, not {value!r}.")
    return value


def _length(raw: Mapping[str, Any], key: str, path: str) -> int | None:
    value = raw.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InvalidError(f"{path}: {key} must be a whole number from 0, not {value!r}.")
    return value


def _enum(raw: Mapping[str, Any], path: str) -> tuple[Any, ...] | None:
    values = raw.get("enum")
    if values is None:
        return None
    if not isinstance(values, list) or not values:
        raise InvalidError(f"{path}: enum must be a list of at least one value, not {values!r}.")
    return tuple(values)


def _pattern(raw: Mapping[str, Any], path: str) -> str | None:
    pattern = raw.get("pattern")
    if pattern is None:
        return None
    if not isinstance(pattern, str):
        raise InvalidError(f"{path}: pattern must be a regular expression, not {pattern!r}.")
    try:
        matches(pattern, "")
    except pl.exceptions.ComputeError as error:
        reason = str(error).strip().rsplit("error: ", 1)[-1].split("\n", 1)[0]
        raise InvalidError(f"{path}: the regular expression {pattern!r} is invalid: {reason}.") from error
    return pattern


def _items(raw: Mapping[str, Any], path: str, level: int) -> Field | None:
    if raw.get("items") is None:
        return None
    items = _field(raw["items"], f"{path}[]", level + 1)
    if items.required or items.has_default:
        raise InvalidError(f"{path}: items are there or not; required and default say nothing about them.")
    return items


def _properties(raw: Mapping[str, Any], path: str, level: int) -> dict[str, Field]:
    described = raw.get("properties", {})
    if not isinstance(described, Mapping):
        raise InvalidError(f"{path}: properties must be an object of fields, not {described!r}.")
    return {name: _field(each, joined(path, name), level + 1) for name, each in described.items()}


def _refuse_contradictions(field: Field, path: str) -> None:
    if field.min is not None and field.max is not None and field.min > field.max:
        raise InvalidError(f"{path}: min {field.min} is above max {field.max}.")
    if field.min_length is not None and field.max_length is not None and field.min_length > field.max_length:
        raise InvalidError(f"{path}: min_length {field.min_length} is above max_length {field.max_length}.")
    for value in field.enum or ():
        for problem in problems(field.model_copy(update={"enum": None}), value, path):
            raise InvalidError(f"{path}: the enum has {value!r}, which does not fit the field itself: {problem}.")
    if field.has_default:
        for problem in problems(field, field.default, path):
            raise InvalidError(f"{path}: the default does not fit the field itself: {problem}.")
