"""Alerts as records of their topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl
from prometheus_client import Counter

from streams.engine.encoder import Encoder
from streams.engine.producer import Record
from streams.telemetry.alerts.alert import Alert

ALERTS: Final = Counter("weir_alerts", "Alerts found, by kind and state.", ["kind", "state"])

COLUMNS: Final = pl.Schema(
    {
        "id": pl.String(),
        "kind": pl.String(),
        "state": pl.String(),
        "org_id": pl.String(),
        "project_id": pl.String(),
        "device_id": pl.String(),
        "sensor": pl.String(),
        "ts": pl.Int64(),
        "threshold": pl.Float64(),
        "value": pl.Float64(),
        "window_start": pl.Int64(),
        "window_end": pl.Int64(),
        "partition": pl.Int32(),
        "offset": pl.Int64(),
    }
)
"""Fields of the Alert schema."""


class AlertAnnouncement:
    """Turns alerts into records keyed org_id/device_id/sensor/kind: the newest of a key is what holds now."""

    def __init__(self, topic: str, encoder: Encoder) -> None:
        """Write to ``topic`` what ``encoder`` makes of the rows."""
        self._topic = topic
        self._encoder = encoder

    def records(self, alerts: Sequence[Alert]) -> list[Record]:
        """Return one record an alert, in their order."""
        if not alerts:
            return []
        for alert in alerts:
            ALERTS.labels(alert.kind, alert.state).inc()
        values = self._encoder.encode(alert_rows(alerts))
        return [Record(self._topic, _key(alert), value) for alert, value in zip(alerts, values, strict=True)]


def alert_rows(alerts: Sequence[Alert]) -> pl.DataFrame:
    """One row an alert; its window reaches from the begin of its cause to the time of its state."""
    rows = [(*alert[:10], alert.since, alert.ts, alert.partition, alert.offset) for alert in alerts]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _key(alert: Alert) -> bytes:
    return "/".join((alert.org_id, alert.device_id, alert.sensor, alert.kind)).encode()
