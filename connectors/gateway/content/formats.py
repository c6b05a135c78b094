"""What a client's ``data`` becomes as a key or value of a topic that is not the readings topic.

========  ======================================  ===========================================
form      data                                    bytes in Kafka
========  ======================================  ===========================================
binary    a string in base64                      what it stands for
json      anything                                the same JSON without white space
string    a string                                UTF-8
avro      Avro's JSON encoding                    0, schema id in four bytes, Avro's encoding
========  ======================================  ===========================================

null is no bytes at all, a tombstone; in Avro where the schema allows null, else it does not fit. JSON Schema
and Protobuf are not offered.
"""

from __future__ import annotations

import binascii
from typing import Any, Final, Literal

import msgspec

from connectors.gateway.content.avro_misfit import Misfit
from connectors.gateway.content.schema_text import RegisteredSchema
from connectors.gateway.errors import KEY_SCHEMA_MISSING, VALUE_SCHEMA_MISSING, GatewayError

Form = Literal["binary", "json", "string", "avro"]

_ENCODE: Final = msgspec.json.Encoder().encode
_KEY_SCHEMA_MISSING: Final = "Request includes keys but does not include key schema"
_VALUE_SCHEMA_MISSING: Final = "Request includes values but does not include value schema"


def serialise(form: Form, data: object, schema: RegisteredSchema | None = None, is_key: bool = False) -> bytes | None:
    """Bytes of one key or value; None for a null. ``data`` is a Python value of JSON, or its text as ``msgspec.Raw``.

    A ``Raw`` keeps numbers as they came, of any length; it must be known to be JSON. Raises :class:`GatewayError`:
    42203 for data that does not fit, 42201 or 42202 for Avro without a schema. It may be called in any thread, and
    should be where there is much: 4 MB take 20 ms.
    """
    if form == "json":
        return _json(data)
    value = msgspec.json.decode(data) if isinstance(data, msgspec.Raw) else data
    if form == "avro":
        return _avro(value, schema, is_key)
    if value is None:
        return None
    return _binary(value) if form == "binary" else _string(value)


def _json(data: object) -> bytes | None:
    if data is None:
        return None
    if isinstance(data, msgspec.Raw):
        text = bytes(data)
        return None if text[:1] in b" \t\r\nn" and text.strip() == b"null" else msgspec.json.format(text, indent=-1)
    return _ENCODE(data)


def _binary(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            # as Confluent's decoder: the padding may be left out
            bare = value.rstrip("=")
            return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
        except ValueError:
            pass
    raise Misfit("must be a string in base64", value).refusal()


def _string(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Misfit("must be a string", value).refusal()
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Misfit("must be a string of whole characters", value).refusal() from None


def _avro(value: Any, schema: RegisteredSchema | None, is_key: bool) -> bytes | None:
    if schema is None:
        if value is None:
            return None
        if is_key:
            raise GatewayError(KEY_SCHEMA_MISSING, _KEY_SCHEMA_MISSING)
        raise GatewayError(VALUE_SCHEMA_MISSING, _VALUE_SCHEMA_MISSING)
    framed = schema.encode(value, schema.frame)
    return None if value is None else framed
