"""Pages of a list that stay stable while rows are added: a cursor names the last row seen, not a count of rows."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from connectors.entities.errors import InvalidError

MOST_ITEMS: Final = 1000
"""Rows of one page, at most."""

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Some items, and the cursor that asks for those after them; None at the end."""

    model_config = ConfigDict(frozen=True)

    items: list[Item]
    next_cursor: str | None


def checked_limit(limit: int) -> int:
    """The limit itself; raises :class:`InvalidError` when no page can have so many rows."""
    if not 1 <= limit <= MOST_ITEMS:
        raise InvalidError(f"A page has 1 to {MOST_ITEMS:,} rows, not {limit:,}.")
    return limit


def page_of(found: Sequence[Item], limit: int, position: Callable[[Item], Sequence[object]]) -> Page[Item]:
    """Cut ``limit`` + 1 rows found to one page; ``position`` gives what the order of the list compares."""
    items = list(found[:limit])
    more = len(found) > limit
    return Page(items=items, next_cursor=_cursor(position(items[-1])) if more and items else None)


def position_of(cursor: str, *kinds: Callable[[Any], Any]) -> list[Any]:
    """Read a cursor back, each part by its kind; raises :class:`InvalidError` for what no list has given out."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        if not isinstance(parts, list):
            raise ValueError("no list")
        return [kind(part) for kind, part in zip(kinds, parts, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidError("The cursor is not one that a list has given out; begin again without it.") from error


def _cursor(parts: Sequence[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps([_plain(part) for part in parts]).encode()).decode().rstrip("=")


def _plain(part: object) -> object:
    return part if isinstance(part, int | str) or part is None else str(part)
