"""Reading JSON as one meaning only: no key twice, no number that is none, nothing that the database cannot hold."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final

from connectors.api.errors import BadRequestError

MOST_LEVELS: Final = 64
"""Levels of lists and objects within each other."""


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises :class:`BadRequestError` with what is wrong with it."""
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_each_key_once, parse_constant=_no_number, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise BadRequestError(f"The body is not UTF-8: byte {error.start} does not fit.") from None
    except json.JSONDecodeError as error:
        raise BadRequestError(
            f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # a whole number of thousands of digits
        raise BadRequestError("The body holds a number that is too long.") from None
    _require_storable(value)
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BadRequestError(f"The body has the key {twice[:100]!r} twice in one object; which one counts is unclear.")
    return read


def _no_number(word: str) -> float:
    raise BadRequestError(f"The body holds {word}, which is not JSON; leave the value out or write null.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequestError(f"The body holds {text[:50]}, which is beyond the range of a number.")
    return number


def _require_storable(value: Any) -> None:
    """Walk without recursion: the depth is what is in doubt."""
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str):
                require_text(each)
        if not below:
            return
        level = below
    raise _too_deep()


def require_text(text: str) -> None:
    """Raise :class:`BadRequestError` for what no text column holds: NUL, and halves of surrogate pairs."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRequestError("A text in the request holds a NUL or half of a surrogate pair, which cannot be stored.")


def _too_deep() -> BadRequestError:
    return BadRequestError(f"The body has more than {MOST_LEVELS} levels of objects and lists.")
