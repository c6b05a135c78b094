"""What was announced and read before a checkpoint: from ClickHouse, and from the topic what is not there yet."""

from __future__ import annotations

from contextlib import closing
from typing import Protocol

import polars as pl

from connectors.kafka.client import kafka_client_config
from sinks.clickhouse.stored_alerts import ALERT_COLUMNS, StoredAlerts
from streams.engine.block import Decoder
from streams.engine.group_progress import GroupProgress
from streams.engine.topic_tail import read_tail
from streams.telemetry.alerts.alert import RESOLVED, TRIGGERED, Kind, Known
from weir.settings import Settings


class History(Protocol):
    """Reads back one partition below an offset; every method blocks, and raises TransientError when a server is away.

    ``since`` is an event time (ms): nothing that was measured before is asked for.
    """

    def known(self, partition: int, below: int) -> list[Known]:
        """Alerts of the partition that are not resolved below the offset."""

    def heard(self, partition: int, below: int, since: int) -> pl.DataFrame:
        """When each series was heard last: device_id, sensor, ts (of its newest number), append_ts (of any)."""

    def readings(self, names: pl.DataFrame, partition: int, below: int, since: int) -> pl.DataFrame:
        """Numbers of these series (device_id, sensor) in order of offset: with ts, value and offset."""


class StoredHistory:
    """The real one."""

    def __init__(self, settings: Settings, codec: Decoder) -> None:
        """``codec`` reads alerts."""
        self._settings = settings
        self._codec = codec
        self._stored = StoredAlerts(settings.clickhouse)
        self.heard, self.readings = self._stored.heard, self._stored.readings

    def known(self, partition: int, below: int) -> list[Known]:
        """Alerts of the partition that are not resolved below the offset."""
        topic = self._not_stored().filter(pl.col("partition") == partition).select(ALERT_COLUMNS)
        return known_alerts(pl.concat([self._stored.announced(partition, below), topic]), below)

    def _not_stored(self) -> pl.DataFrame:
        """Asked for before the table, so that nothing is missed that is stored in between."""
        client = kafka_client_config(self._settings.kafka)
        topic, group = self._settings.topics.alerts, self._settings.groups.alerts
        with closing(GroupProgress(client)) as progress:
            ends, checkpoints = progress.ends(topic=topic, group=group), progress.checkpoints(group, topic)
        begins = {number: found.stored for number, found in checkpoints.items()}
        left = {number: begins.get(number, 0) for number, end in ends.items() if end > begins.get(number, 0)}
        messages = read_tail(client, topic, left) if left else []
        frame = self._codec.decode([message.value() for message in messages]).frame
        return frame.with_columns(pl.col("^(id|kind|state|sensor|.*_id)$").cast(pl.String))


def known_alerts(announced: pl.DataFrame, below: int) -> list[Known]:
    """One row a change of state (:data:`~sinks.clickhouse.stored_alerts.ALERT_COLUMNS`, times in ms) to alerts.

    Left out is what was resolved below the offset. Of what was announced twice the first place counts.
    """
    places: dict[str, dict[str, int]] = {}
    rows = {}
    placed = announced.drop_nulls(["window_start", "offset"])  # both may be null in the topic
    for row in placed.sort("offset", descending=True).iter_rows(named=True):
        places.setdefault(row["id"], {})[row["state"]] = row["offset"]
        rows[row["id"]] = row
    found = []
    for name, row in rows.items():
        at = places[name]
        if TRIGGERED in at and at.get(RESOLVED, below) >= below:
            owner = (row["org_id"], row["project_id"], row["device_id"], row["sensor"])
            kind: Kind = row["kind"]
            found.append(Known(name, kind, *owner, row["window_start"], at[TRIGGERED], RESOLVED in at))
    return sorted(found, key=lambda alert: alert.offset)
