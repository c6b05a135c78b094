"""A request that is sent again under its ``Idempotency-Key`` gets the answer of the first.

Answers are kept in memory, for as long and as many bytes as the settings say: a gateway that restarts has forgotten
them. Readings are stored once however often they are sent, so what a forgotten key costs is Kafka's space.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from connectors.gateway.errors import BAD_REQUEST, IDEMPOTENCY_MISMATCH, GatewayError
from connectors.gateway.http import RETRY_AFTER, Reply, Request

LONGEST_KEY: Final = 255
OVERHEAD_BYTES: Final = 500
"""What an entry takes beside the answer's body."""


SHARES: Final = 8
"""One organisation's answers take at most this part of the room: its keys must not push out those of others."""


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    until: float
    answer: asyncio.Future[Reply]
    size: int = OVERHEAD_BYTES


class _Shelf:
    """The answers of one organisation, from the oldest to the newest."""

    def __init__(self) -> None:
        self.entries: OrderedDict[tuple[str, str, bytes], _Entry] = OrderedDict()
        self.size = 0

    def put(self, name: tuple[str, str, bytes], entry: _Entry) -> None:
        self.entries[name] = entry
        self.size += entry.size

    def drop(self, name: tuple[str, str, bytes], entry: _Entry) -> None:
        if self.entries.get(name) is entry:
            del self.entries[name]
            self.size -= entry.size

    def drop_old(self, now: float, most_bytes: float) -> None:
        while self.entries:
            name, entry = next(iter(self.entries.items()))
            if entry.until > now and self.size <= most_bytes:
                return
            self.drop(name, entry)


class Idempotency:
    """Answers by key (API key, path and ``Idempotency-Key``), on a shelf for each organisation."""

    def __init__(self, seconds: float, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep each answer for ``seconds``; the oldest go first when there are more than ``most_bytes``."""
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._clock = clock
        self._shelves: dict[str, _Shelf] = {}

    async def answer(self, key: bytes, request: Request, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """The kept answer of this key, or that of ``work``, which is kept unless sending again may mend it in part.

        While the first is still under way, the second waits for it. Raises :class:`GatewayError` for a key that was
        used with another body, and what ``work`` raises.
        """
        if not key or len(key) > LONGEST_KEY:
            raise GatewayError(BAD_REQUEST, f"Idempotency-Key takes 1 to {LONGEST_KEY} characters.")
        shelf = self._shelf_of(request.caller.organisation)
        name = (request.caller.prefix, request.path, key)
        fingerprint = hashlib.sha256(request.media_type.encode() + b"\0" + request.body).digest()
        entry = shelf.entries.get(name)
        if entry is None:
            entry = _Entry(fingerprint, self._clock() + self._seconds, asyncio.get_running_loop().create_future())
            shelf.put(name, entry)
            return await _first(shelf, name, entry, work)
        if entry.fingerprint != fingerprint:
            said = "This Idempotency-Key was used with another body; use a new key for a new request."
            raise GatewayError(IDEMPOTENCY_MISMATCH, said)
        kept = await asyncio.shield(entry.answer)
        return kept._replace(headers=(*kept.headers, (b"idempotency-replayed", b"true")))

    def _shelf_of(self, organisation: str) -> _Shelf:
        """The organisation's shelf, with room on it."""
        now, own = self._clock(), self._shelves.setdefault(organisation, _Shelf())
        own.drop_old(now, self._most_bytes / SHARES)
        while sum(each.size for each in self._shelves.values()) > self._most_bytes:
            largest = max(self._shelves.values(), key=lambda each: each.size)
            largest.drop_old(now, largest.size - 1)
        return own


async def _first(
    shelf: _Shelf, name: tuple[str, str, bytes], entry: _Entry, work: Callable[[], Awaitable[Reply]]
) -> Reply:
    try:
        reply = await work()
    except BaseException as error:
        shelf.drop(name, entry)
        entry.answer.set_exception(error if isinstance(error, GatewayError) else _broken_off())
        entry.answer.exception()  # nobody need be waiting
        raise
    entry.answer.set_result(reply)
    if reply.status >= 400 or any(each == RETRY_AFTER for each, _ in reply.headers):
        shelf.drop(name, entry)
    elif shelf.entries.get(name) is entry:
        shelf.size += len(reply.body)
        entry.size += len(reply.body)
    return reply


def _broken_off() -> GatewayError:
    return GatewayError(409, "The first request with this Idempotency-Key was broken off; send it again.")
