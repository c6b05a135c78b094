"""Devices with their sensors as flat rows, one a sensor: what a spreadsheet of a fleet holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

PAGE_ROWS: Final = 5_000


class InventoryRow(BaseModel):
    """One sensor of a device, or a device that has none (``sensor`` is None then)."""

    model_config = ConfigDict(frozen=True)

    organisation: str
    project: str | None
    device_id: str
    device_type: str
    device_name: str
    sensor: str | None
    metric: str | None
    unit: str | None
    min_value: float | None
    max_value: float | None
    value_type: str | None


def inventory(
    directory: Directory, *, organisation: str | None = None, project: str | None = None
) -> Iterator[InventoryRow]:
    """Active devices with their active sensors that the actor sees, by device and sensor, read a page at a time.

    Blocks while a page is read; what is added behind the row in hand is still seen.
    """
    directory.actor.require("viewer", "export devices")
    device, sensor = "", ""
    while True:
        rows = directory.rows(
            """
            SELECT o.key AS organisation, p.key AS project, d.key AS device_id, d.entity_type AS device_type,
                   d.name AS device_name, s.key AS sensor, s.metric, s.properties ->> 'unit' AS unit,
                   (s.properties ->> 'min_value')::double precision AS min_value,
                   (s.properties ->> 'max_value')::double precision AS max_value, m.value_type
            FROM entities d
            JOIN entities o ON o.id = d.organisation_id
            LEFT JOIN relationships r ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_to IS NULL
            LEFT JOIN entities p ON p.id = r.from_entity
            LEFT JOIN entities s ON s.parent_id = d.id AND s.entity_type = 'sensor' AND s.is_active
            LEFT JOIN metrics m ON m.name = s.metric
            WHERE d.kind IN ('device', 'equipment') AND d.is_active
              AND d.key >= %(device)s AND (d.key > %(device)s OR s.key > %(sensor)s)
              AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
              AND (%(own)s::text IS NULL OR o.key = %(own)s)
              AND (%(project)s::text IS NULL OR p.key = %(project)s)
            ORDER BY d.key, s.key LIMIT %(limit)s
            """,
            {
                "device": device,
                "sensor": sensor,
                "organisation": organisation,
                "own": directory.actor.organisation,
                "project": project,
                "limit": PAGE_ROWS,
            },
        )
        yield from (InventoryRow(**row) for row in rows)
        if len(rows) < PAGE_ROWS:
            return
        device, sensor = rows[-1]["device_id"], rows[-1]["sensor"] or ""


class KnownSensor(BaseModel):
    """What is known of a sensor."""

    model_config = ConfigDict(frozen=True)

    metric: str
    unit: str | None
    min_value: float | None
    max_value: float | None


class KnownDevice(BaseModel):
    """What is known of a device, also of a retired one; ``sensors`` are those that are active, by name."""

    model_config = ConfigDict(frozen=True)

    organisation: str
    project: str | None
    device_type: str
    device_name: str
    sensors: dict[str, KnownSensor]


class KnownMetric(BaseModel):
    """What a metric says of the readings of its sensors."""

    model_config = ConfigDict(frozen=True)

    value_type: str
    unit: str


class Known(BaseModel):
    """What is there already of what the rows of an import name.

    ``organisations`` and ``projects`` are those that are active; a project's value is the slug of its organisation.
    """

    model_config = ConfigDict(frozen=True)

    organisations: set[str]
    projects: dict[str, str]
    metrics: dict[str, KnownMetric]
    devices: dict[str, KnownDevice]


def known(directory: Directory, device_ids: Sequence[str]) -> Known:
    """What is known of these devices, whoever owns them, and of all organisations, projects and metrics.

    For superusers only, since it tells of other organisations: an import must not take their devices away.
    """
    directory.actor.require("superuser", "look devices up in every organisation")
    owners = directory.rows(
        """
        SELECT e.kind, e.key, o.key AS organisation FROM entities e JOIN entities o ON o.id = e.organisation_id
        WHERE e.entity_type IN ('organisation', 'project') AND e.is_active AND o.is_active
        """
    )
    metrics = directory.rows("SELECT name, value_type, unit FROM metrics")
    return Known(
        organisations={row["key"] for row in owners if row["kind"] == "organisation"},
        projects={row["key"]: row["organisation"] for row in owners if row["kind"] == "project"},
        metrics={row["name"]: KnownMetric(value_type=row["value_type"], unit=row["unit"]) for row in metrics},
        devices=_known_devices(directory, device_ids),
    )


def _known_devices(directory: Directory, device_ids: Sequence[str]) -> dict[str, KnownDevice]:
    rows = directory.rows(
        """
        SELECT d.key AS device_id, o.key AS organisation, p.key AS project, d.entity_type AS device_type,
               d.name AS device_name,
               coalesce((SELECT jsonb_object_agg(s.key, jsonb_build_object(
                             'metric', s.metric, 'unit', s.properties -> 'unit',
                             'min_value', s.properties -> 'min_value', 'max_value', s.properties -> 'max_value'))
                         FROM entities s WHERE s.parent_id = d.id AND s.entity_type = 'sensor' AND s.is_active),
                        '{}') AS sensors
        FROM entities d
        JOIN entities o ON o.id = d.organisation_id
        LEFT JOIN relationships r ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_to IS NULL
        LEFT JOIN entities p ON p.id = r.from_entity
        WHERE d.kind IN ('device', 'equipment') AND d.key = ANY (%(ids)s)
        """,
        {"ids": list(device_ids)},
    )
    return {row.pop("device_id"): KnownDevice(**row) for row in rows}
