"""The queries that find entities: by id, by key, and by what a list asks for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

from psycopg.rows import DictRow

from connectors.entities.errors import InvalidError
from connectors.entities.models import Entity, PropertyRange
from connectors.entities.pages import Page, checked_limit, page_of, position_of
from connectors.entities.values import checked_properties

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

MOST_PAGE_BYTES: Final = 8_388_608
"""Properties of one page as JSON text, at most; a page ends after the entity that goes beyond."""

SENDS_READINGS: Final = ("device", "equipment")
NAMED_EVERYWHERE: Final = ("organisation", "project", "user")


@dataclass(frozen=True, slots=True)
class Search:
    """What a list is to show; ``organisation_id`` and ``parent_id`` are entities that the actor sees."""

    entity_type: str | None
    organisation_id: UUID | None
    parent_id: UUID | None
    status: str | None
    contains: Mapping[str, Any] | None
    ranges: Sequence[PropertyRange]
    include_inactive: bool

    def parameters(self) -> dict[str, Any]:
        """The parameters of the list's query."""
        if self.contains is not None:
            checked_properties(self.contains)
        return {
            "entity_type": self.entity_type,
            "family": None if self.entity_type in (*NAMED_EVERYWHERE, "sensor") else self.entity_type,
            "sensors": self.entity_type == "sensor" or self.parent_id is not None,
            "organisation_id": self.organisation_id,
            "parent_id": self.parent_id,
            "status": self.status,
            "contains": None if self.contains is None else json.dumps(self.contains),
            "include_inactive": self.include_inactive,
            "paths": json.dumps([_path(each.path) for each in self.ranges]),
            "lowest": [_bound(each.min) for each in self.ranges],
            "highest": [_bound(each.max) for each in self.ranges],
        }


def by_id(directory: Directory, entity_id: UUID) -> list[Entity]:
    """The entity of this id, or none."""
    return _entities(
        directory.rows(
            """
            SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
                   o.key AS organisation, d.key AS parent, e.is_active, e.created_at, e.updated_at
            FROM entities e JOIN entities o ON o.id = e.organisation_id LEFT JOIN entities d ON d.id = e.parent_id
            WHERE e.id = %(id)s
            """,
            {"id": entity_id},
        )
    )


def device_of(directory: Directory, key: str) -> list[Entity]:
    """The device or equipment that readings call by this key, or none."""
    return _entities(
        directory.rows(
            """
            SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
                   o.key AS organisation, NULL AS parent, e.is_active, e.created_at, e.updated_at
            FROM entities e JOIN entities o ON o.id = e.organisation_id
            WHERE e.kind IN ('device', 'equipment') AND e.key = %(key)s
            """,
            {"key": key},
        )
    )


def sensor_of(directory: Directory, device: str, key: str) -> list[Entity]:
    """The sensor of this name in the device of this key, or none."""
    return _entities(
        directory.rows(
            """
            SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
                   o.key AS organisation, d.key AS parent, e.is_active, e.created_at, e.updated_at
            FROM entities d
            JOIN entities e ON e.parent_id = d.id AND e.entity_type = 'sensor' AND e.key = %(key)s
            JOIN entities o ON o.id = e.organisation_id
            WHERE d.kind IN ('device', 'equipment') AND d.key = %(device)s
            """,
            {"device": device, "key": key},
        )
    )


def named_everywhere(directory: Directory, kind: str, key: str) -> list[Entity]:
    """The organisation, project or user of this key, or none."""
    return _entities(
        directory.rows(
            """
            SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
                   o.key AS organisation, NULL AS parent, e.is_active, e.created_at, e.updated_at
            FROM entities e JOIN entities o ON o.id = e.organisation_id
            WHERE e.entity_type IN ('organisation', 'project', 'user') AND e.kind = %(kind)s AND e.key = %(key)s
            """,
            {"kind": kind, "key": key},
        )
    )


