"""Writing values in Avro's JSON encoding as Avro's binary encoding, by any schema.

Avro 1.12, "Data Serialization": a union is null or ``{"branch": value}``, bytes and fixed are texts of code points up
to 255. Fields that are left out take the schema's default when that is a plain value; Confluent's proxy refuses them.
Each part of a schema becomes one function; what does not fit is refused with the path to it, as ``items[3].price``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors.gateway.errors import CONVERSION_FAILED, GatewayError

Write = Callable[[Any, bytearray, str], None]
"""Appends a value to the bytes; the text is the path to it, for the error."""

_MISSING: Final = object()
_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""As Avro's own JSON decoder reads them; as bare words they are no JSON."""

_MOST_CHARACTERS_SHOWN: Final = 60
_DEFAULT_BYTES: Final = 1_000


def compiled(schema: Any) -> Write:
    """What writes values of a schema that fastavro has parsed, so that names are complete and all known.

    Raises :class:`ValueError` for what fastavro lets through though it can be no schema. The function raises
    :class:`GatewayError` 42203 for a value that does not fit.
    """
    return _compile(schema, {})


def _compile(schema: Any, names: dict[str, Write]) -> Write:
    if isinstance(schema, str):
        if schema in _PRIMITIVE:
            return _PRIMITIVE[schema]
        if schema not in names:
            raise ValueError(f"{schema} is not defined")
        return lambda value, out, path: names[schema](value, out, path)  # a record may hold itself
    if isinstance(schema, Sequence):
        return _union(schema, names)
    if not isinstance(schema, Mapping) or "type" not in schema:
        raise ValueError("a part of it has no type")
    kind = schema["type"]
    if kind in _NAMED:
        names[schema["name"]] = _refuse_unfinished
        write = names[schema["name"]] = _NAMED_COMPILERS[kind](schema, names)
        return write
    if kind == "array":
        return _array(_compile(schema["items"], names))
    if kind == "map":
        return _map(_compile(schema["values"], names))
    return _compile(kind, names)


def _refuse_unfinished(value: Any, out: bytearray, path: str) -> None:
    raise ValueError("a default needs a record that is not complete yet")


def _null(value: Any, out: bytearray, path: str) -> None:
    if value is not None:
        raise misfit(path, value, "null")


def _boolean(value: Any, out: bytearray, path: str) -> None:
    if value is not True and value is not False:
        raise misfit(path, value, "a boolean")
    out.append(1 if value else 0)


def _integer(bits: int) -> Write:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    wanted = f"a whole number of {bits} bits"

    def write(value: Any, out: bytearray, path: str) -> None:
        if type(value) is float and value.is_integer():  # some languages write 3 as 3.0
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            raise misfit(path, value, wanted)
        write_long(value, out)

    return write


def _floating(form: str, wanted: str) -> Write:
    pack = struct.Struct(form).pack

    def write(value: Any, out: bytearray, path: str) -> None:
        if type(value) is str:
            value = _NOT_FINITE.get(value, value)
        if type(value) is not float and type(value) is not int:
            raise misfit(path, value, wanted)
        try:
            out += pack(value)
        except (OverflowError, struct.error):
            raise misfit(path, value, wanted) from None

    return write


def _string(value: Any, out: bytearray, path: str) -> None:
    if type(value) is not str:
        raise misfit(path, value, "a string")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise misfit(path, value, "a string of whole characters") from None
    write_long(len(encoded), out)
    out += encoded


def _bytes(value: Any, out: bytearray, path: str) -> None:
    encoded = _latin(value, path)
    write_long(len(encoded), out)
    out += encoded


def _latin(value: Any, path: str) -> bytes:
    try:
        if type(value) is str:
            return value.encode("latin-1")
    except UnicodeEncodeError:
        pass
    raise misfit(path, value, "bytes, as a string of characters up to U+00FF")


