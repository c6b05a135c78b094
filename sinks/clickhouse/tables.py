"""Weir's tables and views in ClickHouse: every column, its type, its codec and what it means.

The codecs were chosen by ``python -m bench.micro.clickhouse_codecs``; its numbers stand in docs/decisions.md.
"""

from __future__ import annotations

from dataclasses import replace

from sinks.clickhouse.relation import Column, Table, View
from sinks.clickhouse.sharded import sharded
from weir.settings import Settings

LABEL = "LowCardinality(String)"
INSTANT = "DateTime64(3, 'UTC')"

RISING_CODEC = "DoubleDelta, LZ4"
"""Times, offsets and running numbers of a sorted series: a third of LZ4's bytes at LZ4's CPU."""

VALUE_CODEC = "Delta(8), ZSTD(1)"
"""Measured values: under half of LZ4's bytes for 5 ns a row more. Gorilla and FPC come out larger on values of a finite
resolution, which is what sensors send."""

TEXT_CODEC = "ZSTD(1)"
"""Texts and raw bytes that differ from row to row; repeated ones are as small under the server's default, LZ4."""

REVISION_CODEC = "Delta(8), ZSTD(1)"

MERGE_BASE = 10
"""Larger than the server's 5: parts are merged more at a time, so each row less often. Blocks of 1,250 rows of 4
partitions, 8 a second each, took 22.6 to 26.1 µs of CPU a row instead of 29.4 to 31.6, with 13 parts instead of 9."""

NOT_EMPTY = "count > 0"
"""A window whose only number a text replaced, later, is taken back by a row of count 0."""

_SERIES = (
    Column("org_id", LABEL, "Organisation that owns the device."),
    Column("project_id", LABEL, "Project of the device; empty when it has none."),
    Column("device_id", "String", "Registered id of the device."),
    Column("device_type", LABEL, "Entity type of the device, such as device.esp32."),
    Column("sensor", LABEL, "Name of the sensor within its device."),
    Column("metric", LABEL, "Dotted name of the metric that the sensor measures."),
)


def relations(settings: Settings) -> list[Table | View]:
    """All tables, then all views, which read them; on a cluster the sharded form of both."""
    cluster = settings.clickhouse.cluster or ""
    return [*sharded(tables(settings), settings), *(replace(view, cluster=cluster) for view in views(settings))]


def tables(settings: Settings) -> list[Table]:
    """All tables, with the retention, dedup window and storage policy of ``settings``."""
    days = settings.retention
    remembered = {"non_replicated_deduplication_window": str(settings.clickhouse.dedup_window_blocks)}
    raw, one_minute, one_hour = (
        _raw_readings(days.raw_days),
        _aggregates("agg_1m", "1-minute", days.agg_1m_days),
        _aggregates("agg_1h", "1-hour", days.agg_1h_days),
    )
    policy = settings.clickhouse.storage_policy
    if policy:
        raw = _cooled(raw, policy, "ts", days.raw_hot_days)
        one_minute = _cooled(one_minute, policy, "window_start", days.agg_1m_hot_days)
        one_hour = _cooled(one_hour, policy, "window_start", days.agg_1h_hot_days)
    others = (
        _alerts(days.agg_1h_days),
        _events(days.events_days),
        _dead_letters(days.raw_days),
        _usage(days.agg_1h_days),
        _metric_definitions(),
    )
    return [replace(table, settings=table.settings | remembered) for table in (raw, one_minute, one_hour, *others)]


def views(settings: Settings) -> list[View]:
    """The views that analysts read: no resends, no superseded revisions, no internals."""
    by_name = {table.name: table for table in tables(settings)}
    raw, one_minute, one_hour = by_name["raw_readings"], by_name["agg_1m"], by_name["agg_1h"]
    internal = {"partition", "offset", "retention_days"}
    return [
        _view("readings", "Every reading once: a resend replaces what it repeats.", raw, internal),
        _view("aggregates_1m", "One row a series and minute: the newest revision.", one_minute, internal, NOT_EMPTY),
        _view("aggregates_1h", "One row a series and hour: the newest revision.", one_hour, internal, NOT_EMPTY),
        _view("event_log", "Every event once.", by_name["events"], internal),
        _view("metrics", "The registry of metrics: types, units, bounds.", by_name["metric_definitions"], internal),
    ]


def _view(name: str, comment: str, table: Table, hidden: set[str], where: str = "") -> View:
    columns = tuple(column for column in table.columns if column.name not in hidden)
    return View(name, comment, table.name, columns, where)


def _cooled(table: Table, policy: str, time: str, hot_days: int) -> Table:
    move = f"toDateTime({time}) + toIntervalDay({hot_days}) TO VOLUME 'cold'"
    return replace(table, ttl=f"{move}, {table.ttl}", settings=table.settings | {"storage_policy": f"'{policy}'"})


def _retention(days: int) -> Column:
    return Column(
        "retention_days",
        "UInt16",
        "Days after which nothing is added to the row; it is deleted a day later.",
        default=str(days),
    )


