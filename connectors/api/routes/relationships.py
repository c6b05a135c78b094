"""Relationships between entities, valid in time."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict

from connectors.api.request import Acting
from connectors.entities.models import Relationship, RelationshipCreate

router = APIRouter(prefix="/relationships", tags=["relationships"])


class End(BaseModel):
    """``at`` is the first instant at which it holds no longer; default: now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime | None = None


@router.post("", status_code=201)
def connect(new: RelationshipCreate, acting: Acting) -> Relationship:
    """Connect two entities."""
    with acting.directory() as directory:
        return directory.relationships.connect(new)


@router.post("/{relationship}/end")
def end(relationship: int, wanted: End, acting: Acting) -> Relationship:
    """End a relationship; what held before still held."""
    with acting.directory() as directory:
        return directory.relationships.end(relationship, wanted.at)
