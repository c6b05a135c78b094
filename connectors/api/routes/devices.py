"""Devices, and the project that each belongs to."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict

from connectors.api.request import Acting
from connectors.api.routes.entity_routes import NewEntity, add_entity_routes, made
from connectors.entities.models import Entity, EntityCreate, Relationship

router = APIRouter(prefix="/devices", tags=["devices"])


class NewDevice(NewEntity):
    """``entity_type`` is ``device`` or a subtype, such as ``device.esp32``; ``project`` holds from the beginning."""

    entity_type: str = "device"
    organisation: str | None = None
    project: str | None = None


class Move(BaseModel):
    """``project`` is a slug, null for none; readings measured from ``at`` on (default: now) belong to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str | None
    at: AwareDatetime | None = None


@router.post("", status_code=201)
def make_device(new: NewDevice, acting: Acting) -> Entity:
    """Register a device; its readings are accepted within seconds."""
    fields = new.model_dump() | {"organisation": acting.organisation_of(new.organisation)}
    return made(acting, EntityCreate(**fields))


@router.put("/{key:key}/project")
def move_device(key: str, move: Move, acting: Acting) -> Relationship | None:
    """Move a device to another project, or out of any; its old readings stay with the old one."""
    with acting.directory() as directory:
        device = directory.entities.get("device", key)
        project = directory.entities.get("project", move.project).id if move.project is not None else None
        return directory.relationships.move(device.id, project, move.at)


add_entity_routes(router, "device")