def named_in_organisation(directory: Directory, kind: str, key: str, organisation: UUID | None) -> list[Entity]:
    """Entities of another kind by their key, which is unique within an organisation; None looks in all of them."""
    return _entities(
        directory.rows(
            """
            SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
                   o.key AS organisation, NULL AS parent, e.is_active, e.created_at, e.updated_at
            FROM entities e JOIN entities o ON o.id = e.organisation_id
            WHERE e.entity_type NOT IN ('organisation', 'project', 'user', 'sensor')
              AND e.kind NOT IN ('device', 'equipment') AND e.kind = %(kind)s AND e.key = %(key)s
              AND (%(organisation)s::uuid IS NULL OR e.organisation_id = %(organisation)s)
            """,
            {"kind": kind, "key": key, "organisation": organisation},
        )
    )


def page(directory: Directory, search: Search, limit: int, cursor: str | None) -> Page[Entity]:
    """Entities in the order in which they were made; those made while somebody pages come after the last page.

    Of each type in each organisation, an index gives the next few in this order, and the first of all are the page: a
    page of a million devices costs what one of a thousand does. Where ``contains`` or ``parent_id`` narrow the search
    themselves, everything found is sorted.
    """
    made, seen = position_of(cursor, datetime.fromisoformat, UUID) if cursor else (None, None)
    asked = {
        **search.parameters(),
        "made": made,
        "seen": seen,
        "limit": checked_limit(limit),
        "most_bytes": MOST_PAGE_BYTES,
    }
    if search.contains is not None or search.entity_type == "sensor" or search.parent_id is not None:
        rows = directory.rows(_measured(_SORTED), asked)
    else:
        places = directory.rows(_PLACES_OF_ONE if search.organisation_id else _PLACES, asked)
        types, owners = [row["entity_type"] for row in places], [row["organisation_id"] for row in places]
        rows = directory.rows(_measured(_MERGED), {**asked, "types": types, "owners": owners})
    within = next((number for number, row in enumerate(rows) if row["properties"] is None), limit)
    return page_of(_entities(rows[: within + 1]), min(limit, within), lambda entity: (entity.created_at, entity.id))


def _measured(query: LiteralString) -> LiteralString:
    """The same rows, without the properties of those behind the first :data:`MOST_PAGE_BYTES` of the page."""
    return _MEASURED + query + _IN_ORDER


_MEASURED: Final = """
    SELECT id, entity_type, key, name, description, CASE WHEN before < %(most_bytes)s THEN properties END AS properties,
           schema_version, status, organisation, parent, is_active, created_at, updated_at
    FROM (
        SELECT found.*, coalesce(sum(octet_length(properties::text)) OVER (
                   ORDER BY created_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM ("""
_IN_ORDER: Final = """) AS found
    ) AS measured ORDER BY created_at, id
"""

_PLACES_OF_ONE: Final = """
    WITH RECURSIVE found (entity_type) AS (
        SELECT min(entity_type) FROM entities WHERE parent_id IS NULL AND organisation_id = %(organisation_id)s
        UNION ALL
        SELECT (SELECT min(e.entity_type) FROM entities e
                WHERE e.parent_id IS NULL AND e.organisation_id = %(organisation_id)s
                  AND e.entity_type > found.entity_type)
        FROM found WHERE found.entity_type IS NOT NULL
    )
    SELECT entity_type, %(organisation_id)s::uuid AS organisation_id FROM found
    WHERE entity_type IS NOT NULL
      AND (%(entity_type)s::text IS NULL OR entity_type = %(entity_type)s
           OR starts_with(entity_type, %(family)s || '.'))
"""
"""Which types there are in one organisation: each step looks one row up, however many entities a type has."""

_PLACES: Final = """
    WITH RECURSIVE found (entity_type, organisation_id) AS (
        (SELECT entity_type, organisation_id FROM entities WHERE parent_id IS NULL ORDER BY 1, 2 LIMIT 1)
        UNION ALL
        SELECT following.entity_type, following.organisation_id
        FROM found CROSS JOIN LATERAL (
            SELECT e.entity_type, e.organisation_id FROM entities e
            WHERE e.parent_id IS NULL
              AND (e.entity_type, e.organisation_id) > (found.entity_type, found.organisation_id)
            ORDER BY 1, 2 LIMIT 1) AS following
    )
    SELECT entity_type, organisation_id FROM found
    WHERE %(entity_type)s::text IS NULL OR entity_type = %(entity_type)s
       OR starts_with(entity_type, %(family)s || '.')
"""

