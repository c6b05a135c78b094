"""Regular expressions that people look names up with, and that mean the same in Postgres and in ClickHouse."""

from __future__ import annotations

import re
from typing import Final

from connectors.entities.errors import InvalidError

LONGEST_PATTERN: Final = 500

_NOT_SHARED: Final = re.compile(r"(?<!\\)(?:\\\\)*(\(\?(?!:|i\)).?|\\[1-9])")
"""Look-around, named groups and back references: ClickHouse's RE2 has none of them, and they may take for ever."""


def checked_pattern(pattern: str) -> str:
    """The pattern itself; raises :class:`InvalidError` that names the position of what is wrong with it.

    Postgres has the last word, because its dialect differs in details.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidError(f"The regular expression has {len(pattern)} characters; at most {LONGEST_PATTERN}.")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        told = error.msg if isinstance(error, re.error) else "too deep, or a number too large"
        place = f" at position {error.pos}" if isinstance(error, re.error) and error.pos is not None else ""
        raise InvalidError(f"The regular expression {pattern!r} is invalid{place}: {told}.") from error
    found = _NOT_SHARED.search(pattern)
    if found:
        raise InvalidError(
            f"The regular expression {pattern!r} is refused at position {found.start(1)}: {found[1]!r} means nothing"
            " to ClickHouse; groups are ( ) and (?: ), and nothing refers back."
        )
    return pattern
