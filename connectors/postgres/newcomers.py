"""Which unknown devices an organisation takes in: those it does not have yet, as long as not too many are pending."""

from __future__ import annotations

from connectors.postgres.connection import connection

PENDING = "pending"
"""Status of a device that registered itself and that nobody has looked at yet."""

MOST_SENSORS = 100
"""Sensors of a pending device: each makes a metric that everybody shares, and nobody has looked at the device yet."""

WITHIN_SECONDS = 5.0
"""Readings wait for the answer."""

_ADMISSIBLE = """
    WITH pending AS (
        SELECT count(*) AS number FROM entities
        WHERE kind IN ('device', 'equipment') AND status = 'pending' AND is_active
          AND organisation_id = (SELECT id FROM entities WHERE entity_type = 'organisation' AND kind = 'organisation'
                                 AND key = %(organisation)s)
    ), asked AS (
        SELECT wanted.id, d.id IS NULL AS is_new,
               %(sensors)s
               - (SELECT count(*) FROM entities s WHERE s.entity_type = 'sensor' AND s.parent_id = d.id) AS room,
               row_number() OVER (PARTITION BY d.id IS NULL ORDER BY wanted.id) AS place
        FROM unnest(%(devices)s::text[]) AS wanted (id)
        LEFT JOIN entities d ON d.kind IN ('device', 'equipment') AND d.key = wanted.id
        LEFT JOIN entities o ON o.id = d.organisation_id
        WHERE d.id IS NULL OR (d.status = 'pending' AND d.is_active AND o.key = %(organisation)s)
    )
    SELECT asked.id, asked.room FROM asked, pending WHERE NOT asked.is_new OR pending.number + asked.place <= %(most)s
"""


def admissible(dsn: str, organisation: str, devices: list[str], most: int) -> dict[str, int]:
    """Return which of ``devices`` may be registered as pending, and how many sensors more each may have.

    Those are new ones up to ``most``, and those of the organisation that are pending.

    Blocks for up to five seconds. Raises :class:`TransientError` when Postgres is away.
    """
    with connection(dsn, within_seconds=WITHIN_SECONDS) as conn:
        asked = {"organisation": organisation, "devices": devices, "most": most, "sensors": MOST_SENSORS}
        return dict(conn.execute(_ADMISSIBLE, asked).fetchall())