_MERGED: Final = """
    SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
           o.key AS organisation, NULL AS parent, e.is_active, e.created_at, e.updated_at
    FROM unnest(%(types)s::text[], %(owners)s::uuid[]) AS place (entity_type, organisation_id)
    CROSS JOIN LATERAL (
        SELECT * FROM entities e
        WHERE e.organisation_id = place.organisation_id AND e.entity_type = place.entity_type AND e.parent_id IS NULL
          AND (%(status)s::text IS NULL OR e.status = %(status)s)
          AND (%(include_inactive)s OR e.is_active)
          AND (jsonb_array_length(%(paths)s::jsonb) = 0 OR NOT EXISTS (
              SELECT FROM jsonb_array_elements(%(paths)s::jsonb) WITH ORDINALITY AS asked (path, place)
              CROSS JOIN LATERAL (
                  SELECT e.properties #> ARRAY(SELECT jsonb_array_elements_text(asked.path))) AS found (held)
              WHERE CASE WHEN jsonb_typeof(held) = 'number'
                         THEN held::numeric NOT BETWEEN coalesce((%(lowest)s::numeric[])[asked.place], '-infinity')
                                                    AND coalesce((%(highest)s::numeric[])[asked.place], 'infinity')
                         ELSE true END))
          AND (%(made)s::timestamptz IS NULL OR (e.created_at, e.id) > (%(made)s, %(seen)s::uuid))
        ORDER BY e.created_at, e.id LIMIT %(limit)s + 1
    ) AS e
    JOIN entities o ON o.id = e.organisation_id
    ORDER BY e.created_at, e.id LIMIT %(limit)s + 1
"""

_SORTED: Final = """
    SELECT e.id, e.entity_type, e.key, e.name, e.description, e.properties, e.schema_version, e.status,
           o.key AS organisation, d.key AS parent, e.is_active, e.created_at, e.updated_at
    FROM entities e JOIN entities o ON o.id = e.organisation_id LEFT JOIN entities d ON d.id = e.parent_id
    WHERE CASE WHEN %(sensors)s THEN e.entity_type = 'sensor' ELSE e.parent_id IS NULL END
      AND (%(entity_type)s::text IS NULL OR e.entity_type = %(entity_type)s
           OR starts_with(e.entity_type, %(family)s || '.'))
      AND (%(organisation_id)s::uuid IS NULL OR e.organisation_id = %(organisation_id)s)
      AND (%(parent_id)s::uuid IS NULL OR e.parent_id = %(parent_id)s)
      AND (%(status)s::text IS NULL OR e.status = %(status)s)
      AND (%(contains)s::jsonb IS NULL OR e.properties @> %(contains)s::jsonb)
      AND (%(include_inactive)s OR e.is_active)
      AND (jsonb_array_length(%(paths)s::jsonb) = 0 OR NOT EXISTS (
          SELECT FROM jsonb_array_elements(%(paths)s::jsonb) WITH ORDINALITY AS asked (path, place)
          CROSS JOIN LATERAL (
              SELECT e.properties #> ARRAY(SELECT jsonb_array_elements_text(asked.path))) AS found (held)
          WHERE CASE WHEN jsonb_typeof(held) = 'number'
                     THEN held::numeric NOT BETWEEN coalesce((%(lowest)s::numeric[])[asked.place], '-infinity')
                                                AND coalesce((%(highest)s::numeric[])[asked.place], 'infinity')
                     ELSE true END))
      AND (%(made)s::timestamptz IS NULL OR (e.created_at, e.id) > (%(made)s, %(seen)s::uuid))
    ORDER BY e.created_at, e.id LIMIT %(limit)s + 1
"""


def _entities(rows: Sequence[DictRow]) -> list[Entity]:
    return [Entity.model_construct(**row) for row in rows]


def _path(path: str) -> list[str]:
    parts = path.split(".")
    if not all(parts):
        raise InvalidError(f"{path!r} is no path of a property; join names by dots, such as config.readingInterval.")
    return parts


def _bound(value: float | None) -> str | None:
    if value is not None and math.isnan(value):
        raise InvalidError("A range from or to NaN holds nothing; give a number.")
    return None if value is None else repr(float(value))
