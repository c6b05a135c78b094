"""The body of a v2 produce request: the whole of it at once where it is plain, record by record where it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from connectors.gateway.content.reading import Long, Reading
from connectors.gateway.content.reading_format import AvroReading
from connectors.gateway.content.strict_json import SHOWN, VALUES_A_RECORD, Flaw, flaw_of, read_json, refuse_crowd
from connectors.gateway.errors import EMPTY_REQUEST, INVALID_PAYLOAD, TOO_LARGE, GatewayError

SCHEMA_FIELDS: Final = ("key_schema", "key_schema_id", "value_schema", "value_schema_id")
RECORD_FIELDS: Final = frozenset({"key", "value", "partition"})

Value = TypeVar("Value", Reading, AvroReading)

Text = str | None | msgspec.UnsetType
Number = Long | None | msgspec.UnsetType
Place = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None | msgspec.UnsetType


class Posted(msgspec.Struct, Generic[Value], forbid_unknown_fields=True, omit_defaults=True):
    """One record of a request whose records are readings."""

    value: Value
    key: Text = msgspec.UNSET
    partition: Place = msgspec.UNSET


class PostedReadings(msgspec.Struct, Generic[Value], forbid_unknown_fields=True, omit_defaults=True):
    """A whole such request; its values are readings as plain JSON, or in Avro's JSON encoding."""

    records: list[Posted[Value]]
    key_schema: Text = msgspec.UNSET
    key_schema_id: Number = msgspec.UNSET
    value_schema: Text = msgspec.UNSET
    value_schema_id: Number = msgspec.UNSET


def _presence_of(kind: type[Value]) -> type[msgspec.Struct]:
    """The same fields, each of which remembers whether it was given: null is then not the same as nothing."""
    given: list[str | tuple[str, Any] | tuple[str, Any, Any]] = []
    for each in msgspec.structs.fields(kind):
        if each.required:
            given.append((each.name, each.type))
        else:
            optional: Any = each.type | msgspec.UnsetType
            given.append((each.name, optional, msgspec.UNSET))
    return msgspec.defstruct(f"Given{kind.__name__}", given, forbid_unknown_fields=True, omit_defaults=True)


_ENCODE: Final = msgspec.json.Encoder().encode


class Quick(Generic[Value]):
    """Decodes a request whose every record is good in one go, which is what almost all of them are."""

    def __init__(self, value: type[Value]) -> None:
        """``value`` is the type of its records' values."""
        decoder: Any = msgspec.json.Decoder
        self._decode: Callable[[bytes], PostedReadings[Value]] = decoder(PostedReadings[value]).decode  # type: ignore[valid-type]
        given: Any = _presence_of(value)
        self._decode_given = decoder(PostedReadings[given]).decode

    def read(self, body: bytes) -> PostedReadings[Value] | None:
        r"""The request, or None when something is wrong with it or may be: then it is read record by record.

        A key given twice is what the decoder does not see. Every key and every text has two quotation marks, so a body
        that says the same once more has as many as this one only if no key came twice. A mark that is written as
        ``\u0022`` could hide one, and null is left out where it is the default; both go another way. 0.2 us a reading.
        """
        if rb"\u0022" in body:
            return None
        try:
            posted = self._decode(body)
            again: Any = self._decode_given(body) if b"null" in body else posted
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return posted if _ENCODE(again).count(b'"') == body.count(b'"') else None


class SlowRecord(NamedTuple):
    """One record as it came; ``flaw`` says what is wrong with it, after which the rest means nothing."""

    value: Any
    key: Any = None
    partition: int = -1
    flaw: GatewayError | None = None


class SlowBody(NamedTuple):
    """A request read record by record."""

    records: list[SlowRecord]
    schemas: Mapping[str, Any]


def read_slowly(body: bytes, most_levels: int, most_records: int) -> SlowBody:
    """Any v2 request. Raises :class:`GatewayError` when the request as a whole is wrong."""
    if not body.strip():
        raise GatewayError(EMPTY_REQUEST, "Null input provided. Data is required.")
    refuse_crowd(body, VALUES_A_RECORD * most_records)
    read = read_json(body)
    if isinstance(read, Flaw):
        raise GatewayError(INVALID_PAYLOAD, f"The request {read.said}.")
    if not isinstance(read, dict):
        raise GatewayError(INVALID_PAYLOAD, 'The request must be an object such as {"records": [{"value": …}]}.')
    for name in read:
        if name != "records" and name not in SCHEMA_FIELDS:
            raise GatewayError(INVALID_PAYLOAD, f"The request has a field {name[:SHOWN]!r}, which is unknown.")
    records = read.get("records")
    if not isinstance(records, list):
        raise GatewayError(EMPTY_REQUEST, "records must be a list with at least one record.")
    refuse_too_many(len(records), most_records)
    schemas = {name: read[name] for name in SCHEMA_FIELDS if read.get(name) is not None}
    for name, value in schemas.items():
        wanted = str if name.endswith("schema") else int
        if type(value) is not wanted:
            raise GatewayError(INVALID_PAYLOAD, f"{name} must be {'a text' if wanted is str else 'a whole number'}.")
    return SlowBody([_slow_record(each, most_levels) for each in records], schemas)


def refuse_too_many(records: int, most: int) -> None:
    """Raise :class:`GatewayError` for a request of more records than are taken at once."""
    if records > most:
        raise GatewayError(TOO_LARGE, f"The request has {records} records; send at most {most} at once.")
    if not records:
        raise GatewayError(EMPTY_REQUEST, "records must be a list with at least one record.")


def _slow_record(record: object, most_levels: int) -> SlowRecord:
    flaw = flaw_of(record, most_levels)
    if flaw is not None:
        return _flawed(flaw)
    if not isinstance(record, dict):
        return _flawed('must be an object such as {"value": …}')
    unknown = record.keys() - RECORD_FIELDS
    if unknown:
        return _flawed(f"has a field {min(unknown)[:SHOWN]!r}, which is unknown")
    partition = record.get("partition")
    if partition is not None and (type(partition) is not int or not 0 <= partition < 2**31):
        return _flawed("has a partition that is no number from 0 to 2147483647")
    return SlowRecord(record.get("value"), record.get("key"), -1 if partition is None else partition)


def _flawed(said: str) -> SlowRecord:
    return SlowRecord(None, flaw=GatewayError(INVALID_PAYLOAD, f"The record {said}."))
