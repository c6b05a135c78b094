"""How entities are connected, and when: a relationship holds from one instant up to another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from connectors.entities.changes import told
from connectors.entities.entity_search import MOST_PAGE_BYTES
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.models import Descendant, Entity, Relationship, RelationshipCreate
from connectors.entities.pages import Page, checked_limit, page_of, position_of
from connectors.entities.values import checked_properties

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

MOST_LEVELS: Final = 64
MOST_BYTES: Final = 65536
MOST_DESCENDANTS: Final = 10_000

_ROLES: Final = ("admin", "editor", "viewer")

Direction = Literal["from", "to", "both"]


class Relationships:
    """The relationships that the actor of a directory may see."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def connect(self, new: RelationshipCreate) -> Relationship:
        """Connect two entities; the database refuses overlaps, cycles and what does not fit the type.

        Without ``valid_from`` it holds from now on, and the first ``contains`` of a device has always held: readings
        from before its registration belong to the project, too.
        """
        self._require(new.relationship_type, "connect entities")
        checked_properties(new.properties, MOST_BYTES)
        self._directory.lock()  # nobody retires an end of it from here on
        begins = self._directory.entities.by_id(new.from_entity)
        ends = self._directory.entities.by_id(new.to_entity)
        self._refuse_unfit(new, begins, ends)
        held = self._insert(new)
        self._directory.events.record("relationship.created", held.to_entity, told(_about(held)))
        return held

    def end(self, relationship_id: int, at: datetime | None = None) -> Relationship:
        """Say when a relationship ceased to hold: now, or at another instant after its beginning."""
        self._directory.lock()
        held = self._by_id(relationship_id)
        self._require(held.relationship_type, "end relationships")
        ends_at = _zoned(at, "the end") or self._now()
        if held.valid_to is not None and held.valid_to <= ends_at:
            raise ConflictError(f"Relationship {held.id} ended already at {held.valid_to.isoformat()}.")
        if held.valid_from is not None and ends_at <= held.valid_from:
            raise InvalidError(f"Relationship {held.id} began at {held.valid_from.isoformat()}; it can only end later.")
        self._directory.write(
            "UPDATE relationships SET valid_to = %(at)s WHERE id = %(id)s RETURNING id",
            {"at": ends_at, "id": held.id},
        )
        ended = self._by_id(held.id)
        self._directory.events.record("relationship.ended", ended.to_entity, told(_about(ended)))
        return ended

    def move(self, device_id: UUID, project_id: UUID | None, at: datetime | None = None) -> Relationship | None:
        """Let a device belong to another project (None: to none) from an instant on; older readings keep the old one.

        Gives the relationship that holds then. Where it is already, nothing changes.
        """
        device = self._directory.entities.by_id(device_id)
        self._directory.lock()
        moves_at = _zoned(at, "the move")
        current = self._open_project(device.id)
        if current is not None and current.from_entity == project_id:
            return current
        if current is not None:
            moves_at = moves_at or self._now()
            self.end(current.id, moves_at)
        if project_id is None:
            return None
        return self.connect(
            RelationshipCreate(
                relationship_type="contains", from_entity=project_id, to_entity=device.id, valid_from=moves_at
            )
        )

    def of(
        self,
        entity_id: UUID,
        *,
        relationship_type: str | None = None,
        direction: Direction = "both",
        at: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Relationship]:
        """Relationships that begin (``from``) or end (``to``) at an entity, as of an instant (None: ever)."""
        self._directory.entities.by_id(entity_id)
        rows = self._directory.rows(
            """
            SELECT r.id, r.relationship_type, r.from_entity, f.entity_type AS from_type, f.key AS from_key,
                   r.to_entity, t.entity_type AS to_type, t.key AS to_key, r.properties, r.strength::float8 AS strength,
                   nullif(r.valid_from, '-infinity') AS valid_from, nullif(r.valid_to, 'infinity') AS valid_to,
                   o.key AS organisation, r.created_by, r.created_at
            FROM relationships r
            JOIN entities f ON f.id = r.from_entity
            JOIN entities t ON t.id = r.to_entity
            JOIN entities o ON o.id = r.organisation_id
            WHERE ((%(forwards)s AND r.from_entity = %(entity)s) OR (%(backwards)s AND r.to_entity = %(entity)s))
              AND (%(relationship_type)s::text IS NULL OR r.relationship_type = %(relationship_type)s)
              AND (%(at)s::timestamptz IS NULL
                   OR (r.valid_from <= %(at)s AND (r.valid_to IS NULL OR r.valid_to > %(at)s)))
              AND (%(bound)s::uuid IS NULL OR r.organisation_id = %(bound)s)
              AND (%(after)s::bigint IS NULL OR r.id > %(after)s)
            ORDER BY r.id LIMIT %(limit)s + 1
            """,
            {
                "entity": entity_id,
                "forwards": direction in ("from", "both"),
                "backwards": direction in ("to", "both"),
                "relationship_type": relationship_type,
                "at": _zoned(at, "the instant"),
                "bound": self._directory.bound_to(),
                "after": position_of(cursor, int)[0] if cursor else None,
                "limit": checked_limit(limit),
            },
        )
        return page_of([Relationship(**row) for row in rows], limit, lambda held: (held.id,))

    def descendants(
        self,
        entity_id: UUID,
        *,
        relationship_types: Sequence[str] | None = None,
        at: datetime | None = None,
        max_depth: int = 16,
    ) -> list[Descendant]:
        """What is reached from an entity over links that held at an instant (default: now), the nearest first.

        Links are the relationships, ``owns`` (organisation to entity) and ``has_sensor``. A cycle ends where it began:
        the entity itself is never among them. Raises :class:`InvalidError` for more than 10,000 of them.
        """
        self._directory.entities.by_id(entity_id)
        if not 1 <= max_depth <= MOST_LEVELS:
            raise InvalidError(f"max_depth must be from 1 to {MOST_LEVELS}, not {max_depth}.")
        rows = self._directory.rows(
            """
            -- UNION forgets what it has seen at a depth: a cycle, or many ways to one entity, cost no more than levels
            WITH RECURSIVE reached (id, depth) AS (
                SELECT %(entity)s::uuid, 0
                UNION
                SELECT l.to_entity, reached.depth + 1
                FROM reached CROSS JOIN LATERAL (
                    SELECT to_entity FROM links
                    WHERE from_entity = reached.id
                      AND (%(types)s::text[] IS NULL OR relationship_type = ANY(%(types)s))
                      AND valid_from <= %(at)s AND (valid_to IS NULL OR valid_to > %(at)s)
                      AND (%(bound)s::uuid IS NULL OR organisation_id = %(bound)s)
                    OFFSET 0  -- keeps it a query of its own: joined with a union, links would be read whole
                ) AS l
                WHERE reached.depth < %(max_depth)s
            ), nearest AS (
                SELECT id, min(depth) AS depth FROM reached WHERE id <> %(entity)s GROUP BY id LIMIT %(most)s + 1
            )
            SELECT n.depth, e.id, e.entity_type, e.key, e.name, e.description, e.schema_version, e.status,
                   CASE WHEN sum(octet_length(e.properties::text)) OVER () <= %(most_bytes)s THEN e.properties
                   END AS properties, o.key AS organisation, d.key AS parent, e.is_active, e.created_at, e.updated_at
            FROM nearest n JOIN entities e ON e.id = n.id JOIN entities o ON o.id = e.organisation_id
            LEFT JOIN entities d ON d.id = e.parent_id
            WHERE %(bound)s::uuid IS NULL OR e.organisation_id = %(bound)s
            ORDER BY n.depth, e.entity_type, e.key, e.id
            """,
            {
                "entity": entity_id,
                "most_bytes": MOST_PAGE_BYTES,
                "types": None if relationship_types is None else list(relationship_types),
                "at": _zoned(at, "the instant") or self._now(),
                "max_depth": max_depth,
                "most": MOST_DESCENDANTS,
                "bound": self._directory.bound_to(),
            },
        )
        if len(rows) > MOST_DESCENDANTS:
            raise InvalidError(f"More than {MOST_DESCENDANTS:,} descendants; ask for fewer types or levels.")
        if rows and rows[0]["properties"] is None:
            raise InvalidError(
                f"The descendants have over {MOST_PAGE_BYTES:,} bytes of properties; ask for fewer of them."
            )
        return [Descendant(depth=row.pop("depth"), entity=Entity(**row)) for row in rows]

    def _require(self, relationship_type: str, doing: str) -> None:
        # the role of a user stands in this relationship: whoever writes it hands out rights
        self._directory.actor.require("admin" if relationship_type == "belongs_to" else "editor", doing)

    def _now(self) -> datetime:
        # the clock and not now(), so that two moves in one transaction follow each other
        return datetime.fromisoformat(str(self._directory.rows("SELECT clock_timestamp() AS now")[0]["now"]))

    def _refuse_unfit(self, new: RelationshipCreate, begins: Entity, ends: Entity) -> None:
        known = self._directory.rows(
            "SELECT 1 FROM relationship_types WHERE name = %(name)s", {"name": new.relationship_type}
        )
        if not known:
            raise InvalidError(f"There is no relationship type {new.relationship_type!r}; add it first.")
        for end in (begins, ends):
            if not end.is_active:
                raise ConflictError(f"The {end.entity_type} {end.key} is retired; make it active again first.")
        if new.relationship_type == "belongs_to" and new.properties.get("role", "viewer") not in _ROLES:
            raise InvalidError(f"The role of a member is {', '.join(_ROLES)}, not {new.properties['role']!r}.")
        if begins.id == ends.id:
            raise InvalidError(f"A relationship connects two entities; {begins.key} cannot be both of them.")
        if not 0 <= new.strength <= 1:
            raise InvalidError(f"The strength of a relationship is from 0 to 1, not {new.strength}.")
        if new.valid_to is not None and new.valid_from is not None and new.valid_to <= new.valid_from:
            raise InvalidError("The relationship would end before it begins; valid_to must be later than valid_from.")

    def _insert(self, new: RelationshipCreate) -> Relationship:
        rows = self._directory.write(
            """
            INSERT INTO relationships (from_entity, to_entity, relationship_type, properties, strength, valid_from,
                                       valid_to, organisation_id, created_by)
            SELECT %(from_entity)s, %(to_entity)s, %(relationship_type)s, %(properties)s, %(strength)s,
                   CASE WHEN %(valid_from)s::timestamptz IS NOT NULL THEN %(valid_from)s
                        WHEN %(relationship_type)s = 'contains' AND NOT EXISTS (
                            SELECT FROM relationships r
                            WHERE r.to_entity = %(to_entity)s AND r.relationship_type = 'contains') THEN '-infinity'
                        ELSE clock_timestamp() END,
                   %(valid_to)s, e.organisation_id, %(created_by)s
            FROM entities e WHERE e.id = %(from_entity)s
            RETURNING id
            """,
            {
                "from_entity": new.from_entity,
                "to_entity": new.to_entity,
                "relationship_type": new.relationship_type,
                "properties": json.dumps(new.properties),
                "strength": new.strength,
                "valid_from": _zoned(new.valid_from, "valid_from"),
                "valid_to": _zoned(new.valid_to, "valid_to"),
                "created_by": self._directory.actor.name,
            },
        )
        return self._by_id(rows[0]["id"])

    def _by_id(self, relationship_id: int) -> Relationship:
        rows = self._directory.rows(
            """
            SELECT r.id, r.relationship_type, r.from_entity, f.entity_type AS from_type, f.key AS from_key,
                   r.to_entity, t.entity_type AS to_type, t.key AS to_key, r.properties, r.strength::float8 AS strength,
                   nullif(r.valid_from, '-infinity') AS valid_from, nullif(r.valid_to, 'infinity') AS valid_to,
                   o.key AS organisation, r.created_by, r.created_at
            FROM relationships r
            JOIN entities f ON f.id = r.from_entity
            JOIN entities t ON t.id = r.to_entity
            JOIN entities o ON o.id = r.organisation_id
            WHERE r.id = %(id)s
            """,
            {"id": relationship_id},
        )
        held = Relationship(**rows[0]) if rows else None
        if held is None or not self._directory.actor.sees(held.organisation):
            raise NotFoundError(f"There is no relationship {relationship_id}.")
        return held

    def _open_project(self, device_id: UUID) -> Relationship | None:
        rows = self._directory.rows(
            "SELECT id FROM relationships"
            " WHERE relationship_type = 'contains' AND to_entity = %(id)s AND valid_to IS NULL",
            {"id": device_id},
        )
        return self._by_id(rows[0]["id"]) if rows else None


def _zoned(at: datetime | None, called: str) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise InvalidError(f"{called} must say its time zone, such as {at.replace(tzinfo=UTC).isoformat()}.")
    return at


def _about(held: Relationship) -> dict[str, Any]:
    return held.model_dump(
        mode="json",
        include={
            "id",
            "relationship_type",
            "from_type",
            "from_key",
            "to_type",
            "to_key",
            "properties",
            "strength",
            "valid_from",
            "valid_to",
        },
    )
