"""Entities of any type, each named by its id: also those that only a schema of an organisation knows."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from connectors.api.property_search import Contains, Ranges, contained, ranges_of
from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.api.routes.entity_routes import IncludeInactive, Organisation, Status, made
from connectors.entities.models import Descendant, Entity, EntityCreate, EntityUpdate, Relationship
from connectors.entities.pages import Page
from connectors.entities.relationships import Direction

router = APIRouter(prefix="/entities", tags=["entities"])

Type = Annotated[str | None, Query(description="type; device also finds device.esp32")]
Parent = Annotated[str | None, Query(description="device id: only its sensors")]
At = Annotated[AwareDatetime | None, Query(description="as it was at this time; default: now")]


@router.get("")
def list_entities(
    acting: Acting,
    entity_type: Type = None,
    organisation: Organisation = None,
    parent: Parent = None,
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
            entity_type=entity_type,
            organisation=acting.organisation_of(organisation),
            parent=parent,
            status=status,
            contains=contained(contains),
            ranges=ranges_of(ranges),
            include_inactive=include_inactive,
            limit=limit,
            cursor=cursor,
        )


@router.post("", status_code=201)
def make_entity(new: EntityCreate, acting: Acting) -> Entity:
    """Make an entity of a type that has a schema."""
    if new.entity_type != "organisation":
        new = new.model_copy(update={"organisation": acting.organisation_of(new.organisation)})
    return made(acting, new)


@router.get("/{entity}")
def read_entity(entity: UUID, acting: Acting) -> Entity:
    """One, also when it is retired."""
    with acting.directory() as directory:
        return directory.entities.by_id(entity)


@router.patch("/{entity}")
def change_entity(entity: UUID, update: EntityUpdate, acting: Acting) -> Entity:
    """Change what is given."""
    with acting.directory() as directory:
        return directory.entities.update(entity, update)


@router.delete("/{entity}")
def retire_entity(entity: UUID, acting: Acting) -> Entity:
    """Retire: nothing is deleted, and its key stays taken."""
    with acting.directory() as directory:
        return directory.entities.retire(entity)


@router.get("/{entity}/relationships")
def list_relationships(
    entity: UUID,
    acting: Acting,
    relationship_type: str | None = None,
    direction: Direction = "both",
    at: At = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Relationship]:
    """What it is connected with; without ``at`` also what held once."""
    with acting.directory() as directory:
        return directory.relationships.of(
            entity, relationship_type=relationship_type, direction=direction, at=at, limit=limit, cursor=cursor
        )


@router.get("/{entity}/descendants")
def list_descendants(
    entity: UUID,
    acting: Acting,
    relationship_type: Annotated[list[str] | None, Query(description="follow only these; may be repeated")] = None,
    at: At = None,
    max_depth: Annotated[int, Query(ge=1, le=64)] = 16,
) -> list[Descendant]:
    """Everything that is reached from it over relationships, what it owns and sensors included."""
    with acting.directory() as directory:
        return directory.relationships.descendants(
            entity, relationship_types=relationship_type, at=at, max_depth=max_depth
        )