def _deleted(time: str) -> str:
    """A day later than readings are refused as too old: a correction must not read a window that is half deleted."""
    return f"toDateTime({time}) + toIntervalDay(retention_days + 1)"


def _raw_readings(days: int) -> Table:
    return Table(
        name="raw_readings",
        comment="Readings as they came, validated and enriched. Read the view readings: here a resend may show twice.",
        columns=(
            *_SERIES,
            Column("unit", LABEL, "Unit of the value."),
            Column("fw_ver", LABEL, "Firmware version of the device; empty when unknown."),
            Column("source", LABEL, "What sent it, such as esp32 or simulator; empty when unknown."),
            Column("ts", INSTANT, "When it was measured, by the device's clock.", RISING_CODEC),
            Column("value", "Float64", "The number that was measured; 0 when it was a text.", VALUE_CODEC),
            Column("is_number", "Bool", "Whether value is a number that was measured."),
            Column("str_value", "String", "The text that was measured; empty when it was a number.", TEXT_CODEC),
            Column("status_code", "Nullable(Int64)", "Health or custom code of the device."),
            Column("seq", "Nullable(Int64)", "The device's own running number.", RISING_CODEC),
            Column("quality", LABEL, "The device's own verdict, such as good or suspect; empty when none."),
            Column("battery_level", "Nullable(Float32)", "Charge in percent."),
            Column("append_ts", INSTANT, "When the broker stored it.", RISING_CODEC),
            Column("partition", "UInt16", "Partition of the readings topic it came from."),
            Column("offset", "UInt64", "Its offset there; of two equal identities the later holds.", RISING_CODEC),
            _retention(days),
        ),
        engine="ReplacingMergeTree(offset)",
        partition_by="toDate(ts)",
        order_by="org_id, device_id, sensor, ts",
        ttl=_deleted("ts"),
        settings={"merge_selector_base": str(MERGE_BASE)},
    )


def _aggregates(name: str, width: str, days: int) -> Table:
    measures = (
        ("sum", "Sum of the values."),
        ("min", "Smallest value."),
        ("max", "Largest value."),
        ("avg", "sum / count."),
        ("first", "Value of the earliest reading."),
        ("last", "Value of the latest reading."),
    )
    return Table(
        name=name,
        comment=f"{width} windows, all revisions; the view {name.replace('agg', 'aggregates')} has the newest.",
        columns=(
            *_SERIES,
            Column("unit", LABEL, "Unit of every measure but count."),
            Column("fw_ver", LABEL, "Firmware of the window's last reading; empty when unknown."),
            Column("source", LABEL, "Source of the window's last reading; empty when unknown."),
            Column("window_start", INSTANT, "First instant of the window.", RISING_CODEC),
            Column("window_end", INSTANT, "First instant after the window.", RISING_CODEC),
            Column("count", "UInt64", "Numeric readings in the window, resends counted once; 0: none are left."),
            *(Column(measure, "Float64", comment, VALUE_CODEC) for measure, comment in measures),
            Column("last_ts", INSTANT, "When the latest reading was measured.", RISING_CODEC),
            Column("stddev", "Float64", "Population standard deviation of the values.", VALUE_CODEC),
            Column("revision", "Int64", "Grows with the data in the window; the highest holds.", REVISION_CODEC),
            _retention(days),
        ),
        engine="ReplacingMergeTree(revision)",
        partition_by="toYYYYMM(window_start)",
        order_by="org_id, device_id, sensor, window_start",
        ttl=_deleted("window_start"),
    )


def _alerts(days: int) -> Table:
    return Table(
        name="alerts",
        comment="Alerts as they were triggered and resolved; a replay repeats the id and replaces the row.",
        columns=(
            Column("id", "String", "Stable id of the cause.", TEXT_CODEC),
            Column("kind", LABEL, "What happened: above, below or silent."),
            Column("state", LABEL, "triggered or resolved."),
            Column("org_id", LABEL, "Organisation that owns the device."),
            Column("project_id", LABEL, "Project of the device; empty when it has none."),
            Column("device_id", "String", "Registered id of the device."),
            Column("sensor", LABEL, "Name of the sensor; empty when the alert is the device's."),
            Column("ts", INSTANT, "When the state was reached: event time, of a silence the broker's.", RISING_CODEC),
            Column("threshold", "Nullable(Float64)", "The bound that was crossed."),
            Column("value", "Nullable(Float64)", "The value that crossed it."),
            Column("window_start", f"Nullable({INSTANT})", "When the cause began."),
            Column("window_end", f"Nullable({INSTANT})", "When the state was reached."),
            Column("partition", "Nullable(Int32)", "Partition of the readings that it was found in."),
            Column("offset", "Nullable(Int64)", "Offset there at which the state was reached."),
        ),
        engine="ReplacingMergeTree(ts)",
        partition_by="toYYYYMM(ts)",
        order_by="org_id, device_id, sensor, kind, id, state",
        ttl=f"toDateTime(ts) + toIntervalDay({days})",
    )


