"""The log of what happened, from the newest to the oldest."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.entities.events import Event
from connectors.entities.pages import Page

router = APIRouter(prefix="/events", tags=["events"])


@router.get("")
def list_events(
    acting: Acting,
    entity: UUID | None = None,
    event_type: Annotated[str | None, Query(description="a type, or a family such as device")] = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Event]:
    """Events of the caller's organisation."""
    with acting.directory() as directory:
        return directory.events.list(
            entity_id=entity, event_type=event_type, since=since, until=until, limit=limit, cursor=cursor
        )
