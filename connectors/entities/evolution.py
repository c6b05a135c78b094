"""Which changes of a definition are safe: every value that the old version accepts must fit the new one.

Two kinds of change need a look. What breaks whatever the data (:func:`breaks`) is refused. A field that the new version
describes where the old one allowed anything (:func:`newly_described`) is safe as far as stored values there fit it,
which only a look at them can tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from connectors.entities.field import Field, joined
from connectors.entities.fitting import problems

_WIDER: Final = {("integer", "number"), ("timestamp", "string")}


def breaks(old: Field, new: Field, path: str = "") -> Iterator[str]:
    """What the new version refuses and the old one accepts, each with its path; nothing when the change is safe.

    It errs on the side of refusing: a pattern that is wider than another is still another pattern.
    """
    if old.type != new.type and (old.type, new.type) not in _WIDER:
        yield f"{path} was of type {old.type} and would be {new.type}"
        return
    if old.enum is not None:
        yield from (problem for value in old.enum for problem in problems(new, value, path))
        return
    if new.enum is not None:
        yield f"{path} took any value and would take only those of its enum"
    yield from _narrower_bounds(old, new, path)
    if new.pattern is not None and new.pattern != old.pattern:
        yield f"{path} would have another pattern"
    if old.type == "array":
        yield from _breaks_of_items(old, new, path)
    if old.type == "object":
        yield from _breaks_of_properties(old, new, path)


def newly_described(old: Field, new: Field, path: str = "$") -> Iterator[str]:
    """Where the new version describes what the old one left open, as paths of Postgres's jsonpath."""
    for name, field in new.properties.items():
        place = f"{path}.{json.dumps(name)}"
        if name in old.properties:
            yield from newly_described(old.properties[name], field, place)
        elif old.additional:
            yield place
    if old.items is not None and new.items is not None:
        yield from newly_described(old.items, new.items, f"{path}[*]")


def _narrower_bounds(old: Field, new: Field, path: str) -> Iterator[str]:
    for name in ("min", "min_length"):
        before, after = getattr(old, name), getattr(new, name)
        if after is not None and (before is None or after > before):
            yield f"{path} would have a higher {name}"
    for name in ("max", "max_length"):
        before, after = getattr(old, name), getattr(new, name)
        if after is not None and (before is None or after < before):
            yield f"{path} would have a lower {name}"


def _breaks_of_items(old: Field, new: Field, path: str) -> Iterator[str]:
    if new.items is not None and old.items is None:
        yield f"{path} took any items and would take only some"
    elif new.items is not None and old.items is not None:
        yield from breaks(old.items, new.items, f"{path}[]")


def _breaks_of_properties(old: Field, new: Field, path: str) -> Iterator[str]:
    for name, field in new.properties.items():
        place = joined(path, name)
        before = old.properties.get(name)
        if not field.may_be_absent and (before is None or before.may_be_absent):
            yield f"{place} would be required; give it a default"
        if before is not None:
            yield from breaks(before, field, place)
    if old.additional and not new.additional:
        yield f"{path or 'the type'} took other properties and would not"
    if not new.additional:
        for name in old.properties.keys() - new.properties.keys():
            yield f"{joined(path, name)} would be no property any more"
