"""What a patch makes of properties, and what an event says of it: old and new, without secrets, never too large."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from connectors.entities.values import same_json

MOST_BYTES: Final = 256 * 1024
"""Of one event's data: Kafka takes messages of 1 MB, and both the old and the new value stand in an event."""

_SECRET: Final = re.compile(r"passw|secret|token|credential|api_?key|private_?key", re.IGNORECASE)


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``{name: {"old": …, "new": …}}`` of the names whose values differ, objects by their parts."""
    found = {}
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if not same_json(was, now) or type(was) is not type(now):
            found[name] = {"old": was, "new": now}
    return found


def parts_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``{"old": {…}, "new": {…}}`` with the names alone whose values differ; null stands for what is not there."""
    differing = changed(old, new)
    return {side: {name: pair[side] for name, pair in differing.items()} for side in ("old", "new")}


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` after a merge patch: null removes, objects merge, everything else replaces (RFC 7386)."""
    result = dict(old)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            inner = result.get(name)
            result[name] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def told(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an event as it may be written: secrets covered, and sizes in place of what is too large."""
    covered = _covered(data)
    if _size(covered) <= MOST_BYTES:
        return dict(covered)
    room = MOST_BYTES // (2 * max(len(covered), 1))
    return {name: each if _size(each) <= room else {"left_out_bytes": _size(each)} for name, each in covered.items()}


def _covered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: "***" if each and _SECRET.search(name) else _covered(each) for name, each in value.items()}
    return [_covered(each) for each in value] if isinstance(value, list) else value


def _size(value: object) -> int:
    return len(json.dumps(value, default=str).encode())
