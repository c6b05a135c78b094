"""Devices of an import that have no sensors."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.entities.directory import Directory
from connectors.entities.errors import ConflictError, NotFoundError
from connectors.entities.models import Entity, EntityCreate, EntityUpdate


def bare_device(directory: Directory, organisation: str, project: str | None, values: Mapping[str, str]) -> bool:
    """Add or change a device as a row without a sensor says it, and say whether that changed anything.

    Raises :class:`~weir.errors.UsageError` for what the service refuses.
    """
    try:
        device = directory.entities.get("device", values["device_id"])
    except NotFoundError:
        directory.entities.create(
            EntityCreate(
                entity_type=values["device_type"],
                key=values["device_id"],
                name=values["device_name"],
                organisation=organisation,
                project=project,
            )
        )
        return True
    if device.entity_type != values["device_type"]:
        raise ConflictError(
            f"{device.key} is a {device.entity_type}; only a row with a sensor makes it something else."
        )
    update = EntityUpdate(name=values["device_name"], is_active=True)
    renamed = directory.entities.update(device.id, update) != device
    return _moved(directory, device, project) or renamed


def _moved(directory: Directory, device: Entity, project: str | None) -> bool:
    found = directory.relationships.of(device.id, relationship_type="contains", direction="to").items
    now = next((each.from_key for each in found if each.valid_to is None), None)
    if now == project:
        return False
    target = directory.entities.get("project", project).id if project is not None else None
    directory.relationships.move(device.id, target)
    return True
