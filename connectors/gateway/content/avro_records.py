"""Writing records of Avro: the fields that came, and in one piece what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from connectors.gateway.content.avro_misfit import Misfit, shown
from connectors.gateway.content.avro_writers import Encoded, Write

_PLACE: Final = itemgetter(0)


def record_of(name: str, fields: Sequence[tuple[str, Write, bytes | None]]) -> Write:
    """A record of fields with their names, writers and defaults.

    Goes through the fields that are given, not those of the schema: what lies between is one piece of defaults.
    """
    places = {field: (place, write) for place, (field, write, _) in enumerate(fields)}
    complete = [(field, write) for field, write, _ in fields]
    filling = _Filling(fields)
    wanted = f"must be an object with the fields of {shown(name)}"

    def write(value: Any, out: Encoded) -> None:
        if type(value) is not dict:
            raise Misfit(wanted, value)
        out.take(len(value))
        if value.keys() != places.keys():
            write_some(value, out)
            return
        field = ""
        try:
            for field, write_field in complete:
                write_field(value[field], out)
        except Misfit as misfit:
            misfit.within(field)
            raise

    def write_some(value: dict[str, Any], out: Encoded) -> None:
        due = 0
        for place, write_field, field in given_of(value):
            if place != due:
                filling.fill(due, place, out)
            try:
                write_field(value[field], out)
            except Misfit as misfit:
                misfit.within(field)
                raise
            due = place + 1
        if due != len(fields):
            filling.fill(due, len(fields), out)

    def given_of(value: dict[str, Any]) -> list[tuple[int, Write, str]]:
        try:
            given = [(*places[field], field) for field in value]
        except KeyError as unknown:
            raise Misfit.unknown(name, unknown.args[0]) from None
        given.sort(key=_PLACE)
        return given

    return write


class _Filling:
    """The defaults of a record's fields one after another."""

    def __init__(self, fields: Sequence[tuple[str, Write, bytes | None]]) -> None:
        self._names = [name for name, _, _ in fields]
        self._bytes = b"".join(default or b"" for _, _, default in fields)
        self._starts = [0]
        for _, _, default in fields:
            self._starts.append(self._starts[-1] + len(default or b""))
        self._required = [len(fields)] * (len(fields) + 1)  # the next field without a default, from each on
        for place in range(len(fields) - 1, -1, -1):
            self._required[place] = place if fields[place][2] is None else self._required[place + 1]

    def fill(self, start: int, end: int, out: Encoded) -> None:
        """Write the defaults of some fields that follow each other."""
        if self._required[start] < end:
            raise Misfit.missing(self._names[self._required[start]])
        out.fill(self._bytes[self._starts[start] : self._starts[end]])