def _events(days: int) -> Table:
    return Table(
        name="events",
        comment="What happened to devices and all other entities. Read the view event_log: here one may show twice.",
        columns=(
            Column("id", "Int64", "Identity; of one entity, the later event has the higher id.", RISING_CODEC),
            Column("ts", INSTANT, "When it was written.", RISING_CODEC),
            Column("event_type", LABEL, "Dotted type, such as device.status_changed."),
            Column("org_id", LABEL, "Organisation that the entity belongs to."),
            Column("device_id", "String", "Device that the entity is, or is a sensor of; empty for everything else."),
            Column("entity_id", "String", "UUID of the entity.", TEXT_CODEC),
            Column("entity_type", LABEL, "Type of the entity, such as device.esp32."),
            Column("entity_key", "String", "Slug, device id, sensor's name, e-mail: what it is called.", TEXT_CODEC),
            Column("data", "String", "What happened in detail, a JSON object.", TEXT_CODEC),
            Column("metadata", "String", "About the event itself, a JSON object.", TEXT_CODEC),
            Column("actor", "String", "Who did it: e-mail of a user, key:PREFIX, or a part of Weir.", TEXT_CODEC),
            Column("source", LABEL, "Program and host that wrote it."),
        ),
        engine="ReplacingMergeTree",
        partition_by="toYYYYMM(ts)",
        order_by="org_id, device_id, ts, id",
        ttl=f"toDateTime(ts) + toIntervalDay({days})",
    )


def _dead_letters(days: int) -> Table:
    return Table(
        name="dead_letters",
        comment="Records that no retry mends, with where and why; the same as in the dead-letter topic.",
        columns=(
            Column("reason", LABEL, "Short stable word, such as undecodable or unknown_device."),
            Column("detail", "String", "Where and why, in a sentence.", TEXT_CODEC),
            Column("stage", LABEL, "Step of the stream that rejected it."),
            Column("topic", LABEL, "Topic it came from."),
            Column("partition", "UInt16", "Partition it came from."),
            Column("offset", "UInt64", "Offset it came from.", RISING_CODEC),
            Column("position", "UInt32", "Its place in a packed message, counted from 1; 0 for a whole message."),
            Column("timestamp", INSTANT, "Broker append time of the record it came from.", RISING_CODEC),
            Column("key", "String", "Its key, raw bytes.", TEXT_CODEC),
            Column("value", "String", "Its value, raw bytes.", TEXT_CODEC),
            Column("schema_id", "Nullable(Int64)", "Schema id in its first bytes; null when it had none."),
            Column("org_id", LABEL, "Organisation, when it could be told; else empty."),
            Column("first_seen", INSTANT, "When it was rejected for the first time.", RISING_CODEC),
            Column("replay_count", "UInt32", "How often it was put back and rejected again."),
            Column("append_ts", INSTANT, "Broker append time of the dead letter itself.", RISING_CODEC),
        ),
        engine="ReplacingMergeTree(append_ts)",
        partition_by="toYYYYMM(first_seen)",
        order_by="reason, topic, partition, offset, position",
        ttl=f"toDateTime(first_seen) + toIntervalDay({days})",
    )


def _usage(days: int) -> Table:
    return Table(
        name="usage",
        comment="Readings per organisation and minute and what became of them; read the counts with sum().",
        columns=(
            Column("org_id", LABEL, "Organisation."),
            Column("minute", "DateTime('UTC')", "Minute in which they arrived.", "DoubleDelta, LZ4"),
            Column("reason", LABEL, "Why they were sampled out or rejected, or conflict; empty for accepted ones."),
            Column("accepted", "UInt64", "Readings that were taken."),
            Column("sampled_out", "UInt64", "Readings left out by adaptive sampling."),
            Column("rejected", "UInt64", "Readings that were refused."),
            Column("conflicts", "UInt64", "Readings that replaced one of the same identity and another value."),
        ),
        engine="SummingMergeTree((accepted, sampled_out, rejected, conflicts))",
        partition_by="toYYYYMM(minute)",
        order_by="org_id, minute, reason",
        ttl=f"minute + toIntervalDay({days})",
    )


def _metric_definitions() -> Table:
    return Table(
        name="metric_definitions",
        comment="Metrics as Postgres has them. Read the view metrics: here older definitions may show as well.",
        columns=(
            Column("name", "String", "Dotted name, as in the column metric of readings and aggregates."),
            Column("value_type", LABEL, "float, integer, boolean, string, enum or json."),
            Column("unit", LABEL, "Base unit, in which readings are stored; empty when it has none."),
            Column("min_value", "Nullable(Float64)", "Lower bound of sensors that set none."),
            Column("max_value", "Nullable(Float64)", "Upper bound of sensors that set none."),
            Column("bounds_action", LABEL, "What becomes of a value out of bounds: reject or mark."),
            Column("enum_values", "Array(String)", "Texts that an enum may take."),
            Column("json_schema", "String", "JSON Schema of structured values; empty for any JSON."),
            Column("description", "String", "What it measures, in words."),
            Column("copied_at", INSTANT, "When it was copied from Postgres.", default="now64(3)"),
        ),
        engine="ReplacingMergeTree(copied_at)",
        partition_by="tuple()",
        order_by="name",
    )
