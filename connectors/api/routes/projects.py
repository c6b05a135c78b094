"""Projects of an organisation."""

from __future__ import annotations

from fastapi import APIRouter

from connectors.api.request import Acting
from connectors.api.routes.entity_routes import NewEntity, add_entity_routes, made
from connectors.entities.models import Entity, EntityCreate

router = APIRouter(prefix="/projects", tags=["projects"])


class NewProject(NewEntity):
    """``organisation`` is a slug; the caller's own by default."""

    organisation: str | None = None


@router.post("", status_code=201)
def make_project(new: NewProject, acting: Acting) -> Entity:
    """Begin a project."""
    fields = new.model_dump() | {"organisation": acting.organisation_of(new.organisation)}
    return made(acting, EntityCreate(entity_type="project", **fields))


add_entity_routes(router, "project")