def _fixed(schema: Mapping[str, Any], names: dict[str, Write]) -> Write:
    size = schema["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"{schema['name']} has no size")

    def write(value: Any, out: bytearray, path: str) -> None:
        encoded = _latin(value, path)
        if len(encoded) != size:
            raise misfit(path, value, f"{size} bytes")
        out += encoded

    return write


def _enum(schema: Mapping[str, Any], names: dict[str, Write]) -> Write:
    places = {symbol: place for place, symbol in enumerate(schema["symbols"])}

    def write(value: Any, out: bytearray, path: str) -> None:
        if type(value) is not str or value not in places:
            raise misfit(path, value, f"one of the symbols of {schema['name']}")
        write_long(places[value], out)

    return write


def _record(schema: Mapping[str, Any], names: dict[str, Write]) -> Write:
    fields = [(each["name"], _compile(each["type"], names), _default(each, names)) for each in schema["fields"]]
    known = frozenset(name for name, _, _ in fields)

    def write(value: Any, out: bytearray, path: str) -> None:
        if type(value) is not dict:
            raise misfit(path, value, f"an object with the fields of {schema['name']}")
        for name, write_field, default in fields:
            given = value.get(name, _MISSING)
            if given is not _MISSING:
                write_field(given, out, f"{path}.{name}" if path else name)
            elif default is not None:
                out += default
            else:
                raise GatewayError(CONVERSION_FAILED, f"Field {_joined(path, name)} is missing.")
        if len(value) > len(known) or not known.issuperset(value):
            unknown = next(name for name in value if name not in known)
            raise GatewayError(CONVERSION_FAILED, f"{schema['name']} has no field {_shown(_joined(path, unknown))}.")

    return write


def _default(field: Mapping[str, Any], names: dict[str, Write]) -> bytes | None:
    """The bytes of a field's default; None when it has none, or one that holds further values.

    Defaults of records are left out on purpose: a few hundred bytes of schema, each record holding two of the next,
    would stand for gigabytes.
    """
    default = field.get("default", _MISSING)
    if default is _MISSING or isinstance(default, dict | list) and default:
        return None
    kind, out = field["type"], bytearray()
    if isinstance(kind, list):  # a union's default is one of its first branch, and not wrapped
        write_long(0, out)
        kind = kind[0]
    if isinstance(kind, dict) and kind["type"] in ("record", "error"):
        return None
    try:
        _compile(kind, dict(names))(default, out, "")
    except (GatewayError, ValueError):
        return None
    return bytes(out) if len(out) <= _DEFAULT_BYTES else None


def _array(write_item: Write) -> Write:
    def write(value: Any, out: bytearray, path: str) -> None:
        if type(value) is not list:
            raise misfit(path, value, "an array")
        if value:
            write_long(len(value), out)
            for place, item in enumerate(value):
                write_item(item, out, f"{path}[{place}]")
        out.append(0)

    return write


def _map(write_value: Write) -> Write:
    def write(value: Any, out: bytearray, path: str) -> None:
        if type(value) is not dict:
            raise misfit(path, value, "an object")
        if value:
            write_long(len(value), out)
            for key, item in value.items():
                _string(key, out, path)
                write_value(item, out, _joined(path, key))
        out.append(0)

    return write


def _union(schema: Sequence[Any], names: dict[str, Write]) -> Write:
    branches = {_branch_name(each): (place, _compile(each, names)) for place, each in enumerate(schema)}
    wanted = " or ".join("null" if name == "null" else f'{{"{name}": …}}' for name in branches)

    def write(value: Any, out: bytearray, path: str) -> None:
        if value is None:
            name = "null"
        elif type(value) is dict and len(value) == 1:
            name, value = next(iter(value.items()))
        else:
            raise misfit(path, value, wanted)
        if name not in branches or (name == "null" and value is not None):
            raise misfit(path, value, wanted)
        place, write_branch = branches[name]
        write_long(place, out)
        write_branch(value, out, path)

    return write


def _branch_name(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if not isinstance(schema, Mapping):
        raise ValueError("a union holds a union")
    return str(schema["name"] if schema["type"] in _NAMED else schema["type"])


def write_long(value: int, out: bytearray) -> None:
    """Append a long: zigzag, then seven bits a byte."""
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def misfit(path: str, value: Any, wanted: str) -> GatewayError:
    """The refusal of a value that is not what its field takes."""
    where = f"Field {_shown(path)}" if path else "The data"
    return GatewayError(CONVERSION_FAILED, f"{where} must be {wanted}, and is {_kind(value)}.")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return f"the number {_shown(repr(value))}" if abs(value) < 2**64 else "a number out of range"
    if isinstance(value, str):
        return f"the string {_shown(repr(value))}"
    return "an object" if isinstance(value, dict) else "an array"


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS_SHOWN else f"{text[:_MOST_CHARACTERS_SHOWN]}…"


_PRIMITIVE: Final[Mapping[str, Write]] = {
    "null": _null,
    "boolean": _boolean,
    "int": _integer(32),
    "long": _integer(64),
    "float": _floating("<f", "a number of 32 bits"),
    "double": _floating("<d", "a number"),
    "bytes": _bytes,
    "string": _string,
}
_NAMED_COMPILERS: Final[Mapping[str, Callable[[Mapping[str, Any], dict[str, Write]], Write]]] = {
    "record": _record,
    "error": _record,
    "enum": _enum,
    "fixed": _fixed,
}
