"""Records that wait on disk for Kafka: written and synced in groups, read again in order."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import error as StructError
from typing import Final, NamedTuple, TypeVar

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log.kafka_refusals import malformed
from connectors.gateway.log.spool_files import SEGMENT_BYTES, Chunk, SpoolFiles
from connectors.gateway.log.spool_layout import encode
from connectors.gateway.log.waiting_keys import WaitingKeys
from connectors.gateway.records import Outgoing

Answer = TypeVar("Answer")

GROUP_BYTES: Final = SEGMENT_BYTES // 4
"""Written and synced together at the most; one request's records are never divided."""

MOST_UNWRITTEN: Final = 16 * GROUP_BYTES
"""Bytes that may wait in memory for a disk that is slow, or hangs: three seconds of what one core takes in."""

SLICE_RECORDS: Final = 1_000
"""Whose senders are told at a time, before others may use the event loop again."""

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """Records of one call that are to be written; ``done`` gets None or the reason why they were not."""

    data: bytes
    records: Sequence[Outgoing]
    done: Callable[[GatewayError | None], None]


class Spool:
    """Used from one event loop; its file work happens in one thread of its own, in the order of the calls."""

    def __init__(self, folder: Path, most_bytes: int, files: SpoolFiles | None = None) -> None:
        """Keep at most ``most_bytes`` of records that wait; ``files`` are for tests."""
        self._files = files or SpoolFiles(folder)
        self._most_bytes = most_bytes
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: list[Waiting] = []
        self._commits: asyncio.Task[None] | None = None
        self._keys = WaitingKeys()
        self._appended = self._seen = self._unwritten = 0
        self.records = 0
        self.bytes = 0
        self.failed_writes = 0

    @property
    def damaged_bytes(self) -> int:
        """Bytes that were kept aside because they are no whole records."""
        return self._files.damaged_bytes

    @property
    def refused_records(self) -> int:
        """Records that Kafka refused for good when they were replayed."""
        return self._files.refused_records

    async def open(self) -> None:
        """Take the folder and count what waits there; raises :class:`~weir.errors.ConfigError`."""
        found = await self._in_thread(self._files.open)
        self.records, self.bytes, self._keys = found.records, found.bytes, found.keys

    async def close(self) -> None:
        """Write what still waits, and let go of the folder."""
        await self.written()
        await self._in_thread(self._files.close)
        self._thread.shutdown(wait=False)

    async def written(self) -> None:
        """Wait until all that was appended is on disk or refused."""
        if self._commits is not None:
            await self._commits

    def holds(self, topic: str, key: bytes | None) -> bool:
        """Whether records of that key may wait here, so that another must go behind them."""
        return self._keys.holds(topic, key)

    def append(self, records: Sequence[Outgoing], done: Callable[[GatewayError | None], None]) -> None:
        """Write these behind all others; ``done`` is called once they are on disk, or at once when there is no room.

        Raises :class:`GatewayError` for a record that no file can hold; then nothing is written.
        """
        try:
            data = b"".join(map(encode, records))
        except (ValueError, StructError) as problem:
            raise malformed(problem) from problem
        if not records:
            return
        if self.bytes + len(data) > self._most_bytes:
            done(full())
            return
        if self._unwritten and self._unwritten + len(data) > MOST_UNWRITTEN:
            done(unwritable())
            return
        waiting = Waiting(data, records, done)
        self._count(waiting)
        self._waiting.append(waiting)
        self._unwritten += len(data)
        self._appended += 1
        if self._commits is None:
            self._commits = asyncio.get_running_loop().create_task(self._commit())

    async def read(self, most_records: int) -> Chunk:
        """The oldest records; none when nothing on disk waits. The same ones again until :meth:`replayed`."""
        appended = self._appended
        chunk = await self._in_thread(self._files.read, most_records)
        self._seen = appended
        return chunk

    async def replayed(self, chunk: Chunk, refused: Sequence[tuple[Outgoing, GatewayError]]) -> None:
        """Be done with a chunk, on disk, with the records that were refused kept aside first."""
        if refused:
            await self._in_thread(self._files.refuse, refused)
        await self._in_thread(self._files.advance, chunk.end)
        self.records -= len(chunk.records)
        self.bytes -= chunk.bytes
        self._keys.remove_all(chunk.records)

    def drained(self) -> bool:
        """Whether nothing waits, asked after an empty :meth:`read`; then no key waits either."""
        if self._commits is not None or self._seen != self._appended:
            return False
        self.records = self.bytes = 0  # what was damaged on disk is counted no longer
        self._keys.clear()
        return True

    async def _commit(self) -> None:
        while self._waiting:
            group = self._next_group()
            data = b"".join(each.data for each in group)
            refusal = await self._write(data)
            self._unwritten -= len(data)
            await self._tell(group, refusal)
        self._commits = None

    async def _tell(self, group: Sequence[Waiting], refusal: GatewayError | None) -> None:
        told = 0
        for each in group:
            if refusal is not None:
                self._uncount(each)
            each.done(refusal)
            told += len(each.records)
            if told >= SLICE_RECORDS:
                told = 0
                await asyncio.sleep(0)

    def _next_group(self) -> list[Waiting]:
        size, count = 0, 0
        for each in self._waiting:
            size += len(each.data)
            if count and size > GROUP_BYTES:
                break
            count += 1
        group = self._waiting[:count]
        del self._waiting[:count]
        return group

    async def _write(self, data: bytes) -> GatewayError | None:
        try:
            await self._in_thread(self._files.write, data)
        except OSError as error:
            self.failed_writes += 1
            _log.error("The spool cannot be written: %s.", error.strerror)
            return full() if error.errno in DISK_FULL else unwritable()
        except Exception:  # whoever waits must get an answer
            self.failed_writes += 1
            _log.exception("The spool cannot be written.")
            return unwritable()
        return None

    def _count(self, waiting: Waiting) -> None:
        self.records += len(waiting.records)
        self.bytes += len(waiting.data)
        self._keys.add_all(waiting.records)

    def _uncount(self, waiting: Waiting) -> None:
        self.records -= len(waiting.records)
        self.bytes -= len(waiting.data)
        self._keys.remove_all(waiting.records)

    async def _in_thread(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def refuse_malformed(record: Outgoing) -> GatewayError | None:
    """Why no file can hold a record: a topic or header name that is no text, a number that is too large."""
    try:
        encode(record)
    except (ValueError, StructError) as problem:
        return malformed(problem)
    return None


def full() -> GatewayError:
    """Kafka is away, and there is no more room on disk."""
    return GatewayError(
        errors.SPOOL_FULL, "Kafka is away and the spool is full; keep the records and try again.", retry_after=5.0
    )


def unwritable() -> GatewayError:
    """Kafka is away, and the disk does not take records."""
    return GatewayError(
        errors.KAFKA_RETRIABLE, "Kafka is away and the spool cannot be written; try again.", retry_after=5.0
    )
