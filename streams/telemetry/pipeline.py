"""The three stages of telemetry and what they do with a block; :mod:`streams.telemetry.agents` only wires them.

=============== ======================= =========================== =========================
stage           reads                   stores                      publishes
=============== ======================= =========================== =========================
readings        weir.readings           raw_readings                weir.aggregates.1m, alerts
aggregates_1m   weir.aggregates.1m      agg_1m                      weir.aggregates.1h
aggregates_1h   weir.aggregates.1h      agg_1h
=============== ======================= =========================== =========================
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl

from connectors.contracts import contract_text
from connectors.kafka.client import kafka_client_config
from connectors.postgres.alert_rules import load_rules
from connectors.registry import Registry, value_subject
from schemas import load_schema
from sinks.clickhouse.stored_windows import StoredWindows
from streams.engine.block import Block
from streams.engine.codec import Codec
from streams.engine.dead_letters import DeadLetter
from streams.engine.encoder import Encoder
from streams.engine.key_index import Codes, KeyIndex
from streams.engine.outcome import Doubtful, Outcome, Points
from streams.engine.refusals import RefusalLimit
from streams.engine.stage import Commit, Stage, StageOptions
from streams.engine.upstream import UpstreamWatermark
from streams.telemetry.alerts.announcement import AlertAnnouncement
from streams.telemetry.alerts.history import StoredHistory
from streams.telemetry.alerts.rules import Rules
from streams.telemetry.alerts.watch import AlertWatch
from streams.telemetry.convert import Converted, Converter
from streams.telemetry.enrich import TIME, points_of, raw_rows
from streams.telemetry.make_stage import make_stage, stage_options
from streams.telemetry.metadata_feed import MetadataFeed, load_registered
from streams.telemetry.metric_copy import MetricCopy
from streams.telemetry.newcomers import Newcomers
from streams.telemetry.refused import RefusedReadings, last_in_message
from streams.telemetry.rollup import Announcement, HourRollup, MinuteRollup
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import DAY_MS, Verdicts, judge
from weir.errors import ConfigError
from weir.settings import Settings

LABELS = ("unit", "fw_ver", "source", "quality")
"""Columns of the tables whose texts come from devices, few of them different."""

READINGS, AGGREGATES_1M, AGGREGATES_1H = "readings", "aggregates_1m", "aggregates_1h"


class TelemetryStage(Protocol):
    """What an agent drives: blocks in, in order; ``stop`` stores what is pending."""

    async def process(self, block: Block) -> None:
        """Store one block; raises whatever must crash the worker."""

    async def failed(self) -> BaseException:
        """Wait until storing fails, and give what it failed with."""

    async def stop(self) -> None:
        """Store what is pending, as far as it is still ours."""


class ReadingsStage:
    """Readings in; raw rows, 1-minute aggregates and dead letters out."""

    def __init__(
        self, settings: Settings, refused: RefusedReadings, metadata: MetadataFeed, stage: Stage, alerts: AlertWatch
    ) -> None:
        """Judge and enrich with the series of ``refused``, kept current by ``metadata``; store through ``stage``."""
        self._alerts = alerts
        self._refused = refused
        self._series = series = refused.series
        self._metadata = metadata
        self._newcomers = Newcomers(settings.postgres.dsn.get_secret_value())
        self._stage = stage
        self._converter = Converter(series)
        self.stop, self.failed = stage.stop, stage.failed
        self._skew_ms = _ms(settings.stream.future_skew_seconds)
        self._keeps_ms = settings.retention.raw_days * DAY_MS
        self._idle_ms = _ms(settings.stream.idle_seconds)
        self._lateness_ms = _ms(settings.stream.lateness_seconds)

    async def process(self, block: Block) -> None:
        """Judge, enrich and store one block; a silent partition's watermark follows the wall clock."""
        await self._alerts.begin(block.lease, self._stage.stored(block))
        if block.silent:
            clock_ms = block.clock_ms - self._idle_ms
            await self._stage.silent(block, clock_ms - self._lateness_ms, self._alerts.silent(block, clock_ms))
        else:
            codes = self._series.encode(block.frame)
            if (codes < 0).any() and await self._learned(block, codes):
                codes = self._series.encode(block.frame)
            converted = await self._converter.converted(block.frame, codes)
            await self._stage.accept(block, self.outcome(block, codes, converted))

    async def _learned(self, block: Block, codes: Codes) -> bool:
        """Whether there is newer metadata, now that a block has names that were not registered."""
        learned = await self._metadata.learned()
        if learned:
            codes = self._series.encode(block.frame)
        metadata = self._series.registered.metadata
        if (codes < 0).any() and await self._newcomers.take_in(block.frame, codes, metadata):
            await self._metadata.refresh()
            return True
        return learned

    def outcome(self, block: Block, codes: Codes, converted: Converted) -> Outcome:
        """What becomes of one block, given the codes of its series and its readings in base units."""
        offsets, append_ts, places = block.offsets, block.append_ts, block.places
        frame = converted.frame
        verdicts = judge(frame, codes, append_ts, self._series, self._skew_ms, converted.verdicts)
        letters = undecodable(block, READINGS)
        doubtful = self._doubtful(block, verdicts)
        if verdicts.any():
            letters += self._refused.letters(block, codes, verdicts, converted)
            kept = np.flatnonzero(verdicts == 0)
            frame, codes, offsets, append_ts = frame[kept], codes[kept], offsets[kept], append_ts[kept]
            places = None if places is None else places[kept]
        frame = self._converter.mark(frame, codes)
        dims = self._series.dims_at(codes, frame["ts"].to_numpy())
        rows = raw_rows(frame, dims, offsets, append_ts, block.lease.partition)
        points = points_of(frame, codes, offsets, append_ts)
        if places is None:
            return Outcome(rows, offsets, points, letters, doubtful, self._alerts.judge(block, points))
        # of equal identities in one message the last is stored; windows get all, know their order, and count conflicts
        held = last_in_message(codes, frame["ts"].to_numpy(), offsets)
        stored = rows if held.all() else rows.filter(pl.Series(held))
        alerts = self._alerts.judge(block, points if held.all() else points.keep(held))
        return Outcome(stored, offsets[held], points, letters, doubtful, alerts, places[held])

    def _doubtful(self, block: Block, verdicts: Verdicts) -> Doubtful:
        """What an earlier version, or other metadata, may have stored; of undecodable bytes the time of arrival."""
        if not verdicts.any() and not block.rejected:
            return Doubtful.nothing()
        ts = block.frame["ts"].to_numpy()
        possible = (ts <= block.append_ts + self._skew_ms) & (ts >= block.append_ts - self._keeps_ms)
        rows = np.flatnonzero((verdicts != 0) & possible)
        broken = [block.messages[each.index] for each in block.rejected]
        offsets = np.concatenate((block.offsets[rows], np.array([each.offset() for each in broken], np.int64)))
        times = np.concatenate((ts[rows], np.array([each.timestamp()[1] for each in broken], np.int64)))
        order = np.argsort(offsets)
        return Doubtful(offsets[order], times[order])


