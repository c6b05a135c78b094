"""Alerts of all partitions that a worker holds: begins each at its checkpoint, with what is stored below it."""

from __future__ import annotations

import asyncio
from typing import Final

import polars as pl

from streams.engine.block import Block
from streams.engine.checkpoint import NO_WATERMARK
from streams.engine.fetch import Lease
from streams.engine.outcome import Announced, Points
from streams.engine.producer import Record
from streams.engine.retrying import patiently
from streams.telemetry.alerts.announcement import AlertAnnouncement
from streams.telemetry.alerts.crossings import Readings
from streams.telemetry.alerts.history import History
from streams.telemetry.alerts.partition_alerts import PartitionAlerts, Past
from streams.telemetry.alerts.rules import Rules
from streams.telemetry.series import ActiveSeries

_NAMES: Final = {"device_id": pl.String(), "sensor": pl.String(), "ts": pl.Int64()}
NOTHING_HEARD: Final = pl.DataFrame(schema={**_NAMES, "append_ts": pl.Int64()})
NOTHING_READ: Final = pl.DataFrame(schema={**_NAMES, "value": pl.Float64(), "offset": pl.Int64()})


class AlertWatch:
    """Which alerts readings raise, in the partitions that this worker holds."""

    def __init__(
        self,
        series: ActiveSeries,
        rules: Rules,
        history: History,
        announcement: AlertAnnouncement,
        look_back_ms: int,
    ) -> None:
        """Ask ``history`` for readings of ``look_back_ms`` before a checkpoint, and of as long as rules last."""
        self._series = series
        self.rules = rules
        self._history = history
        self._announcement = announcement
        self._look_back_ms = look_back_ms
        self._partitions: dict[Lease, PartitionAlerts] = {}

    async def begin(self, lease: Lease, stored: int | None) -> None:
        """Begin a partition at its first block: ``stored`` is the next offset to store, None when nothing is known."""
        if stored is None or lease in self._partitions:
            return
        for gone in [each for each in self._partitions if not each.active]:
            del self._partitions[gone]
        past = await asyncio.to_thread(patiently(self._past), lease, stored)
        begun = self._partitions[lease] = PartitionAlerts(lease.partition, stored, self._series, self.rules)
        begun.restore(past)

    def judge(self, block: Block, points: Points) -> list[Announced]:
        """Alerts of a block, given the points of its accepted readings.

        None of a block that a replay reads below the checkpoint: the stage would drop them. A silence that has begun by
        its end, and that nobody has announced because other blocks ended elsewhere, is found after the checkpoint.
        """
        partition = self._partitions.get(block.lease)
        if partition is None or block.end <= partition.stored:
            return []
        codes, ts, value = (points.frame[name].to_numpy() for name in ("series", "ts", "value"))
        alerts = partition.judge(Readings(codes, ts, value, points.offsets), points.append_ts, block.end)
        alerts += partition.passed(block.messages[-1].timestamp()[1])
        records = self._announcement.records(alerts)
        placed = [alert.offset for alert in alerts]
        return sorted(map(Announced, placed, records), key=lambda each: each.offset)

    def silent(self, block: Block, clock_ms: int) -> list[Record]:
        """Alerts of a partition that is read to its end, when nothing was appended before ``clock_ms``."""
        partition = self._partitions.get(block.lease)
        return [] if partition is None else self._announcement.records(partition.passed(clock_ms))

    def _past(self, lease: Lease, stored: int) -> Past:
        known = self._history.known(lease.partition, stored)
        if not self.rules.any:
            return Past(known, NOTHING_HEARD, NOTHING_READ)
        closed = lease.checkpoint.watermark if lease.checkpoint is not None else NO_WATERMARK
        since = max(0, closed - self._look_back_ms - self.rules.reach_ms)
        # somebody's silence may reach much further than anybody's duration
        lasting_since = max(0, closed - self._look_back_ms - self.rules.longest_ms)
        heard = self._history.heard(lease.partition, stored, since)
        lasting = self.rules.lasting(heard.select("device_id", "sensor"))
        if not len(lasting):
            return Past(known, heard, NOTHING_READ)
        readings = self._history.readings(lasting, lease.partition, stored, lasting_since)
        return Past(known, heard, readings)
