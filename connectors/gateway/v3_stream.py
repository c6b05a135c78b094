"""A stream of records that is answered while it comes: read, written to Kafka and reported in groups, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from connectors.gateway.errors import BAD_REQUEST, INTERNAL, KAFKA_RETRIABLE, GatewayError
from connectors.gateway.http import Request
from connectors.gateway.identity import credentials_of
from connectors.gateway.intake import Entry
from connectors.gateway.json_stream import JsonStream
from connectors.gateway.records import Outgoing, Written
from connectors.gateway.v3_record import Prepared, RecordReader
from connectors.gateway.v3_report import SEPARATOR, Reports, failed

if TYPE_CHECKING:
    from connectors.gateway.parts import Parts

logger = logging.getLogger(__name__)

MOST_IN_GROUP: Final = 500
"""Records that are written to Kafka at once; the next ones are read when the brokers have these."""

MOST_UNREAD: Final = 4_194_304
"""Bytes of reports that wait for a client that does not read yet; then nothing more is read from it.

Simple clients send the whole body before they read the answer: 4 MiB are the reports of some 20,000 records.
"""

LOOK_SECONDS: Final = 0.25
"""How often it is looked whether the gateway is about to stop, while there are streams."""


class _EndedError(Exception):
    """The stream ends here; what there was to say is said."""


class RecordStream:
    """One request of records. A client that leaves has what it sent written all the same."""

    def __init__(self, parts: Parts, request: Request, reader: RecordReader, reports: Reports) -> None:
        """Nothing is read yet."""
        self._parts = parts
        self._request = request
        self._reader = reader
        self._reports = reports
        self._objects = JsonStream(parts.settings.gateway.body_bytes)
        self._unread = Unread()
        self._counts = request.counts
        self._counts.update(records=0, refused=0)
        self._credentials = credentials_of(request.headers)
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
        try:
            async for chunk in self._unread:
                yield chunk
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
        texts, fault = self._objects.feed(piece)
        for begin in range(0, len(texts), MOST_IN_GROUP):
            await self._check_key()
            group = [await self._reader.read(text) for text in texts[begin : begin + MOST_IN_GROUP]]
            await self._write(group, sum(map(len, texts[begin : begin + MOST_IN_GROUP])))
        if fault is not None:
            await self._refuse(fault)
            raise _EndedError

    async def _check_key(self) -> None:
        """A stream may outlive its key. Raises :class:`GatewayError` 401 once the key is revoked."""
        identity = self._parts.identity
        if self._credentials is None or identity.known(self._credentials) is None:
            await identity.caller(self._credentials)

    async def _write(self, group: Sequence[Prepared | GatewayError], size: int) -> None:
        caller, intake = self._request.caller, self._parts.intake
        entries = [each if isinstance(each, GatewayError) else each.entry for each in group]
        outcomes: Sequence[Written | GatewayError]
        try:
            if self._reader.is_readings:
                outcomes = await intake.readings(caller, cast("list[Entry]", entries), size)
            else:
                outcomes = await intake.plain(caller, cast("list[Outgoing | GatewayError]", entries), size)
        except GatewayError as error:
            outcomes = [error] * len(group)
            self._parts.usage.count(caller.organisation, rejected=len(group), reason=error.reason)
        self._counts["records"] += len(group)
        self._counts["refused"] += sum(isinstance(each, GatewayError) for each in outcomes)
        of = self._reports.of
        reports = [of(each, outcome) for each, outcome in zip(group, outcomes, strict=True)]
        reports.append(b"")
        if not await self._unread.put(SEPARATOR.join(reports), self._parts.settings.gateway.body_seconds):
            raise _EndedError

    async def _refuse(self, error: GatewayError) -> None:
        """Say why the stream ends."""
        self._counts["refused"] += 1
        self._parts.usage.count(self._request.caller.organisation, rejected=1, reason=error.reason)
        await self._unread.put(failed(error) + SEPARATOR, 0)


class LiveStreams:
    """The streams under way: told when the gateway is about to stop, or they would hold it up until they are cut."""

    def __init__(self, is_draining: Callable[[], bool]) -> None:
        """None yet."""
        self._is_draining = is_draining
        self._streams: set[RecordStream] = set()
        self._watching: asyncio.Task[None] | None = None

    async def chunks(self, stream: RecordStream, first: bytes) -> AsyncIterator[bytes]:
        """The reports of a stream, which counts as under way until their end."""
        self._streams.add(stream)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            async for chunk in stream.chunks(first):
                yield chunk
        finally:
            self._streams.discard(stream)

    async def _watch(self) -> None:
        while self._streams:
            await asyncio.sleep(LOOK_SECONDS)
            for each in list(self._streams) if self._is_draining() else ():
                each.stop()
        self._watching = None


class Unread:
    """Reports on their way to a client that may be slow to read them."""

    def __init__(self, most_bytes: int = MOST_UNREAD) -> None:
        """Nothing waits."""
        self._most_bytes = most_bytes
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._is_closed = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()

    async def put(self, chunk: bytes, seconds: float) -> bool:
        """Add a chunk, then wait until there is room for more; False when there is none after ``seconds``."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        self._changed.set()
        if self._size <= self._most_bytes:
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
                self._size -= len(chunk)
                if self._size <= self._most_bytes:
                    self._has_room.set()
            if self._is_closed:
                return
            self._changed.clear()
            await self._changed.wait()
