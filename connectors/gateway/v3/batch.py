"""A batch of v3: up to as many entries as one request may have, answered 207 with those that were taken and those not.

The batch as a whole is refused for what makes its entries uncertain: identifiers that are missing, odd or not distinct.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from connectors.gateway.content.strict_json import VALUES_A_RECORD, Flaw, flaw_of, read_json, refuse_crowd
from connectors.gateway.errors import BAD_REQUEST, INVALID_BATCH, INVALID_PAYLOAD, GatewayError
from connectors.gateway.http import Reply, Request, wait_header
from connectors.gateway.intake import Entry
from connectors.gateway.records import Outgoing
from connectors.gateway.v3.record import RecordReader
from connectors.gateway.v3.report import Reports, failed_entry

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

SLICE: Final = 100
"""Entries that are read at once."""

_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,80}")


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    entries: list[msgspec.Raw]


_decode: Final = msgspec.json.Decoder(_Batch).decode


async def written_batch(parts: Parts, request: Request, reader: RecordReader, reports: Reports) -> Reply:
    """Write every good entry, and say what became of each. Raises :class:`GatewayError` for the batch as a whole."""
    most = parts.settings.gateway.records
    refuse_crowd(request.body, VALUES_A_RECORD * most)
    trees, texts = await asyncio.to_thread(_entries_of, request.body, parts.settings.gateway.json_depth)
    names = _names_of(trees, most)
    group = []
    for place, (text, tree) in enumerate(zip(texts, trees, strict=True)):
        group.append(await reader.read_entry(text, tree))
        if place % SLICE == SLICE - 1:
            await asyncio.sleep(0)  # whoever else waits has a turn
    entries = [each if isinstance(each, GatewayError) else each.entry for each in group]
    caller, size = request.caller, len(request.body)
    if reader.is_readings:
        outcomes = await parts.intake.readings(caller, cast("list[Entry]", entries), size)
    else:
        outcomes = await parts.intake.plain(caller, cast("list[Outgoing | GatewayError]", entries), size)
    successes, failures = [], []
    for name, each, outcome in zip(names, group, outcomes, strict=True):
        if isinstance(outcome, GatewayError):
            failures.append(failed_entry(name, outcome))
        else:
            successes.append(reports.of_entry(name, each, outcome))
    request.counts.update(records=len(names), refused=len(failures))
    waits = [each.retry_after for each in outcomes if isinstance(each, GatewayError) and each.retry_after is not None]
    headers = (wait_header(max(waits)),) if waits else ()
    body = b'{"successes":[%b],"failures":[%b]}' % (b",".join(successes), b",".join(failures))
    return Reply(207, body, headers=headers)


def _entries_of(body: bytes, most_levels: int) -> tuple[list[Any], list[bytes]]:
    if not body.strip() or body.strip() == b"null":
        raise GatewayError(INVALID_BATCH, "Request body is empty. Data is required.")
    tree = read_json(body)
    if isinstance(tree, Flaw):
        raise GatewayError(INVALID_PAYLOAD, f"Payload error. The batch {tree.said}.")
    if isinstance(tree, dict) and tree.get("entries") is None:
        raise GatewayError(INVALID_BATCH, "Empty batch.")
    try:
        texts = [bytes(each) for each in _decode(body).entries]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _refuse_flawed(tree, most_levels)
        raise GatewayError(BAD_REQUEST, f"Error processing JSON: {error}") from None
    return tree["entries"], texts


def _refuse_flawed(tree: Any, most_levels: int) -> None:  # noqa: ANN401  # whatever JSON it was
    """Name the entry for which the whole body is no JSON, such as one with NaN."""
    entries = tree.get("entries") if isinstance(tree, dict) else None
    for place, each in enumerate(entries if isinstance(entries, list) else ()):
        flaw = flaw_of(each, most_levels)
        if flaw is not None:
            raise GatewayError(INVALID_PAYLOAD, f"Payload error. Entry {place} {flaw}.")


def _names_of(trees: list[Any], most: int) -> list[str]:
    names: list[str] = []
    for place, each in enumerate(trees):
        if isinstance(each, Flaw):
            raise GatewayError(INVALID_PAYLOAD, f"Payload error. Entry {place} {each.said}.")
        name = each.get("id") if isinstance(each, dict) else None
        if not isinstance(name, str) or not _ID.fullmatch(name):
            raise GatewayError(INVALID_BATCH, "Batch entry identifier is not a valid string.")
        names.append(name)
    if len(set(names)) < len(names):
        raise GatewayError(INVALID_BATCH, "Batch entry IDs are not distinct.")
    if not names:
        raise GatewayError(INVALID_BATCH, "Empty batch.")
    if len(names) > most:
        raise GatewayError(INVALID_BATCH, "Too many entries in batch.")
    return names


BATCH: Final = {
    "type": "object",
    "required": ["entries"],
    "additionalProperties": False,
    "properties": {"entries": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["id"]}}},
}
"""The request as JSON Schema, for the OpenAPI page; an entry is a record of a stream with an ``id``."""
