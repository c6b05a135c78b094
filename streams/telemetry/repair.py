"""Corrections for windows that are not what their readings say, made and published as the streams make theirs.

A window that is missing or different is computed again from storage by the stage's own rollup. One that has no readings
is taken back with a row of count 0. A stored row of a higher revision would win over its correction, so the correction
takes the next millisecond's revision then.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from connectors.kafka.client import kafka_client_config
from connectors.postgres.metadata import SENSOR_SCHEMA, Metadata, load_metadata
from connectors.registry import Registry, value_subject
from schemas import load_schema
from sinks.clickhouse.parity import SIZE_MS, Slice, StoredParity
from sinks.clickhouse.stored_windows import StoredWindows
from streams.engine.encoder import Encoder
from streams.engine.key_index import KeyIndex
from streams.engine.producer import AcknowledgedProducer, producer_config
from streams.engine.reduce import REDUCED, REVISION_SHIFT
from streams.telemetry.registered import Registered
from streams.telemetry.rollup import IDENTITY, Announcement, HourRollup, MinuteRollup
from streams.telemetry.series import ActiveSeries
from weir.errors import ConfigError
from weir.settings import Settings

WINDOWS_AT_ONCE: Final = 5_000
"""Windows whose points are in memory together."""

NO_CONFLICTS_SINCE: Final = 2**62
"""Offset past every reading: what was a conflict was counted when it came."""

ANY_PARTITION: Final = 0
"""Where a correction goes when no reading of its device is stored: no other window of the device can be there."""

A_MILLISECOND: Final = 1 << REVISION_SHIFT
"""By how much a revision grows with its append time."""

_SERIES: Final = ["device_id", "sensor"]


class Repair:
    """Publishes corrections; whoever runs the stages stores them. Every method blocks.

    Each raises :class:`~weir.errors.TransientError` when a server is away, :class:`~weir.errors.ConfigError` when the
    registry lacks the schema of an aggregate topic.
    """

    def __init__(self, settings: Settings, registry: Registry, stored: StoredParity) -> None:
        """Load the metadata and schema ids."""
        self._settings = settings
        self._stored = stored
        self._windows = StoredWindows(settings.clickhouse)
        self._metadata = load_metadata(settings.postgres.dsn.get_secret_value())
        self._announcements = {
            "1m": _announcement(registry, settings.topics.aggregates_1m),
            "1h": _announcement(registry, settings.topics.aggregates_1h),
        }
        self._producer = AcknowledgedProducer(producer_config(kafka_client_config(settings.kafka)))

    def publish(self, part: Slice, faults: pl.DataFrame) -> int:
        """Publish a correction for each of the ``faults`` of a slice, and return how many there are.

        ``faults`` are :meth:`~sinks.clickhouse.parity.StoredParity.faults`. Returns when the broker has acknowledged
        all of them. A window whose readings have gone meanwhile is left as it is.
        """
        partitions = self._stored.partitions(part.org, faults["device_id"].unique(maintain_order=True).to_list())
        published = 0
        for some in faults.iter_slices(WINDOWS_AT_ONCE):
            rows = self.corrections(part, some)
            numbers = rows["device_id"].replace_strict(partitions, default=ANY_PARTITION, return_dtype=pl.Int64)
            for (number,), group in rows.with_columns(number=numbers).group_by("number", maintain_order=True):
                self._producer.write(self._announcements[part.level].records(group, int(str(number))))
            published += len(rows)
        return published

    def corrections(self, part: Slice, faults: pl.DataFrame) -> pl.DataFrame:
        """Return the Aggregate rows that mend ``faults``."""
        phantom = faults.filter(pl.col("verdict") == "phantom")
        wrong = faults.filter(pl.col("verdict") != "phantom")
        rows = [taken_back(part, phantom)]
        if len(wrong):
            rows.append(outbidding(self._recomputed(part, wrong), wrong))
        return pl.concat([each for each in rows if len(each)] or [rows[0]])

    def _recomputed(self, part: Slice, wrong: pl.DataFrame) -> pl.DataFrame:
        rollup: MinuteRollup | HourRollup
        if part.level == "1m":
            series = ActiveSeries(self._registered(part.org, wrong))
            codes = series.encode(wrong.select(_SERIES))
            rollup = MinuteRollup(series, self._windows, self._announcements["1m"])
        else:
            index = KeyIndex("device_id", "sensor")
            codes = index.encode(wrong.select(_SERIES))
            rollup = HourRollup(index, self._windows.aggregates_1m, self._announcements["1h"])
        windows = pl.DataFrame({"series": codes, "start": wrong["start"]})
        return rollup.recompute(windows, NO_CONFLICTS_SINCE).rows

    def _registered(self, org: str, wrong: pl.DataFrame) -> Registered:
        """What Postgres says of these series, and of those it does not have (any more), what their readings say."""
        stored = wrong.with_columns(org_id=pl.lit(org)).sort("start").unique(_SERIES, keep="last")
        known = self._metadata.sensors.join(stored, on=[*_SERIES, "org_id"], how="semi")
        gone = stored.join(known, on=_SERIES, how="anti").with_columns(sensor_unit=pl.col("unit"))
        nothing = [pl.lit(None).alias(name) for name in SENSOR_SCHEMA if name not in gone.columns]
        gone = gone.with_columns(nothing).select(SENSOR_SCHEMA.keys()).cast(pl.Schema(SENSOR_SCHEMA))
        metadata = Metadata(0, pl.concat([known, gone]), self._metadata.moves)
        return Registered(metadata, self._settings.retention.raw_days)


def taken_back(part: Slice, phantom: pl.DataFrame) -> pl.DataFrame:
    """Return Aggregate rows of count 0 that outbid the stored rows of ``phantom``."""
    nothing = {name: pl.lit(0, dtype=REDUCED[name]) for name in ("count", "sum", "min", "max", "avg", "first", "last")}
    return phantom.select(
        pl.lit(part.org).alias("org_id") if name == "org_id" else pl.col(name) for name in IDENTITY
    ).with_columns(
        phantom["start"].alias("window_start"),
        (phantom["start"] + SIZE_MS[part.level]).alias("window_end"),
        **nothing,
        last_ts=phantom["got_last_ts"],
        stddev=pl.lit(0.0),
        revision=phantom["revision"] + A_MILLISECOND,
    )


def outbidding(rows: pl.DataFrame, wrong: pl.DataFrame) -> pl.DataFrame:
    """Return Aggregate ``rows`` with revisions above those of the stored rows that they correct.

    The next millisecond's, not the next number: that may be the next reading's.
    """
    if rows.is_empty():
        return rows
    stored = wrong.select(*_SERIES, pl.col("start").alias("window_start"), pl.col("revision").alias("stored"))
    found = rows.join(stored, on=[*_SERIES, "window_start"], how="inner", maintain_order="left")
    after = pl.col("stored") + A_MILLISECOND
    higher = pl.when(pl.col("revision") > pl.col("stored")).then(pl.col("revision")).otherwise(after)
    return found.with_columns(revision=higher).drop("stored")


def _announcement(registry: Registry, topic: str) -> Announcement:
    latest = registry.latest(value_subject(topic))
    if latest is None:
        raise ConfigError(f"The registry has no schema for {topic}; run `weir migrate`.")
    return Announcement(topic, Encoder(load_schema("Aggregate"), latest.id))
