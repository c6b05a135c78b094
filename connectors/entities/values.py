"""What no property and no key may hold, because a database, a topic or a screen would choke on it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from connectors.entities.errors import InvalidError

MOST_BYTES: Final = 1024 * 1024
MOST_LEVELS: Final = 64
MOST_KEY_BYTES: Final = 200
SLASH: Final = "\ue000"
"""Stands for a slash within a key while a path of the HTTP API is routed, so no key holds it."""

_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_LARGEST: Final = 1.7976931348623157e308

# control, format (such as the marks that turn the direction of writing), surrogate, line and paragraph separator
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def unstorable(value: object, called: str) -> str | None:
    """The first thing in a value that no JSON of Postgres holds, as a clause; None when all of it can be stored."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        part, level = waiting.pop()
        if level > MOST_LEVELS:
            return f"{called} may not nest more than {MOST_LEVELS} levels deep"
        if isinstance(part, Mapping):
            waiting += [(each, level + 1) for pair in part.items() for each in pair]
        elif isinstance(part, list | tuple):
            waiting += [(each, level + 1) for each in part]
        elif (told := _unstorable_alone(part, called)) is not None:
            return told
    return None


def _unstorable_alone(value: object, called: str) -> str | None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            return f"{called} may hold no text with NUL or half of a surrogate pair, which cannot be stored"
        return None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return None if abs(value) <= _LARGEST else f"{called} may hold no number beyond what a double holds"
    return f"{called} may hold JSON only, no {type(value).__name__}"


def checked_properties(properties: Mapping[str, Any], most_bytes: int = MOST_BYTES) -> None:
    """Raise :class:`InvalidError` for properties that are too large or cannot be stored."""
    broken = unstorable(properties, "the properties")
    if broken is not None:
        raise InvalidError(f"{broken[0].upper()}{broken[1:]}; nothing was written.")
    size = len(json.dumps(properties, ensure_ascii=False).encode())
    if size > most_bytes:
        most = "1 MiB" if most_bytes == MOST_BYTES else f"{most_bytes // 1024} KiB"
        raise InvalidError(f"The properties are {size / 1e6:.1f} MB; at most {most}. Keep large things elsewhere.")


def checked_key(key: str, called: str) -> None:
    """Raise :class:`InvalidError` for a key that is empty, too long, or holds what nobody sees."""
    if not key or key != key.strip():
        raise InvalidError(f"The key {key!r} of the {called} must be a text that neither begins nor ends with a space.")
    hidden = next((each for each in key if unicodedata.category(each) in _HIDDEN or each == SLASH), None)
    if hidden is not None:
        raise InvalidError(f"The key {key!r} of the {called} holds U+{ord(hidden):04X}, which nobody sees.")
    if len(key.encode()) > MOST_KEY_BYTES:
        raise InvalidError(f"The key of the {called} has {len(key.encode())} bytes; at most {MOST_KEY_BYTES}.")


def checked_email(text: str) -> str:
    """The address as it is kept, in lower case: nobody gets a second account by another spelling.

    Raises :class:`InvalidError` for what is none: events call whoever acts by this name, and ``weir`` or ``key:PREFIX``
    are others.
    """
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise InvalidError(f"{text!r} is no e-mail address.")
    return email


def checked_text(text: str, called: str) -> None:
    """Raise :class:`InvalidError` for a name or description that cannot be stored or is larger than 64 KiB."""
    broken = _unstorable_alone(text, called)
    if broken is not None:
        raise InvalidError(f"{broken[0].upper()}{broken[1:]}; nothing was written.")
    if len(text.encode()) > 65536:
        raise InvalidError(f"{called[0].upper()}{called[1:]} has {len(text.encode())} bytes; at most 64 KiB.")


def same_value(one: object, other: object) -> bool:
    """Whether two JSON scalars are the same; 1 is 1.0 but not true."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def same_json(one: object, other: object) -> bool:
    """The same of whole documents, which Python's == is not: it takes true for 1 at any depth."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return same_value(one, other)