class MinutesStage:
    """1-minute aggregates in; agg_1m and 1-hour aggregates out."""

    def __init__(self, retention: Retention, index: KeyIndex, upstream: UpstreamWatermark, stage: Stage) -> None:
        """``upstream`` tells how far the readings stage has come."""
        self._retention = retention
        self._index = index
        self._upstream = upstream
        self._stage = stage
        self.stop, self.failed = stage.stop, stage.failed

    async def process(self, block: Block) -> None:
        """Store one block; a silent partition's watermark follows the stage before."""
        if block.silent:
            known = await asyncio.to_thread(self._upstream.before, block.lease.partition)
            await self._stage.silent(block, known)
        else:
            await self._stage.accept(block, self.outcome(block))

    def outcome(self, block: Block) -> Outcome:
        """What becomes of one block."""
        frame = block.frame
        points = frame.with_columns(
            pl.Series("series", self._index.encode(frame)), pl.col("window_start").alias("ts")
        ).drop("window_start", "window_end")
        return Outcome(
            aggregate_rows(block, self._retention),
            block.offsets,
            Points(points, block.offsets, block.append_ts),
            undecodable(block, AGGREGATES_1M),
        )


class HoursStage:
    """1-hour aggregates in; agg_1h out."""

    def __init__(self, retention: Retention, stage: Stage) -> None:
        """Store through ``stage``."""
        self._retention = retention
        self._stage = stage
        self.stop, self.failed = stage.stop, stage.failed

    async def process(self, block: Block) -> None:
        """Store one block."""
        if block.silent:
            await self._stage.silent(block, None)
        else:
            rows = aggregate_rows(block, self._retention)
            await self._stage.accept(block, Outcome(rows, block.offsets, None, undecodable(block, AGGREGATES_1H)))


Retention = Callable[[pl.Series], pl.Series]
"""From project ids to the days that an aggregate table keeps rows of each."""


