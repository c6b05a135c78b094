"""Alerts in the log of events: each change of an alert once, however often it is announced."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final

from connectors.postgres.connection import connection

WITHIN_SECONDS: Final = 30.0
SOURCE: Final = f"weir@{socket.gethostname()}"

_RECORD: Final = """
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source, once)
    SELECT a.event_type, d.id, d.entity_type, d.key, d.organisation_id, a.data, 'weir', %(source)s, a.once
    FROM unnest(%(types)s::text[], %(devices)s::text[], %(data)s::jsonb[], %(once)s::text[])
         WITH ORDINALITY AS a (event_type, device_id, data, once, position)
    JOIN entities d ON d.key = a.device_id AND d.kind IN ('device', 'equipment')
    ORDER BY a.position
    ON CONFLICT (once) DO NOTHING
"""


def record_alerts(dsn: str, alerts: Iterable[Mapping[str, Any]]) -> int:
    """Write ``alert.triggered``, ``alert.resolved`` or ``device.silent`` for each; return how many were new.

    ``alerts`` have the fields of the Alert schema. Blocks. Raises :class:`~weir.errors.TransientError` when Postgres is
    away.
    """
    rows = [
        (_type(alert), alert["device_id"], json.dumps(dict(alert), default=str), f"{alert['id']}:{alert['state']}")
        for alert in alerts
    ]
    if not rows:
        return 0
    types, devices, data, once = map(list, zip(*rows, strict=True))
    parameters = {"types": types, "devices": devices, "data": data, "once": once, "source": SOURCE}
    with connection(dsn, within_seconds=WITHIN_SECONDS) as conn:
        return conn.execute(_RECORD, parameters).rowcount


def _type(alert: Mapping[str, Any]) -> str:
    silent = alert["kind"] == "silent" and alert["state"] == "triggered"
    return "device.silent" if silent else f"alert.{alert['state']}"
