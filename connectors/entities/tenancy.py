"""Which organisation something is done in, and which device it is done to; what an actor does not see is not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.models import EntityCreate

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

SHARED_BY: Final = "weir"
"""Organisation whose log tells what a superuser does to things that no organisation owns, such as metrics."""


@dataclass(frozen=True, slots=True)
class Place:
    """One entity that something belongs to: an organisation or a device, with the slug of its organisation."""

    id: UUID
    key: str
    organisation: str
    organisation_id: UUID


def organisation_named(directory: Directory, slug: str | None) -> Place:
    """The active organisation of this slug; None is the actor's own, and a superuser has to name one."""
    wanted = slug or directory.actor.organisation
    if wanted is None:
        raise InvalidError("Say which organisation: a superuser belongs to none.")
    rows = directory.rows(
        "SELECT id, is_active FROM entities WHERE entity_type = 'organisation' AND kind = 'organisation'"
        " AND key = %(key)s",
        {"key": wanted},
    )
    if not rows or not directory.actor.sees(wanted):
        raise NotFoundError(f"There is no organisation {wanted!r}.")
    if not rows[0]["is_active"]:
        raise ConflictError(f"Organisation {wanted} is retired; make it active again first.")
    return Place(rows[0]["id"], wanted, wanted, rows[0]["id"])


def acting_organisation(directory: Directory) -> UUID:
    """The organisation whose log tells what the actor does to things that everybody shares.

    That is the actor's own. A superuser has none: the organisation ``weir`` stands for the installation, and is made
    when it is first needed.
    """
    slug = directory.actor.organisation
    if slug is not None:
        return organisation_named(directory, slug).id
    found = directory.organisation_id(SHARED_BY)
    if found is not None:
        return found
    made = directory.entities.create(
        EntityCreate(
            entity_type="organisation",
            key=SHARED_BY,
            name="Weir",
            description="This installation of Weir: its log tells what happened to what all organisations share.",
        )
    )
    return made.id


def device_named(directory: Directory, key: str, *, active: bool = False) -> Place:
    """The device of this id; with ``active``, a retired one is refused. A device key sees its own device only."""
    rows = directory.rows(
        """
        SELECT d.id, d.is_active, d.organisation_id, o.key AS organisation
        FROM entities d JOIN entities o ON o.id = d.organisation_id
        WHERE d.kind IN ('device', 'equipment') AND d.key = %(key)s
        """,
        {"key": key},
    )
    if not rows or not sees_device(directory, rows[0]["organisation"], rows[0]["id"]):
        raise NotFoundError(f"There is no device {key!r}.")
    if active and not rows[0]["is_active"]:
        raise ConflictError(f"Device {key} is retired; make it active again first.")
    return Place(rows[0]["id"], key, rows[0]["organisation"], rows[0]["organisation_id"])


def sees_device(directory: Directory, organisation: str, device: UUID) -> bool:
    """Whether a device is for this actor at all."""
    actor = directory.actor
    return actor.sees(organisation) and actor.device in (None, device)
