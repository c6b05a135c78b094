"""Search by properties in a query string: ``contains={"firmware": {"version": "1.0.0"}}``, ``range=path:min:max``."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import Query

from connectors.api.strict_json import read_json
from connectors.entities.errors import InvalidError
from connectors.entities.models import PropertyRange

Contains = Annotated[
    str | None, Query(description="JSON object that the properties contain", examples=['{"location": "hall 2"}'])
]
Ranges = Annotated[
    list[str],
    Query(
        alias="range",
        description="path:min:max of a number in the properties; either bound may be left out; may be repeated",
        examples=["config.readingInterval:60:300"],
    ),
]


def contained(text: str | None) -> dict[str, Any] | None:
    """The object of ``contains``. Raises :class:`InvalidError` for anything else."""
    if text is None:
        return None
    value = read_json(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict):
        raise InvalidError('contains takes a JSON object, such as {"location": "hall 2"}.')
    return value


def ranges_of(texts: list[str]) -> tuple[PropertyRange, ...]:
    """The ranges of every ``range``. Raises :class:`InvalidError` for what is none."""
    return tuple(_range_of(text) for text in texts)


def _range_of(text: str) -> PropertyRange:
    path, *bounds = text.split(":")
    try:
        low, high = (float(bound) if bound else None for bound in bounds)
    except ValueError:
        raise _not_a_range(text) from None
    if not path or any(bound is not None and not math.isfinite(bound) for bound in (low, high)):
        raise _not_a_range(text)
    return PropertyRange(path=path, min=low, max=high)


def _not_a_range(text: str) -> InvalidError:
    return InvalidError(f"range takes path:min:max, such as config.readingInterval:60:300, not {text[:100]!r}.")
