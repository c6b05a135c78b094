"""Brings the spool to Kafka, oldest records first, once Kafka is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log.batch import Outcome
from connectors.gateway.log.spool import Spool
from connectors.gateway.log.spool_files import Chunk
from connectors.gateway.records import Outgoing

CHUNK_RECORDS: Final = 4_000
"""Acknowledged together before the position moves; a crash brings at most so many records twice.

Measured with 1,000: 45,000 records/s, most of the time spent waiting for Kafka and the disk in turns.
"""

FIRST_RECORDS: Final = 100
"""The first chunk shows whether Kafka takes records again; one that it does not answer for comes again."""

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class Line(Protocol):
    """The way to Kafka as replay sees it."""

    @property
    def is_up(self) -> bool:
        """Whether Kafka is thought to answer."""

    async def probe(self) -> bool:
        """Whether a broker answers."""

    async def resend(self, records: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Produce; None for each record that Kafka did not answer for."""

    def replayed(self, records: int) -> None:
        """Kafka answers, and so many records left the spool; 0 when none is left in it."""

    def cannot_replay(self) -> None:
        """The disk does not give what waits on it."""


class Replay:
    """Works while something waits or Kafka is away, and sleeps otherwise until :meth:`wake`."""

    def __init__(self, line: Line, spool: Spool) -> None:
        """Nothing runs before :meth:`run`."""
        self._line = line
        self._spool = spool
        self._work = asyncio.Event()
        self.replayed_records = 0

    def wake(self) -> None:
        """There is something to do."""
        self._work.set()

    async def run(self) -> None:
        """Go on until cancelled; a failure is logged and tried again."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._work.wait()
            if await self._step():
                pause = FIRST_PAUSE_SECONDS
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _step(self) -> bool:
        """Bring one chunk over; whether it was worth going on at once."""
        try:
            if not self._line.is_up and not await self._line.probe():
                return False
            chunk = await self._spool.read(CHUNK_RECORDS if self._line.is_up else FIRST_RECORDS)
            if not chunk.records:
                return await self._rest()
            outcomes = await self._line.resend(chunk.records)
            if any(map(_is_open, outcomes)):
                return False
            await self._put_down(chunk, _refused(chunk, outcomes))
        except Exception:  # who waits behind the spool must get an answer, and replay must go on
            _log.exception("The spool cannot be replayed for now.")
            self._line.cannot_replay()
            return False
        self.replayed_records += len(chunk.records)
        self._line.replayed(len(chunk.records))
        return True

    async def _put_down(self, chunk: Chunk, refused: list[tuple[Outgoing, GatewayError]]) -> None:
        """Be done with a chunk that Kafka has; a disk that takes no note of it is asked again, not Kafka."""
        while True:
            try:
                await self._spool.replayed(chunk, refused)
            except OSError as error:
                _log.error("That records of the spool are in Kafka cannot be noted: %s; it is tried again.", error)
                self._line.cannot_replay()
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)
            else:
                return

    async def _rest(self) -> bool:
        if self._spool.drained():
            self._line.replayed(0)
            self._work.clear()
        else:
            await asyncio.sleep(0.005)  # what waits is being written
        return True


def _is_open(outcome: Outcome) -> bool:
    return outcome is None or (isinstance(outcome, GatewayError) and outcome.code == errors.KAFKA_RETRIABLE)


def _refused(chunk: Chunk, outcomes: Sequence[Outcome]) -> list[tuple[Outgoing, GatewayError]]:
    pairs = zip(chunk.records, outcomes, strict=True)
    return [(record, outcome) for record, outcome in pairs if isinstance(outcome, GatewayError)]
