"""A stream of records that is answered while it comes: read, written to Kafka and reported in groups, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, cast

from connectors.gateway.content.json_stream import JsonStream
from connectors.gateway.door.identity import credentials_of
from connectors.gateway.errors import BAD_REQUEST, INTERNAL, KAFKA_RETRIABLE, REQUEST_TIMEOUT, TOO_LARGE, GatewayError
from connectors.gateway.http import Request
from connectors.gateway.intake import Entry
from connectors.gateway.records import Outgoing, Written
from connectors.gateway.server.held_bytes import HELD
from connectors.gateway.v3.record import Prepared, RecordReader
from connectors.gateway.v3.report import SEPARATOR, Reports, failed
from connectors.gateway.visible_topics import writing_refusal

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

logger = logging.getLogger(__name__)

MOST_IN_GROUP: Final = 500
"""Records that are written to Kafka at once; the next ones are read when the brokers have these."""

MOST_UNREAD: Final = 4_194_304
"""Bytes of reports that wait for a client that does not read yet; then nothing more is read from it.

Simple clients send the whole body before they read the answer: 4 MiB are the reports of some 20,000 records.
"""

SLICE_BYTES: Final = 32_768
"""What is read at once; then whoever else waits has a turn (a millisecond, at worst 10)."""
RECORD_COST: Final = 200
"""Bytes that reading a record costs as much as, beside its own."""

MOST_REFUSED: Final = 10_000
"""Refused records, beyond ten for each that was taken, after which a stream ends: they cost as much, and no quota."""

MOST_RECORD_BYTES: Final = 1_572_864
"""Of one record, so that half of one cannot hold more: Kafka's largest, 1 MiB, is 1.4 MB as base64."""

CUT_BYTES: Final = 8_192
"""What is cut into records at once: 4,096 empty ones take 3 ms."""


class _EndedError(Exception):
    """The stream ends here; what there was to say is said."""


