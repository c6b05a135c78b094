"""What a v2 produce request is answered: an offset or an error for each record, in the order in which they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.gateway.errors import GatewayError
from connectors.gateway.http import V2, Reply, encode_json, wait_header
from connectors.gateway.records import SAMPLED_OUT, SPOOLED_OFFSET, Written


def produced(outcomes: Sequence[Written | GatewayError], schema_ids: Mapping[str, int | None]) -> Reply:
    """200 as soon as one record was taken; otherwise the status of the first error, with all of them.

    ``schema_ids`` has ``key_schema_id`` and ``value_schema_id`` where there are any.
    """
    offsets = b",".join([_offset(place, each) for place, each in enumerate(outcomes)])
    refused = [each for each in outcomes if isinstance(each, GatewayError)]
    if refused and len(refused) == len(outcomes):
        return _refused(refused, offsets)
    ids = [schema_ids.get("key_schema_id"), schema_ids.get("value_schema_id")]
    key_id, value_id = (b"null" if each is None else str(each).encode() for each in ids)
    body = b'{"offsets":[%b],"key_schema_id":%b,"value_schema_id":%b}' % (offsets, key_id, value_id)
    return Reply(200, body, V2, _notes(outcomes))


def _offset(place: int, outcome: Written | GatewayError) -> bytes:
    if isinstance(outcome, GatewayError):
        said = f"Record {place}: {outcome.message}"
        return encode_json({"partition": None, "offset": None, "error_code": outcome.code, "error": said})
    return b'{"partition":%d,"offset":%d,"error_code":null,"error":null}' % (outcome[0], outcome[1])


def _refused(errors: Sequence[GatewayError], offsets: bytes) -> Reply:
    first = errors[0]
    message = first.message if len(errors) == 1 else f"Record 0: {first.message}"
    envelope = encode_json({"error_code": first.code, "message": message, **first.extra})
    waits = [each.retry_after for each in errors if each.retry_after is not None]
    headers = (wait_header(max(waits)),) if waits else ()
    return Reply(first.status, b'%b,"offsets":[%b]}' % (envelope[:-1], offsets), V2, headers)


def _notes(outcomes: Sequence[Written | GatewayError]) -> tuple[tuple[bytes, bytes], ...]:
    """Headers about records that are not in Kafka, and of refused ones that may be sent again."""
    notes: list[tuple[bytes, bytes]] = []
    spooled = sampled = 0
    waits = []
    for each in outcomes:
        if isinstance(each, GatewayError):
            if each.retry_after is not None:
                waits.append(each.retry_after)
        elif each[1] < 0:
            sampled += each[1] == SAMPLED_OUT.offset
            spooled += each[1] == SPOOLED_OFFSET
    if spooled:
        notes.append((b"weir-spooled", str(spooled).encode()))
    if sampled:
        notes.append((b"weir-sampled-out", str(sampled).encode()))
    if waits:
        notes.append(wait_header(max(waits)))
    return tuple(notes)