def aggregate_rows(block: Block, retention: Retention) -> pl.DataFrame:
    """Return rows of an aggregate table."""
    frame = block.frame
    return frame.with_columns(
        pl.col("window_start", "window_end", "last_ts").cast(TIME),
        retention(frame["project_id"]).alias("retention_days"),
    )


def undecodable(block: Block, stage: str) -> list[DeadLetter]:
    """Return the dead letters of what did not decode."""
    return [DeadLetter(block.messages[each.index], each.reason, each.detail, stage) for each in block.rejected]


class Pipeline:
    """All three stages with what they share, made once the servers answer."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        """Load metadata and schema ids; blocks. Raises TransientError or ConfigError."""
        self._settings = settings
        self.series = ActiveSeries(load_registered(settings))
        self.metadata = MetadataFeed(settings, self.series)
        self._alert_codec = Codec(load_schema("Alert"), registry)
        self._rules = Rules(partial(load_rules, settings.postgres.dsn.get_secret_value()))
        self.metric_copy = MetricCopy(settings.clickhouse)
        self.metadata.on_change += [self._rules.follow_metadata, self.metric_copy.follow_metadata]
        self._stored = StoredWindows(settings.clickhouse)
        self._client = kafka_client_config(settings.kafka)
        self._reading_id = _id_of(registry, settings.topics.readings, "Reading")
        self._schema_ids = {
            topic: _schema_id(registry, topic)
            for topic in (settings.topics.aggregates_1m, settings.topics.aggregates_1h, settings.topics.alerts)
        }

    def readings(self, commit: Commit) -> ReadingsStage:
        """Make the readings stage."""
        settings = self._settings
        rollup = MinuteRollup(self.series, self._stored, self._announcement(settings.topics.aggregates_1m))
        options = replace(
            self._options(settings.groups.readings, "raw_readings"),
            lateness_ms=_ms(settings.stream.lateness_seconds),
            idle_ms=_ms(settings.stream.idle_seconds),
        )
        stage = make_stage(settings, options, commit, LABELS, rollup)
        refused = RefusedReadings(READINGS, self.series, Encoder(load_schema("Reading"), self._reading_id))
        return ReadingsStage(settings, refused, self.metadata, stage, self._alert_watch())

    def minutes(self, commit: Commit) -> MinutesStage:
        """Make the 1-minute stage. Its input comes in order of windows, so it waits for nothing late."""
        settings = self._settings
        index = KeyIndex("device_id", "sensor")
        rollup = HourRollup(index, self._stored.aggregates_1m, self._announcement(settings.topics.aggregates_1h))
        upstream = UpstreamWatermark(self._client, settings.groups.readings, settings.topics.readings)
        options = self._options(settings.groups.aggregates_1m, "agg_1m")
        stage = make_stage(settings, options, commit, LABELS, rollup)
        return MinutesStage(self._retention(settings.retention.agg_1m_days), index, upstream, stage)

    def hours(self, commit: Commit) -> HoursStage:
        """Make the 1-hour stage."""
        settings = self._settings
        options = self._options(settings.groups.aggregates_1h, "agg_1h")
        retention = self._retention(settings.retention.agg_1h_days)
        return HoursStage(retention, make_stage(settings, options, commit, LABELS))

    def _alert_watch(self) -> AlertWatch:
        topic = self._settings.topics.alerts
        return AlertWatch(
            self.series,
            self._rules,
            StoredHistory(self._settings, self._alert_codec),
            AlertAnnouncement(topic, Encoder(load_schema("Alert"), self._schema_ids[topic])),
            _ms(self._settings.alerts.look_back_seconds),
        )

    def _options(self, name: str, table: str) -> StageOptions:
        """Options of a stage that judges its records."""
        limit = RefusalLimit(**self._settings.dead_letters.model_dump())
        return replace(stage_options(self._settings, name, table), refusal_limit=limit)

    def _announcement(self, topic: str) -> Announcement:
        return Announcement(topic, Encoder(load_schema("Aggregate"), self._schema_ids[topic]))

    def _retention(self, default_days: int) -> Retention:
        return lambda projects: self.series.registered.retention(projects, default_days)


def _schema_id(registry: Registry, topic: str) -> int:
    latest = registry.latest(value_subject(topic))
    if latest is None:
        raise ConfigError(f"The registry has no schema for {topic}; run `weir migrate`.")
    return latest.id


def _id_of(registry: Registry, topic: str, record: str) -> int:
    """The id of this version's own schema: senders may have registered newer ones of the topic."""
    found = registry.version_of(value_subject(topic), contract_text(record))
    if found is None:
        raise ConfigError(f"The registry does not have this version's {record} for {topic}; run `weir migrate`.")
    return found.id


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
