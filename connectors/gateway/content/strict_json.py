"""JSON with one meaning: a key given twice, NaN and too deep nesting are found where they stand.

What is wrong does not end the reading: it stays in its place as a :class:`Flaw`, so that a request can name the record
that has it and keep the others.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from connectors.gateway.errors import BAD_REQUEST, TOO_LARGE, GatewayError

VALUES_A_RECORD: Final = 20
"""A reading has 12 fields, its record two braces."""

SHOWN: Final = 100
"""Characters of a client's own text that an error repeats."""


def refuse_crowd(text: bytes, most: int) -> None:
    """Raise :class:`GatewayError` 413 for a text of more values than anybody means to send: reading it takes seconds.

    Counts what separates values, in texts as well; 2 ms for 4 MB.
    """
    if text.count(b",") + text.count(b"{") + text.count(b"[") > most:
        raise GatewayError(TOO_LARGE, f"The body has more than {most} values; send fewer at once.")


class Flaw:
    """Stands for a value that JSON or Weir does not allow; ``said`` follows "record 3 "."""

    __slots__ = ("said",)

    def __init__(self, said: str) -> None:
        """Say what is wrong."""
        self.said = said


def read_json(text: bytes) -> Any:
    """The value of a JSON text, with flaws in their places. Raises :class:`GatewayError` 400 for what is no JSON."""
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_each_key_once, parse_constant=_no_number, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise GatewayError(BAD_REQUEST, f"The body is not UTF-8: byte {error.start} does not fit.") from None
    except json.JSONDecodeError as error:
        said = f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        raise GatewayError(BAD_REQUEST, said) from None
    except RecursionError:
        raise GatewayError(BAD_REQUEST, "The body has too many levels of objects and lists.") from None
    except ValueError:  # a whole number of thousands of digits
        raise GatewayError(BAD_REQUEST, "The body holds a number that is too long.") from None


def flaw_of(value: object, most_levels: int) -> str | None:
    """What is wrong within a value that :func:`read_json` gave; None when nothing is.

    Walks without recursion, because the depth is what is in doubt.
    """
    level: list[object] = [value]
    for _ in range(most_levels + 1):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each)
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
            elif isinstance(each, Flaw):
                return each.said
            elif isinstance(each, str) and not _is_text(each):
                return "holds half of a surrogate pair, which is no text"
        if not below:
            return None
        level = below
    return f"has more than {most_levels} levels of objects and lists"


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Flaw:
    read = dict(pairs)
    if len(read) == len(pairs):
        return read
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return Flaw(f"has the key {key[:SHOWN]!r} twice in one object; which one counts is unclear")
        seen.add(key)
    raise AssertionError("fewer keys than pairs, and none twice")


def _no_number(word: str) -> Flaw:
    return Flaw(f"holds {word}, which is not JSON; leave the value out or write null")


def _finite(text: str) -> float | Flaw:
    number = float(text)
    return number if math.isfinite(number) else Flaw(f"holds {text[:50]}, which is beyond the range of a number")
