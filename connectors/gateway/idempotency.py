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
from connectors.gateway.http import Reply, Request

LONGEST_KEY: Final = 255
OVERHEAD_BYTES: Final = 500
"""What an entry takes beside the answer's body."""


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    until: float
    answer: asyncio.Future[Reply]
    size: int = OVERHEAD_BYTES


class Idempotency:
    """Answers by organisation, path and key."""

    def __init__(self, seconds: float, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep each answer for ``seconds``; the oldest go first when there are more than ``most_bytes``."""
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str, bytes], _Entry] = OrderedDict()
        self._bytes = 0

    async def answer(self, key: bytes, request: Request, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """The kept answer of this key, or that of ``work``, which is kept unless sending again may mend it.

        While the first is still under way, the second waits for it. Raises :class:`GatewayError` for a key that was
        used with another body, and what ``work`` raises.
        """
        if not key or len(key) > LONGEST_KEY:
            raise GatewayError(BAD_REQUEST, f"Idempotency-Key takes 1 to {LONGEST_KEY} characters.")
        self._forget_old()
        name = (request.caller.prefix, request.path, key)
        fingerprint = hashlib.sha256(request.media_type.encode() + b"\0" + request.body).digest()
        entry = self._entries.get(name)
        if entry is None:
            return await self._first(name, fingerprint, work)
        if entry.fingerprint != fingerprint:
            said = "This Idempotency-Key was used with another body; use a new key for a new request."
            raise GatewayError(IDEMPOTENCY_MISMATCH, said)
        kept = await asyncio.shield(entry.answer)
        return kept._replace(headers=(*kept.headers, (b"idempotency-replayed", b"true")))

    async def _first(
        self, name: tuple[str, str, bytes], fingerprint: bytes, work: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        entry = self._entries[name] = _Entry(fingerprint, self._clock() + self._seconds, answer)
        self._bytes += entry.size
        try:
            reply = await work()
        except BaseException as error:
            self._drop(name, entry)
            answer.set_exception(error if isinstance(error, GatewayError) else _broken_off())
            answer.exception()  # nobody need be waiting
            raise
        answer.set_result(reply)
        if reply.status in (408, 429) or reply.status >= 500:
            self._drop(name, entry)
        elif self._entries.get(name) is entry:
            entry.size += len(reply.body)
            self._bytes += len(reply.body)
        return reply

    def _forget_old(self) -> None:
        now = self._clock()
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if entry.until > now and self._bytes <= self._most_bytes:
                return
            self._drop(name, entry)

    def _drop(self, name: tuple[str, str, bytes], entry: _Entry) -> None:
        if self._entries.get(name) is entry:
            del self._entries[name]
            self._bytes -= entry.size


def _broken_off() -> GatewayError:
    return GatewayError(409, "The first request with this Idempotency-Key was broken off; send it again.")