class RecordStream:
    """One request of records. A client that leaves has what was read of it written all the same."""

    def __init__(self, parts: Parts, request: Request, reader: RecordReader, reports: Reports) -> None:
        """Nothing is read yet."""
        self._parts = parts
        self._request = request
        self._reader = reader
        self._reports = reports
        self._objects = JsonStream(min(parts.settings.gateway.body_bytes, MOST_RECORD_BYTES))
        self._record_since = time.monotonic()
        self._unread = Unread()
        self._share = HELD.share(request.caller)
        self._counts = request.counts
        self._counts.update(records=0, refused=0)
        self._caller = request.caller
        self._credentials = credentials_of(request.headers)
        self._refused_too_many = 0
        self._reading: asyncio.Task[None] | None = None
        self._is_waiting = False
        self._is_stopping = False

    def stop(self) -> None:
        """Read no more than is there; a group that is being written is written and reported."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._reading is not None and self._is_waiting:
            self._reading.cancel()

    async def chunks(self, first: bytes) -> AsyncIterator[bytes]:
        """The reports, each with its separator; ``first`` is the piece of the body that was read already."""
        reading = self._reading = asyncio.create_task(self._read(first))
        with self._share:
            try:
                async for chunk in self._unread:
                    yield chunk
                    self._share.hold(min(self._share.bytes, self._held_bytes - len(chunk)))
            finally:
                if not reading.done():
                    reading.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await reading

    async def _read(self, first: bytes) -> None:
        try:
            await self._take(first)
            while (piece := await self._next()) is not None:
                await self._take(piece)
            if self._objects.is_amid_object:
                await self._refuse(GatewayError(BAD_REQUEST, "Error processing message: the body ends amid a record."))
        except _EndedError:
            pass
        except GatewayError as error:
            await self._refuse(error)
        except Exception:
            logger.exception("A fault in a stream of records")
            await self._refuse(GatewayError(INTERNAL, "Something is wrong here; it was written down."))
        finally:
            self._unread.close()

    async def _next(self) -> bytes | None:
        self._is_waiting = True
        try:
            if not self._is_stopping:
                return await anext(cast("AsyncIterator[bytes]", self._request.pieces), None)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._is_stopping or task is None or task.uncancel():
                raise
        finally:
            self._is_waiting = False
        raise GatewayError(KAFKA_RETRIABLE, "This gateway is about to stop; send the rest again.")

    async def _take(self, piece: bytes) -> None:
        waiting: list[bytes] = []
        fault = None
        for begin in range(0, len(piece), CUT_BYTES):
            texts, fault = self._cut(piece[begin : begin + CUT_BYTES])
            waiting += texts
            while len(waiting) >= MOST_IN_GROUP:
                await self._write(waiting[:MOST_IN_GROUP])
                del waiting[:MOST_IN_GROUP]
            if fault is not None:
                break
        if waiting:
            await self._write(waiting)
        if fault is not None:
            await self._refuse(fault)
            raise _EndedError

    def _cut(self, piece: bytes) -> tuple[list[bytes], GatewayError | None]:
        """The records that are complete now, and why the stream cannot go on after them."""
        was_amid = self._objects.is_amid_object
        texts, fault = self._objects.feed(piece)
        now, seconds = time.monotonic(), self._parts.settings.gateway.body_seconds
        if texts or not was_amid:
            self._record_since = now
        elif now - self._record_since > seconds:
            fault = fault or GatewayError(REQUEST_TIMEOUT, f"A record did not arrive within {seconds:g} s.")
        try:
            self._share.hold(self._held_bytes)
        except GatewayError as error:
            fault = fault or error
        return texts, fault

    @property
    def _held_bytes(self) -> int:
        return self._objects.held_bytes + self._unread.size

    async def _check_key(self) -> None:
        """A stream may outlive its key. Raises :class:`GatewayError`: 401 once the key is revoked, 403 a viewer's."""
        identity = self._parts.identity
        known = identity.known(self._credentials) if self._credentials is not None else None
        self._caller = known or await identity.caller(self._credentials)
        refusal = writing_refusal(self._parts.settings, self._caller, self._reader.topic)
        if refusal is not None:
            raise refusal

    async def _write(self, texts: Sequence[bytes]) -> None:
        """Write and report a group."""
        await self._check_key()
        group: list[Prepared | GatewayError] = []
        cost = 0
        for text in texts:
            group.append(await self._reader.read(text))
            cost += RECORD_COST + len(text)
            if cost > SLICE_BYTES:
                cost = 0
                await asyncio.sleep(0)
        outcomes = await self._outcomes(group, sum(map(len, texts)))
        of = self._reports.of
        reports = [of(each, outcome) for each, outcome in zip(group, outcomes, strict=True)]
        reports.append(b"")
        if not await self._unread.put(SEPARATOR.join(reports), self._parts.settings.gateway.body_seconds):
            raise _EndedError
        self._record_since = time.monotonic()
        self._count(len(group), sum(isinstance(each, GatewayError) for each in outcomes))
        self._share.hold(self._held_bytes)

    async def _outcomes(self, group: Sequence[Prepared | GatewayError], size: int) -> Sequence[Written | GatewayError]:
        caller, intake = self._caller, self._parts.intake
        entries = [each if isinstance(each, GatewayError) else each.entry for each in group]
        try:
            if self._reader.is_readings:
                return await intake.readings(caller, cast("list[Entry]", entries), size)
            return await intake.plain(caller, cast("list[Outgoing | GatewayError]", entries), size)
        except GatewayError as error:
            self._parts.usage.count(caller.organisation, rejected=len(group), reason=error.reason)
            return [error] * len(group)

    def _count(self, records: int, refused: int) -> None:
        """Raises :class:`GatewayError` 413 once it is nearly nothing but refused ones."""
        self._counts["records"] += records
        self._counts["refused"] += refused
        self._refused_too_many = max(0, self._refused_too_many + refused - 10 * (records - refused))
        if self._refused_too_many >= MOST_REFUSED:
            said = (
                f"{self._refused_too_many} records were refused, and hardly one taken; mend them before sending more."
            )
            raise GatewayError(TOO_LARGE, said)

    async def _refuse(self, error: GatewayError) -> None:
        """Say why the stream ends."""
        self._counts["refused"] += 1
        self._parts.usage.count(self._request.caller.organisation, rejected=1, reason=error.reason)
        await self._unread.put(failed(error) + SEPARATOR, 0)


class Unread:
    """Reports on their way to a client that may be slow to read them."""

    def __init__(self, most_bytes: int = MOST_UNREAD) -> None:
        """Nothing waits."""
        self._most_bytes = most_bytes
        self._chunks: deque[bytes] = deque()
        self.size = 0
        """Bytes that are not sent."""
        self._is_closed = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()

    async def put(self, chunk: bytes, seconds: float) -> bool:
        """Add a chunk, then wait until there is room for more; False when there is none after ``seconds``."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        self._changed.set()
        if self.size <= self._most_bytes:
            return True
        self._has_room.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._has_room.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Nothing more will come."""
        self._is_closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What was put, as soon as it is there, until it is closed."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                yield chunk  # counts until it was sent
                self.size -= len(chunk)
                if self.size <= self._most_bytes:
                    self._has_room.set()
            if self._is_closed:
                return
            self._changed.clear()
            await self._changed.wait()
