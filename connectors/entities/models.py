"""What goes into the service of entities and what comes out, as typed records."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class _Given(BaseModel):
    """What callers hand in: a field that no record has is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Told(BaseModel):
    """What the service answers."""

    model_config = ConfigDict(frozen=True)


class Entity(_Told):
    """One entity; ``organisation`` is a slug, ``parent`` the device of a sensor, ``schema_version`` what it fitted."""

    id: UUID
    entity_type: str
    key: str
    name: str
    description: str
    properties: dict[str, Any]
    schema_version: int | None
    status: str
    organisation: str
    parent: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


class EntityCreate(_Given):
    """A new entity. ``organisation`` may be left out by an actor that is bound to one, and by an organisation.

    ``parent`` is the device of a sensor; ``project`` puts a device into a project from the beginning of time.
    """

    entity_type: str
    key: str
    name: str = ""
    description: str = ""
    properties: dict[str, Any] = {}
    status: str | None = None
    organisation: str | None = None
    parent: str | None = None
    project: str | None = None


class EntityUpdate(_Given):
    """What changes; None leaves as it is. ``properties`` replaces them all, ``merge`` is a merge patch (RFC 7386)."""

    name: str | None = None
    description: str | None = None
    properties: dict[str, Any] | None = None
    merge: dict[str, Any] | None = None
    status: str | None = None
    is_active: bool | None = None


class PropertyRange(_Given):
    """Entities whose number at ``path`` (parts joined by dots) lies within the bounds, both included."""

    path: str
    min: float | None = None
    max: float | None = None


class Relationship(_Told):
    """One relationship; ``valid_from`` None: it always held, ``valid_to`` None: it still does."""

    id: int
    relationship_type: str
    from_entity: UUID
    from_type: str
    from_key: str
    to_entity: UUID
    to_type: str
    to_key: str
    properties: dict[str, Any]
    strength: float
    valid_from: datetime | None
    valid_to: datetime | None
    organisation: str
    created_by: str
    created_at: datetime


class RelationshipCreate(_Given):
    """A new relationship. ``valid_from`` None: from now on, but the first ``contains`` of a device always held."""

    relationship_type: str
    from_entity: UUID
    to_entity: UUID
    properties: dict[str, Any] = {}
    strength: Decimal = Decimal(1)
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class Descendant(_Told):
    """An entity that is reached over links, and over how many at least."""

    entity: Entity
    depth: int


class Schema(_Told):
    """One version of a definition; ``organisation`` None: every organisation may use it."""

    id: int
    entity_type: str
    version: int
    organisation: str | None
    definition: dict[str, Any]
    description: str
    valid_from: datetime
    valid_to: datetime | None
    created_by: str


class SchemaCreate(_Given):
    """A new version of a type. ``organisation`` None: of the actor's own, or shared when a superuser adds it."""

    entity_type: str
    definition: dict[str, Any]
    description: str = ""
    organisation: str | None = None
