"""One function for each type of Avro: it appends a value of Avro's JSON encoding to some bytes.

What a value costs grows with the value alone, whatever the schema: where it was is put together for an error only.
Records are written in :mod:`connectors.gateway.content.avro_records`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors.gateway.content.avro_misfit import Misfit, shown

MOST_VALUES: Final = 50_000
"""Items, entries and fields of one value: written in 10 to 50 ms, in unions the latter."""

MOST_FILLED: Final = 1_048_576
"""Bytes of defaults of one value, as much as a message of Kafka holds; ``[{},{},…]`` may stand for any number."""

NAMED: Final = frozenset({"record", "error", "enum", "fixed"})

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""As Avro's own JSON decoder reads them; as bare words they are no JSON."""


class Encoded(bytearray):
    """The bytes so far, how many more values may come, and how many more bytes of defaults."""

    room = MOST_VALUES

    spare = MOST_FILLED

    def take(self, values: int) -> None:
        """Count values before they are written; raises :class:`Misfit`."""
        self.room -= values
        if self.room < 0:
            raise Misfit(f"must hold at most {MOST_VALUES} values in all")

    def fill(self, defaults: bytes) -> None:
        """Append what was left out; raises :class:`Misfit`."""
        self.spare -= len(defaults)
        if self.spare < 0:
            raise Misfit(f"must leave out fewer fields, whose defaults are more than {MOST_FILLED} bytes in all")
        self.extend(defaults)


Write = Callable[[Any, Encoded], None]
"""Appends a value to the bytes; raises :class:`Misfit`, to which each level adds where it was."""


def _null(value: Any, out: Encoded) -> None:
    if value is not None:
        raise Misfit("must be null", value)


def _boolean(value: Any, out: Encoded) -> None:
    if value is not True and value is not False:
        raise Misfit("must be a boolean", value)
    out.append(1 if value else 0)


def _integer(bits: int) -> Write:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    wanted = f"must be a whole number of {bits} bits"

    def write(value: Any, out: Encoded) -> None:
        if type(value) is float and value.is_integer():  # some languages write 3 as 3.0
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            raise Misfit(wanted, value)
        if -64 <= value < 64:
            out.append(value << 1 if value >= 0 else ~(value << 1))
        else:
            _write_long(value, out)

    return write


def _floating(form: str, wanted: str) -> Write:
    pack = struct.Struct(form).pack

    def write(value: Any, out: Encoded) -> None:
        if type(value) is str:
            value = _NOT_FINITE.get(value, value)
        if type(value) is not float and type(value) is not int:
            raise Misfit(wanted, value)
        try:
            out += pack(value)
        except (OverflowError, struct.error):
            raise Misfit(wanted, value) from None

    return write


def _string(value: Any, out: Encoded) -> None:
    if type(value) is not str:
        raise Misfit("must be a string", value)
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise Misfit("must be a string of whole characters", value) from None
    size = len(encoded)
    if size < 64:  # as most are: one byte
        out.append(size << 1)
    else:
        _write_long(size, out)
    out += encoded


def _bytes(value: Any, out: Encoded) -> None:
    encoded = _latin(value)
    _write_long(len(encoded), out)
    out += encoded


def _latin(value: Any) -> bytes:
    try:
        if type(value) is str:
            return value.encode("latin-1")
    except UnicodeEncodeError:
        pass
    raise Misfit("must be bytes, as a string of characters up to U+00FF", value)


def fixed_of(schema: Mapping[str, Any]) -> Write:
    """So many bytes. Raises :class:`ValueError` for a schema without a size."""
    size = schema["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"{schema['name']} has no size")

    def write(value: Any, out: Encoded) -> None:
        encoded = _latin(value)
        if len(encoded) != size:
            raise Misfit(f"must be {size} bytes", value)
        out += encoded

    return write


def enum_of(schema: Mapping[str, Any]) -> Write:
    """One of its symbols."""
    places = {symbol: _long(place) for place, symbol in enumerate(schema["symbols"])}
    wanted = f"must be one of the symbols of {shown(schema['name'])}"

    def write(value: Any, out: Encoded) -> None:
        if type(value) is not str or value not in places:
            raise Misfit(wanted, value)
        out += places[value]

    return write


def array_of(write_item: Write) -> Write:
    """An array of what ``write_item`` writes."""

    def write(value: Any, out: Encoded) -> None:
        if type(value) is not list:
            raise Misfit("must be an array", value)
        if value:
            out.take(len(value))
            _write_long(len(value), out)
            place = 0
            try:
                for place, item in enumerate(value):  # noqa: B007  # where it was, when it does not fit
                    write_item(item, out)
            except Misfit as misfit:
                misfit.within(place)
                raise
        out.append(0)

    return write


def map_of(write_value: Write) -> Write:
    """A map to what ``write_value`` writes."""

    def write(value: Any, out: Encoded) -> None:
        if type(value) is not dict:
            raise Misfit("must be an object", value)
        if value:
            out.take(len(value))
            _write_long(len(value), out)
            for key, item in value.items():
                _string(key, out)
                try:
                    write_value(item, out)
                except Misfit as misfit:
                    misfit.within(key)
                    raise
        out.append(0)

    return write


def union_of(schema: Sequence[Any], writes: Sequence[Write]) -> Write:
    """null, or an object whose one key names the branch. Raises :class:`ValueError` for a union in a union."""
    names = [_branch_name(each) for each in schema]
    branches = {name: (_long(place), write) for place, (name, write) in enumerate(zip(names, writes, strict=True))}
    told = " or ".join("null" if name == "null" else f'{{"{shown(name)}": …}}' for name in names[:10])
    wanted = f"must be {shown(told, 200)}{' or another' if len(names) > 10 else ''}" if names else "can be nothing"

    def write(value: Any, out: Encoded) -> None:
        if value is None:
            name = "null"
        elif type(value) is dict and len(value) == 1:
            name, value = next(iter(value.items()))
        else:
            raise Misfit(wanted, value)
        if name not in branches or (name == "null" and value is not None):
            raise Misfit(wanted, value)
        place, write_branch = branches[name]
        out += place
        write_branch(value, out)

    return write


def _branch_name(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if not isinstance(schema, Mapping):
        raise ValueError("a union holds a union")
    return str(schema["name"] if schema["type"] in NAMED else schema["type"])


def _long(value: int) -> bytes:
    out = Encoded()
    _write_long(value, out)
    return bytes(out)


def _write_long(value: int, out: Encoded) -> None:
    """Append a long: zigzag, then seven bits a byte."""
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


PRIMITIVE: Final[Mapping[str, Write]] = {
    "null": _null,
    "boolean": _boolean,
    "int": _integer(32),
    "long": _integer(64),
    "float": _floating("<f", "must be a number of 32 bits"),
    "double": _floating("<d", "must be a number"),
    "bytes": _bytes,
    "string": _string,
}
