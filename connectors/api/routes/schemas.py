"""Schemas: what entities of a type must and may have, in versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.api.routes.entity_routes import Organisation
from connectors.entities.models import Schema, SchemaCreate
from connectors.entities.pages import Page

router = APIRouter(prefix="/schemas", tags=["schemas"])

Version = Annotated[int | None, Query(ge=1, description="default: the newest")]


class Candidate(BaseModel):
    """Properties that are to be held against a schema; nothing is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: dict[str, Any]
    version: int | None = None


class Checked(BaseModel):
    """The fields with the defaults of the schema."""

    fields: dict[str, Any]


@router.get("")
def list_schemas(
    acting: Acting,
    entity_type: str | None = None,
    organisation: Organisation = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Schema]:
    """Every version: shared ones, and those of the organisation."""
    with acting.directory() as directory:
        return directory.schemas.list(
            entity_type=entity_type, organisation=acting.organisation_of(organisation), limit=limit, cursor=cursor
        )


@router.post("", status_code=201)
def add_schema(new: SchemaCreate, acting: Acting) -> Schema:
    """Add a version; one that would refuse what the last one accepted is refused."""
    with acting.directory() as directory:
        return directory.schemas.add(new.model_copy(update={"organisation": acting.organisation_of(new.organisation)}))


@router.get("/{entity_type:key}")
def read_schema(entity_type: str, acting: Acting, version: Version = None, organisation: Organisation = None) -> Schema:
    """One version, as the organisation sees it."""
    with acting.directory() as directory:
        return directory.schemas.get(entity_type, version, organisation=acting.organisation_of(organisation))


@router.post("/{entity_type:key}/check")
def check_fields(entity_type: str, candidate: Candidate, acting: Acting, organisation: Organisation = None) -> Checked:
    """Say what an entity with these properties would have, or what is wrong with them."""
    with acting.directory() as directory:
        fields = directory.schemas.check(
            entity_type, candidate.fields, candidate.version, organisation=acting.organisation_of(organisation)
        )
    return Checked(fields=fields)
