"""The routes that organisations, projects and devices have in common: list, make, read, change, retire."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from connectors.api.property_search import Contains, Ranges, contained, ranges_of
from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.entities.models import Entity, EntityCreate, EntityUpdate
from connectors.entities.pages import Page

Organisation = Annotated[str | None, Query(description="slug; of interest to superusers, who see them all")]
Status = Annotated[str | None, Query(description="only entities of this status")]
IncludeInactive = Annotated[bool, Query(description="also what is retired")]


class NewEntity(BaseModel):
    """What a new entity of a known kind may be given; ``organisation`` defaults to the caller's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: str = ""
    description: str = ""
    properties: dict[str, Any] = {}
    status: str | None = None


def add_entity_routes(router: APIRouter, kind: str) -> None:
    """Give ``router`` the routes to entities of ``kind``, each named by its key."""

    @router.get("")
    def listed(
        acting: Acting,
        organisation: Organisation = None,
        status: Status = None,
        contains: Contains = None,
        ranges: Ranges = [],  # noqa: B006 - FastAPI copies it
        include_inactive: IncludeInactive = False,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Page[Entity]:
        """In the order in which they were made; properties can be searched."""
        with acting.directory() as directory:
            return directory.entities.list(
                entity_type=kind,
                organisation=acting.organisation_of(organisation),
                status=status,
                contains=contained(contains),
                ranges=ranges_of(ranges),
                include_inactive=include_inactive,
                limit=limit,
                cursor=cursor,
            )

    @router.get("/{key:key}")
    def read(key: str, acting: Acting) -> Entity:
        """One, also when it is retired."""
        with acting.directory() as directory:
            return directory.entities.get(kind, key)

    @router.patch("/{key:key}")
    def changed(key: str, update: EntityUpdate, acting: Acting) -> Entity:
        """Change what is given; ``properties`` replaces all of them, ``merge`` is a merge patch (RFC 7386)."""
        with acting.directory() as directory:
            return directory.entities.update(directory.entities.get(kind, key).id, update)

    @router.delete("/{key:key}")
    def retired(key: str, acting: Acting) -> Entity:
        """Retire: nothing is deleted, and its key stays taken."""
        with acting.directory() as directory:
            return directory.entities.retire(directory.entities.get(kind, key).id)


def made(acting: Acting, wanted: EntityCreate) -> Entity:
    """Make an entity in the organisation that it names, else in the caller's."""
    with acting.directory() as directory:
        return directory.entities.create(wanted)
