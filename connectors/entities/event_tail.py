"""Following the log: every event once, as soon as it is there, none missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from uuid import UUID

from connectors.entities.events import Event

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

PAGE_EVENTS: Final = 1_000


class EventTail:
    """What was written since the last look.

    Neither ids nor times tell what is new: a transaction that began earlier may end later and bring lower ones. So a
    look remembers its snapshot, that is which transactions had ended, and the next one asks for the events of all that
    have ended since.
    """

    def __init__(self, directory: Directory) -> None:
        """Begin now: what is there already is not given."""
        self._seen = _snapshot(directory)

    def more(
        self, directory: Directory, *, entity_id: UUID | None = None, event_type: str | None = None
    ) -> Iterator[Event]:
        """Events since the last look, by transaction and id; ``event_type`` also takes a family.

        Each look takes a directory of its own, whose first statement it makes. What is not read of it is gone.
        """
        directory.actor.require("viewer", "read events")
        directory.conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        before, self._seen = self._seen, _snapshot(directory)
        written_in, last = 0, 0
        while True:
            rows = directory.rows(
                """
                SELECT v.written_in::text::bigint AS written_in, v.id, v.ts, v.event_type, v.entity_id, v.entity_type,
                       v.entity_key, o.key AS organisation, v.data, v.metadata, v.actor, v.source
                FROM events v JOIN entities o ON o.id = v.organisation_id
                WHERE v.written_in >= pg_snapshot_xmin(%(before)s::text::pg_snapshot)
                  AND NOT pg_visible_in_snapshot(v.written_in, %(before)s::text::pg_snapshot)
                  AND (v.written_in, v.id) > (%(written_in)s::text::xid8, %(last)s)
                  AND (%(organisation)s::text IS NULL OR o.key = %(organisation)s)
                  AND (%(entity_id)s::uuid IS NULL OR v.entity_id = %(entity_id)s)
                  AND (%(event_type)s::text IS NULL OR v.event_type = %(event_type)s
                       OR starts_with(v.event_type, %(event_type)s || '.'))
                ORDER BY v.written_in, v.id LIMIT %(limit)s
                """,
                {
                    "before": before,
                    "written_in": written_in,
                    "last": last,
                    "organisation": directory.actor.organisation,
                    "entity_id": entity_id,
                    "event_type": event_type,
                    "limit": PAGE_EVENTS,
                },
            )
            yield from (Event(**{name: row[name] for name in Event.model_fields}) for row in rows)
            if len(rows) < PAGE_EVENTS:
                return
            written_in, last = rows[-1]["written_in"], rows[-1]["id"]


def _snapshot(directory: Directory) -> str:
    return str(directory.rows("SELECT pg_current_snapshot()::text AS seen")[0]["seen"])
