"""From what a client posts to a :class:`Reading`: plain JSON, Avro's JSON encoding, or framed Avro."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import fastavro
import msgspec

from connectors.gateway.content.reading import Float32, Long, Name, Reading, unboxed
from connectors.gateway.content.strict_json import flaw_of, read_json
from connectors.gateway.errors import CONVERSION_FAILED, GatewayError

_BRANCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "value": ("double",),
    "str_value": ("string",),
    "status_code": ("long",),
    "unit": ("string",),
    "seq": ("long",),
    "quality": ("string",),
    "battery_level": ("float",),
    "fw_ver": ("string",),
    "source": ("string",),
}
"""The branch that each optional field may name, as in ``{"double": 1.5}``."""


class DoubleBox(msgspec.Struct, forbid_unknown_fields=True):
    """A number as Avro's JSON writes it in a union."""

    double: float


class FloatBox(msgspec.Struct, forbid_unknown_fields=True):
    """The same of 32 bits."""

    float: Float32


class LongBox(msgspec.Struct, forbid_unknown_fields=True):
    """A whole number in a union."""

    long: Long


class StringBox(msgspec.Struct, forbid_unknown_fields=True):
    """A text in a union."""

    string: str


class AvroReading(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A reading in Avro's JSON encoding: optional fields name the branch of their union."""

    device_id: Name
    sensor: Name
    ts: Long
    value: DoubleBox | None = None
    str_value: StringBox | None = None
    status_code: LongBox | None = None
    unit: StringBox | None = None
    seq: LongBox | None = None
    quality: StringBox | None = None
    battery_level: FloatBox | None = None
    fw_ver: StringBox | None = None
    source: StringBox | None = None

    def reading(self) -> Reading:
        """The same without boxes."""
        return Reading(
            self.device_id,
            self.sensor,
            self.ts,
            self.value.double if self.value else None,
            self.str_value.string if self.str_value else None,
            self.status_code.long if self.status_code else None,
            self.unit.string if self.unit else None,
            self.seq.long if self.seq else None,
            self.quality.string if self.quality else None,
            self.battery_level.float if self.battery_level else None,
            self.fw_ver.string if self.fw_ver else None,
            self.source.string if self.source else None,
        )


class ReadingFormat:
    """Reads what clients post for the readings topic; ``most_levels`` bounds nested JSON.

    Every method raises :class:`GatewayError` for one record that does not fit, with the field and the reason.
    """

    def __init__(self, most_levels: int) -> None:
        """Nothing is read yet."""
        self._most_levels = most_levels

    def from_json(self, raw: bytes | msgspec.Raw) -> Reading:
        """A reading as a plain JSON object."""
        return self.from_value(read_json(bytes(raw)))

    def from_avro_json(self, raw: bytes | msgspec.Raw) -> Reading:
        """A reading in Avro's JSON encoding; plain JSON is taken, too."""
        return self.from_avro_value(read_json(bytes(raw)))

    def from_value(self, value: object) -> Reading:
        """A reading as :func:`~connectors.gateway.content.strict_json.read_json` gave it."""
        flaw = flaw_of(value, self._most_levels)
        if flaw is not None:
            raise GatewayError(CONVERSION_FAILED, f"The reading {flaw}.")
        try:
            return msgspec.convert(value, Reading)
        except (msgspec.ValidationError, ValueError) as error:
            raise GatewayError(CONVERSION_FAILED, f"The reading does not fit its schema: {error}.") from None

    def from_avro_value(self, value: object) -> Reading:
        """The same in Avro's JSON encoding."""
        if isinstance(value, dict):
            value = {
                name: unboxed(name, each, _BRANCHES[name]) if name in _BRANCHES else each
                for name, each in value.items()
            }
        return self.from_value(value)

    def from_framed(self, value: bytes, schema_of: Callable[[int], Any | None]) -> Reading:
        """A reading that the client wrote as framed Avro; ``schema_of`` gives the parsed schema of a known id."""
        if value[:1] != b"\0":
            try:
                read = read_json(value)
            except GatewayError:
                raise _neither() from None
            return self.from_value(read)
        schema = schema_of(int.from_bytes(value[1:5], "big")) if len(value) > 5 else None
        if schema is None:
            raise _neither()
        stream = io.BytesIO(value[5:])
        try:
            record = fastavro.schemaless_reader(stream, schema, None)
        except Exception as error:  # fastavro raises whatever the bytes lead it into
            said = f"The value does not decode by its schema: {type(error).__name__}."
            raise GatewayError(CONVERSION_FAILED, said) from None
        if stream.read(1):
            raise GatewayError(CONVERSION_FAILED, "The value goes on after the end of its record.")
        if not isinstance(record, dict):
            raise GatewayError(CONVERSION_FAILED, "The value is no reading.")
        return self.from_value(_known_fields(record))


def _neither() -> GatewayError:
    return GatewayError(CONVERSION_FAILED, "The value is neither JSON nor Avro with the id of a schema of this topic.")


def _known_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """What this version knows of a record that may have been written by another schema of the topic."""
    known = {name: record.get(name) for name in Reading.__struct_fields__ if name in record}
    ts = known.get("ts")
    if isinstance(ts, datetime):  # what fastavro makes of timestamp-millis
        known["ts"] = round(ts.timestamp() * 1000)
    return known
