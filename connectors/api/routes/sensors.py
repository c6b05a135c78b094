"""Sensors of a device: each says which metric it measures."""

from __future__ import annotations

from fastapi import APIRouter

from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.api.routes.entity_routes import IncludeInactive, NewEntity
from connectors.entities.models import Entity, EntityCreate, EntityUpdate
from connectors.entities.pages import Page

router = APIRouter(prefix="/devices/{device:key}/sensors", tags=["sensors"])


@router.get("")
def list_sensors(
    device: str,
    acting: Acting,
    include_inactive: IncludeInactive = False,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Entity]:
    """The sensors of a device."""
    with acting.directory() as directory:
        directory.entities.get("device", device)
        return directory.entities.list(
            entity_type="sensor", parent=device, include_inactive=include_inactive, limit=limit, cursor=cursor
        )


@router.post("", status_code=201)
def make_sensor(device: str, new: NewEntity, acting: Acting) -> Entity:
    """Add a sensor; ``properties`` names its ``metric``, and may hold ``unit``, bounds and ``alert``."""
    with acting.directory() as directory:
        owner = directory.entities.get("device", device)
        return directory.entities.create(
            EntityCreate(entity_type="sensor", parent=device, organisation=owner.organisation, **new.model_dump())
        )


@router.get("/{sensor:key}")
def read_sensor(device: str, sensor: str, acting: Acting) -> Entity:
    """One sensor, also when it is retired."""
    with acting.directory() as directory:
        return directory.entities.get("sensor", sensor, parent=device)


@router.patch("/{sensor:key}")
def change_sensor(device: str, sensor: str, update: EntityUpdate, acting: Acting) -> Entity:
    """Change what is given."""
    with acting.directory() as directory:
        return directory.entities.update(directory.entities.get("sensor", sensor, parent=device).id, update)


@router.delete("/{sensor:key}")
def retire_sensor(device: str, sensor: str, acting: Acting) -> Entity:
    """Retire a sensor; its readings are refused from then on."""
    with acting.directory() as directory:
        return directory.entities.retire(directory.entities.get("sensor", sensor, parent=device).id)
