"""The log of what happened: written in the transaction in which it happens, never changed."""

from __future__ import annotations

import json
import socket
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from connectors.entities.errors import NotFoundError
from connectors.entities.pages import MOST_ITEMS, Page, page_of, position_of

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

SOURCE: Final = f"weir@{socket.gethostname()}"


class Event(BaseModel):
    """One thing that happened; ``entity_key`` is what the entity is called, ``organisation`` the slug of its tenant."""

    model_config = ConfigDict(frozen=True)

    id: int
    ts: datetime
    event_type: str
    entity_id: UUID
    entity_type: str
    entity_key: str
    organisation: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    actor: str
    source: str


class Events:
    """The events that the actor of a directory may see, and writing new ones."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def record(
        self,
        event_type: str,
        entity_id: UUID,
        data: dict[str, Any] | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        once: str | None = None,
    ) -> int | None:
        """Write one event about an entity and give its id; None when it was written before under the same ``once``."""
        written = self._directory.write(
            """
            INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, metadata, actor,
                                source, once)
            SELECT %(event_type)s, e.id, e.entity_type, e.key, e.organisation_id, %(data)s, %(metadata)s, %(actor)s,
                   %(source)s, %(once)s
            FROM entities e WHERE e.id = %(entity_id)s
            ON CONFLICT (once) DO NOTHING
            RETURNING id
            """,
            {
                "event_type": event_type,
                "entity_id": entity_id,
                "data": json.dumps(data or {}, default=str),
                "metadata": json.dumps(metadata or {}, default=str),
                "actor": self._directory.actor.name,
                "source": SOURCE,
                "once": once,
            },
        )
        if not written and once is None:
            raise NotFoundError(f"There is no entity {entity_id}.")
        return int(written[0]["id"]) if written else None

    def list(
        self,
        *,
        entity_id: UUID | None = None,
        event_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[Event]:
        """Events from the newest to the oldest; ``event_type`` also takes a family, such as ``device``."""
        self._directory.actor.require("viewer", "read events")
        rows = self._directory.rows(
            """
            SELECT v.id, v.ts, v.event_type, v.entity_id, v.entity_type, v.entity_key, o.key AS organisation, v.data,
                   v.metadata, v.actor, v.source
            FROM events v JOIN entities o ON o.id = v.organisation_id
            WHERE (%(organisation)s::uuid IS NULL OR v.organisation_id = %(organisation)s)
              AND (%(entity_id)s::uuid IS NULL OR v.entity_id = %(entity_id)s)
              AND (%(event_type)s::text IS NULL OR v.event_type = %(event_type)s
                   OR starts_with(v.event_type, %(event_type)s || '.'))
              AND (%(since)s::timestamptz IS NULL OR v.ts >= %(since)s)
              AND (%(until)s::timestamptz IS NULL OR v.ts < %(until)s)
              AND (%(before)s::bigint IS NULL OR v.id < %(before)s)
            ORDER BY v.id DESC LIMIT %(limit)s + 1
            """,
            {
                "organisation": self._directory.bound_to(),
                "entity_id": entity_id,
                "event_type": event_type,
                "since": since,
                "until": until,
                "before": position_of(cursor, int)[0] if cursor else None,
                "limit": limit,
            },
        )
        return page_of([Event(**row) for row in rows], limit, lambda event: (event.id,))
