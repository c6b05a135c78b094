"""Where records go: to Kafka while it answers in time, to the spool on disk while it does not.

The log is *up* or *away*. It goes away when a record has waited ``produce_seconds`` for its acknowledgement, or comes
back with an error that says nothing against the record: then all records in flight are taken back and spooled in the
order in which they were admitted, and so is every record that comes after them. It is up again when the first chunk of
the spool is acknowledged; from then on only records of keys that still wait in the spool go behind them, at a pace that
lets the spool end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log.batch import Batch, Outcome
from connectors.gateway.log.broker_producer import BrokerProducer
from connectors.gateway.log.kafka_refusals import busy, stopping
from connectors.gateway.log.pacing import Pacing
from connectors.gateway.log.replay import Replay
from connectors.gateway.log.spool import Spool, refuse_malformed
from connectors.gateway.records import SPOOLED_OFFSET, Outgoing, Written
from weir.settings import Settings

MOST_SPOOLED_BYTES: Final = 1_000_000
"""Largest record that is accepted without Kafka: what every topic takes that keeps Kafka's own limit."""

PROBE_SECONDS: Final = 1.0

RETURN_SECONDS: Final = 5.0
"""For Kafka's client to give all records back when the log stops; 150,000 take one second."""

SPOOLED: Final = Written(-1, SPOOLED_OFFSET)

_log = logging.getLogger(__name__)


