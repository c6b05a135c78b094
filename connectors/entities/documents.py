"""JSON that people hand over: storable, and of a bounded size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from connectors.entities.errors import InvalidError
from connectors.entities.values import unstorable

if TYPE_CHECKING:
    from connectors.entities.directory import Directory


def document(directory: Directory, value: dict[str, Any], called: str, most_bytes: int) -> str:
    """The JSON text of ``value``; raises :class:`InvalidError` for what is too large or cannot be stored.

    The size is the one that Postgres stores: numbers in long lists take several times the room of their text.
    """
    broken = unstorable(value, called)
    if broken is not None:
        raise InvalidError(f"{broken[0].upper()}{broken[1:]}; nothing was written.")
    text = json.dumps(value)
    size = len(text)
    if most_bytes / 16 < size <= most_bytes:
        size = directory.rows("SELECT pg_column_size(%(text)s::jsonb) AS size", {"text": text})[0]["size"]
    if size > most_bytes:
        raise InvalidError(
            f"{called[0].upper()}{called[1:]} would take {size / 1024:,.0f} KiB; at most {most_bytes // 1024:,} KiB."
        )
    return text
