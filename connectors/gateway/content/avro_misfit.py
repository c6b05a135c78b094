"""What is said of a value that does not fit: short whatever came, and put together only when it is said."""

from __future__ import annotations

from typing import Any, Final

from connectors.gateway.errors import CONVERSION_FAILED, GatewayError

MOST_SHOWN: Final = 60
"""Characters of a client's own text, a path or a name that an error repeats."""

_NOTHING: Final = object()


class Misfit(Exception):
    """A value that is not what its place takes. On its way out each level says where it was."""

    def __init__(self, wanted: str, value: Any = _NOTHING) -> None:
        """``wanted`` follows "Field a.b "; ``value`` is what came instead, unless that says nothing."""
        super().__init__(wanted)
        self._said = wanted
        self._value = value
        self._levels: list[str | int] = []
        self._record = ""

    @classmethod
    def missing(cls, field: str) -> Misfit:
        """A field without a default was left out."""
        made = cls("is missing")
        made.within(field)
        return made

    @classmethod
    def unknown(cls, record: str, field: str) -> Misfit:
        """A field came that the record does not have."""
        made = cls("")
        made._record = record
        made.within(field)
        return made

    def within(self, level: str | int) -> None:
        """Say in which field or at which place of a list the value was, from within to without."""
        self._levels.append(level[: MOST_SHOWN + 1] if isinstance(level, str) else level)

    def refusal(self) -> GatewayError:
        """The error 42203 with the path to the value."""
        path = shown(self._path())
        if self._record:
            return GatewayError(CONVERSION_FAILED, f"{shown(self._record)} has no field {path}.")
        where = f"Field {path}" if path else "The data"
        said = "" if self._value is _NOTHING else f", and is {_kind(self._value)}"
        return GatewayError(CONVERSION_FAILED, f"{where} {self._said}{said}.")

    def _path(self) -> str:
        path = ""
        for level in reversed(self._levels):
            if isinstance(level, int):
                path += f"[{level}]"
            else:
                path += f".{level}" if path else level
        return path


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """A text, its end left out when it is long."""
    return text if len(text) <= most else f"{text[:most]}…"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return f"the number {shown(repr(value))}" if abs(value) < 2**64 else "a number out of range"
    if isinstance(value, str):
        return f"the string {shown(repr(value[: MOST_SHOWN + 1]))}"
    return "an object" if isinstance(value, dict) else "an array"