class BrokerLog:
    """Used from one event loop. ``stalls`` counts how often Kafka went away, ``spooled_total`` records ever spooled."""

    def __init__(self, settings: Settings, folder: Path, *, spool: Spool | None = None) -> None:
        """``folder`` is the spool's own, created when it is missing; ``spool`` is for tests."""
        self._settings = settings
        self._spool = spool or Spool(folder, settings.gateway.spool_bytes)
        self._replay = Replay(self, self._spool)
        self._pacing = Pacing()
        self._replays: asyncio.Task[None] | None = None
        self._resent: Batch | None = None
        self._takes = False
        self.is_up = True
        self.stalls = 0
        self.spooled_total = 0

    @property
    def in_flight(self) -> int:
        """Records that Kafka has not answered for."""
        return self._producer.in_flight

    @property
    def spooled_records(self) -> int:
        """Records that wait on disk."""
        return self._spool.records

    @property
    def spooled_bytes(self) -> int:
        """Bytes of records that wait on disk."""
        return self._spool.bytes

    @property
    def replayed_total(self) -> int:
        """Records that came from disk to Kafka."""
        return self._replay.replayed_records

    @property
    def refused_total(self) -> int:
        """Records that Kafka refused for good after they were spooled; they are kept in ``refused/``."""
        return self._spool.refused_records

    @property
    def damaged_bytes(self) -> int:
        """Bytes of the spool that were no whole records; they are kept in ``.corrupt`` files."""
        return self._spool.damaged_bytes

    @property
    def failed_writes(self) -> int:
        """Writes to the spool that the disk refused."""
        return self._spool.failed_writes

    async def start(self) -> None:
        """Open the spool and begin to replay it; raises :class:`~weir.errors.ConfigError` when it is another's."""
        await self._spool.open()
        self._loop = asyncio.get_running_loop()
        self._producer = BrokerProducer(self._settings, self._went_away, self._take_back)
        self._replays = self._loop.create_task(self._replay.run())
        if self._spool.records:
            _log.info("%d records wait in the spool.", self._spool.records)
            self._replay.wake()
        self._takes = True

    async def send(self, records: Sequence[Outgoing]) -> list[Written | GatewayError]:
        """Write all records, and give one outcome for each, in order; never raises.

        Returns when each is acknowledged by all of Kafka's replicas, or on disk (``SPOOLED_OFFSET``), or refused.
        """
        if not self._takes or not records:
            return [stopping()] * len(records)
        batch = Batch(records, self._loop)
        self._route(batch)
        await batch.settled
        return cast(list[Written | GatewayError], batch.outcomes)

    async def stop(self, seconds: float) -> None:
        """Take no more records, and wait until those in flight are acknowledged, or after ``seconds`` spooled.

        Kafka's client has ``RETURN_SECONDS`` more to give them back; then they are spooled without its consent.
        """
        if not self._takes:
            return
        self._takes = False
        if self._replays is not None:
            self._replays.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._replays
        await self._drain(self._loop.time() + seconds)
        for batch, places in self._pacing.all():
            self._put_on_disk(batch, places)
        await self._spool.close()

    async def probe(self) -> bool:
        """Whether a broker answers; not while records are still being taken back."""
        if self._producer.is_withdrawing:
            return False
        return await self._producer.probe(self._settings.topics.readings, PROBE_SECONDS)

    async def resend(self, records: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Produce what comes from the spool; None for each record that Kafka did not answer for."""
        batch = Batch(records, self._loop)
        if not self._producer.is_withdrawing:
            self._resent = batch
            self._producer.hand_over(batch, range(len(records)))
            await batch.settled
        return batch.outcomes

    def replayed(self, records: int) -> None:
        """Kafka answers (again), and so many records left the spool; 0 when none is left in it."""
        if self._producer.is_withdrawing:
            return
        if not self.is_up:
            self.is_up = True
            _log.warning("Kafka is back; %d records wait in the spool.", self._spool.records)
        self._pacing.replayed(records)
        while self._pacing and (entry := self._pacing.next() if self._spool.records else self._pacing.pop()):
            self._divide(*entry)

    def cannot_replay(self) -> None:
        """The disk does not give what waits on it: who waits for that is told to come again."""
        for batch, places in self._pacing.all():
            batch.settle(places, busy())

    async def _drain(self, end: float) -> None:
        while not self._producer.is_idle:
            now = self._loop.time()
            if now >= end + RETURN_SECONDS:
                await self._give_up()
                return
            if now >= end and not self._producer.is_withdrawing:
                self.is_up = False
                self._producer.withdraw()
            await asyncio.sleep(0.002)

    async def _give_up(self) -> None:
        """Spool what has no answer, though the client may still send it: it comes twice rather than never."""
        queued = self._pacing.all()
        later = {(id(batch), place) for batch, places in queued for place in places}
        await self._spool.written()
        spooled = 0
        for batch in self._producer.abandon():
            unanswered = _open_places(batch, later)
            if unanswered and batch is not self._resent:  # that one is still in the spool
                self._put_on_disk(batch, unanswered)
                spooled += len(unanswered)
        _log.error("Kafka's client did not give %d records back; they were spooled, and may come twice.", spooled)
        for batch, places in queued:
            self._put_on_disk(batch, places)

    def _route(self, batch: Batch) -> None:
        places = range(len(batch.records))
        if self._producer.is_withdrawing:
            self._producer.hold(batch, places)
        elif not self.is_up:
            self._put_on_disk(batch, places)
        elif self._pacing:
            self._queue(batch, places)
        elif self._spool.records:
            self._divide(batch, places)
        else:
            self._producer.hand_over(batch, places)

    def _divide(self, batch: Batch, places: Sequence[int]) -> None:
        """Let records go behind those of the same key that wait on disk, and all others to Kafka."""
        direct: list[int] = []
        behind: list[int] = []
        for place in places:
            record = batch.records[place]
            (behind if self._spool.holds(record.topic, record.key) else direct).append(place)
        if direct and self._producer.is_half_full:  # the other half is for what waits on disk
            batch.settle(direct, busy())
        elif direct:
            self._producer.hand_over(batch, direct)
        if behind and self._pacing.spend(len(behind)):
            self._put_on_disk(batch, behind)
        elif behind:
            self._queue(batch, behind)

    def _queue(self, batch: Batch, places: Sequence[int]) -> None:
        if self._pacing.has_room(len(places)):
            self._pacing.queue(batch, places)
        else:
            batch.settle(places, busy())

    def _put_on_disk(self, batch: Batch, places: Sequence[int]) -> None:
        """Spool those records of a batch that may wait on disk: all of them, or none when there is no room."""
        if any(_size(batch.records[place]) > MOST_SPOOLED_BYTES for place in places):
            places = _without(batch, places, _refuse_large)
        try:
            self._spool.append(_stamped(batch, places), partial(self._on_disk, batch, places))
        except GatewayError:
            places = _without(batch, places, refuse_malformed)
            self._spool.append(_stamped(batch, places), partial(self._on_disk, batch, places))
        self._replay.wake()

    def _on_disk(self, batch: Batch, places: Sequence[int], refusal: GatewayError | None) -> None:
        if refusal is not None:
            batch.settle(places, refusal)
            return
        self.spooled_total += len(places)
        for place in places:
            partition = batch.records[place].partition
            batch.outcomes[place] = SPOOLED if partition < 0 else Written(partition, SPOOLED_OFFSET)
        batch.answered(len(places))

    def _went_away(self, why: str) -> None:
        if self.is_up:
            _log.warning("Kafka is away (%s); records go to the spool.", why)
            self.stalls += 1
        self.is_up = False
        for batch, places in self._pacing.all():
            self._producer.hold(batch, places)
        self._replay.wake()

    def _take_back(self, batch: Batch, places: Sequence[int]) -> None:
        if batch is self._resent:
            batch.answered(len(places))  # they are still in the spool
        else:
            self._put_on_disk(batch, places)


def _open_places(batch: Batch, later: set[tuple[int, int]]) -> list[int]:
    """Of the records without an outcome, but for those that are named."""
    places = [place for place, outcome in enumerate(batch.outcomes) if outcome is None]
    return [place for place in places if (id(batch), place) not in later]


def _stamped(batch: Batch, places: Sequence[int]) -> list[Outgoing]:
    """Those records, with the time at which they were accepted instead of that of their replay."""
    now = round(time.time() * 1000)
    records = (batch.records[place] for place in places)
    return [each if each.timestamp_ms else each._replace(timestamp_ms=now) for each in records]


def _size(record: Outgoing) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else 0
    return len(record.key or b"") + len(record.value or b"") + headers


def _without(batch: Batch, places: Sequence[int], check: Callable[[Outgoing], GatewayError | None]) -> list[int]:
    """Refuse the records that a check refuses; the places of the others."""
    good = []
    for place in places:
        refusal = check(batch.records[place])
        if refusal is None:
            good.append(place)
        else:
            batch.settle((place,), refusal)
    return good


def _refuse_large(record: Outgoing) -> GatewayError | None:
    if _size(record) <= MOST_SPOOLED_BYTES:
        return None
    message = "Kafka is away, and the record is too large to wait for it on disk; try again later."
    return GatewayError(errors.KAFKA_RETRIABLE, message, retry_after=5.0)
