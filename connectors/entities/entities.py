"""Everything with an identity: made, found, changed and retired, each change with its event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from connectors.entities import entity_search as search
from connectors.entities.actor import Role
from connectors.entities.changes import changed, merged, parts_changed, told
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.guarded_properties import require_guards
from connectors.entities.hardware import sensors_of
from connectors.entities.models import Entity, EntityCreate, EntityUpdate, PropertyRange, RelationshipCreate
from connectors.entities.pages import Page
from connectors.entities.schemas import Fields, checked_type
from connectors.entities.tenancy import Place, organisation_named
from connectors.entities.values import checked_email, checked_key, checked_properties, checked_text, same_json

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

_MAKES: Final[dict[str, Role]] = {"organisation": "superuser", "user": "admin"}
_CHANGES: Final[dict[str, Role]] = {"organisation": "admin", "user": "admin"}
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SETTINGS: Final = {"organisation": "settings", "project": "settings", "device": "config", "equipment": "config"}


class Entities:
    """The entities that the actor of a directory may see."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory

    def create(self, entity: EntityCreate) -> Entity:
        """Make an entity, with its ``created`` event.

        Of a device, ``project`` and the sensors in ``hardware.sensors`` that name a metric are made with it. Raises
        :class:`InvalidError` for what fits no schema and :class:`ConflictError` for a key that is taken.
        """
        kind = checked_type(entity.entity_type)
        self._directory.actor.require(_MAKES.get(kind, "editor"), f"make entities of type {entity.entity_type}")
        _checked(kind, entity)
        self._directory.lock()  # from here on nobody else takes the key
        device = self._device(entity) if kind == "sensor" else None
        place = self._place(entity, device)
        self._refuse_taken(kind, entity, place)
        slug = entity.key if kind == "organisation" else place.organisation if place else None
        given = Fields(entity.name, entity.status, dict(entity.properties))
        version, held = self._directory.schemas.fit(entity.entity_type, slug, given)
        self._refuse_bad_sensor(kind, held.properties)
        require_guards(self._directory.actor, kind, {}, held.properties)
        made = self._insert(entity, held, version, place, device)
        self._directory.events.record(f"{kind}.created", made.id, told(_created(made)))
        if kind in search.SENDS_READINGS:
            self._furnish(made, entity.project)
        return made

    def get(self, kind: str, key: str, parent: str | None = None, *, organisation: str | None = None) -> Entity:
        """The entity of this kind and key; ``parent`` is the device of a sensor.

        Devices and equipment share their keys, and either kind finds both. Other types have keys of their own in each
        organisation. Raises :class:`NotFoundError`.
        """
        self._directory.actor.require("viewer", "read entities")
        found = [each for each in self._named(kind, key, parent, organisation) if self._sees(each, organisation)]
        if not found:
            within = f" in {parent}" if parent else ""
            raise NotFoundError(f"There is no {kind} {key!r}{within}.")
        if len(found) > 1:
            raise ConflictError(f"Several organisations have a {kind} {key!r}; say which organisation.")
        return found[0]

    def by_id(self, entity_id: UUID) -> Entity:
        """The entity of this id; raises :class:`NotFoundError`."""
        self._directory.actor.require("viewer", "read entities")
        for found in search.by_id(self._directory, entity_id):
            if self._sees(found):
                return found
        raise NotFoundError(f"There is no entity {entity_id}.")

    def update(self, entity_id: UUID, update: EntityUpdate) -> Entity:
        """Change an entity, with events that say what was and what is; what changes nothing writes nothing.

        The result must fit the newest version of its schema. Raises :class:`InvalidError` when it does not.
        """
        self._directory.actor.require("editor", "change entities")
        self._directory.lock()  # what is read from here on stays as it is until this is written
        before = self.by_id(entity_id)
        kind = before.entity_type.split(".")[0]
        self._directory.actor.require(_CHANGES.get(kind, "editor"), f"change entities of type {before.entity_type}")
        after = self._changed(before, update)
        if _same(after, before):
            return before
        self._refuse_bad_sensor(kind, after.properties)
        require_guards(self._directory.actor, kind, before.properties, after.properties)
        written = self._write(after)
        self._tell(kind, before, written)
        return written

    def retire(self, entity_id: UUID) -> Entity:
        """Mark an entity as no longer there; its history, events and key stay. Again changes nothing."""
        return self.update(entity_id, EntityUpdate(is_active=False))

    def list(
        self,
        *,
        entity_type: str | None = None,
        organisation: str | None = None,
        parent: str | None = None,
        status: str | None = None,
        contains: Mapping[str, Any] | None = None,
        ranges: Sequence[PropertyRange] = (),
        include_inactive: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Entity]:
        """Entities in the order in which they were made; a type also gives its subtypes, no type all but sensors.

        ``contains`` finds properties that hold this, at any depth; each of ``ranges`` a number within bounds.
        """
        self._directory.actor.require("viewer", "read entities")
        slug = organisation or self._directory.actor.organisation
        tenant = self._directory.organisation_id(slug) if slug else None
        if slug and tenant is None:
            raise NotFoundError(f"There is no organisation {slug!r}.")
        device = self.get("device", parent, organisation=slug).id if parent else None
        asked = search.Search(entity_type, tenant, device, status, contains, ranges, include_inactive)
        return search.page(self._directory, asked, limit, cursor)

    def _sees(self, entity: Entity, organisation: str | None = None) -> bool:
        return self._directory.actor.sees(entity.organisation) and organisation in (None, entity.organisation)

    def _named(self, kind: str, key: str, parent: str | None, organisation: str | None) -> Sequence[Entity]:
        if kind == "sensor":
            return search.sensor_of(self._directory, parent or "", key)
        if kind in search.SENDS_READINGS:
            return search.device_of(self._directory, key)
        if kind in search.NAMED_EVERYWHERE:
            return search.named_everywhere(self._directory, kind, key)
        slug = organisation or self._directory.actor.organisation
        tenant = self._directory.organisation_id(slug) if slug else None
        return [] if slug and tenant is None else search.named_in_organisation(self._directory, kind, key, tenant)

    def _device(self, sensor: EntityCreate) -> Entity:
        if sensor.parent is None:
            raise InvalidError(f"The sensor {sensor.key} needs the device it belongs to as its parent.")
        device = self.get("device", sensor.parent, organisation=sensor.organisation)
        if not device.is_active:
            raise ConflictError(f"The device {device.key} is retired; make it active again first.")
        return device

    def _place(self, entity: EntityCreate, device: Entity | None) -> Place | None:
        if entity.entity_type == "organisation":
            return None
        return organisation_named(self._directory, device.organisation if device else entity.organisation)

    def _refuse_taken(self, kind: str, entity: EntityCreate, place: Place | None) -> None:
        slug = place.organisation if place and kind not in (*search.NAMED_EVERYWHERE, *search.SENDS_READINGS) else None
        for taken in self._named(kind, entity.key, entity.parent, slug):
            called = f"The {taken.entity_type if self._sees(taken) else kind} {entity.key!r} exists"
            if self._sees(taken) and not taken.is_active:
                raise ConflictError(f"{called} and is retired; set is_active to true to bring it back.")
            raise ConflictError(f"{called} already; choose another key or change that one.")

    def _refuse_bad_sensor(self, kind: str, properties: Mapping[str, Any]) -> None:
        if kind != "sensor":
            return
        known = self._directory.rows("SELECT 1 FROM metrics WHERE name = %(name)s", {"name": properties["metric"]})
        if not known:
            raise InvalidError(f"There is no metric {properties['metric']!r}; define it first (weir metrics add).")
        low, high = properties.get("min_value"), properties.get("max_value")
        if low is not None and high is not None and low > high:
            raise InvalidError(f"min_value {low} of the sensor is above max_value {high}.")

    def _insert(
        self, entity: EntityCreate, held: Fields, version: int | None, place: Place | None, device: Entity | None
    ) -> Entity:
        rows = self._directory.write(
            """
            WITH new (id) AS (SELECT gen_random_uuid())
            INSERT INTO entities (id, entity_type, key, name, description, properties, schema_version, status,
                                  organisation_id, parent_id, created_at, updated_at)
            SELECT id, %(entity_type)s, %(key)s, %(name)s, %(description)s, %(properties)s, %(version)s, %(status)s,
                   coalesce(%(organisation_id)s::uuid, id), %(parent_id)s, made, made
            FROM new CROSS JOIN clock_timestamp() AS made
            RETURNING id
            """,
            {
                "entity_type": entity.entity_type,
                "key": entity.key,
                "name": held.name,
                "description": entity.description,
                "properties": json.dumps(held.properties),
                "version": version,
                "status": held.status or "active",
                "organisation_id": place.organisation_id if place else None,
                "parent_id": device.id if device else None,
            },
        )
        return search.by_id(self._directory, rows[0]["id"])[0]

    def _furnish(self, device: Entity, project: str | None) -> None:
        """Put a new device into its project, and make the sensors that its hardware names."""
        if project is not None:
            inside = self.get("project", project, organisation=device.organisation)
            self._directory.relationships.connect(
                RelationshipCreate(relationship_type="contains", from_entity=inside.id, to_entity=device.id)
            )
        for sensor in sensors_of(device.key, device.organisation, device.properties):
            self.create(sensor)

    def _changed(self, before: Entity, update: EntityUpdate) -> Entity:
        """What the entity would be; only what an update gives beside ``is_active`` has to fit the schema."""
        given = update.model_dump(exclude_none=True)
        active = given.pop("is_active", before.is_active)
        if not given:
            return before.model_copy(update={"is_active": active})
        patch, replaced = given.pop("merge", {}), given.pop("properties", before.properties)
        for name in ("name", "description"):
            checked_text(given.get(name, ""), f"the {name}")
        checked_properties(patch)
        wanted = Fields(given.get("name", before.name), given.get("status", before.status), merged(replaced, patch))
        checked_properties(wanted.properties)
        was = Fields(before.name, before.status, before.properties)
        version, held = self._directory.schemas.fit(before.entity_type, before.organisation, wanted, was)
        told_too = {"description": given.get("description", before.description), "is_active": active}
        after = before.model_copy(
            update={"name": held.name, "status": held.status, "properties": held.properties, **told_too}
        )
        if _same(after, before):
            return after
        return after.model_copy(update={"schema_version": version or before.schema_version})

    def _write(self, after: Entity) -> Entity:
        self._directory.write(
            """
            UPDATE entities
            SET name = %(name)s, description = %(description)s, properties = %(properties)s, status = %(status)s,
                is_active = %(is_active)s, schema_version = %(schema_version)s, updated_at = clock_timestamp()
            WHERE id = %(id)s RETURNING id
            """,
            {
                **after.model_dump(include={"id", "name", "description", "status", "is_active", "schema_version"}),
                "properties": json.dumps(after.properties),
            },
        )
        return search.by_id(self._directory, after.id)[0]

    def _tell(self, kind: str, before: Entity, after: Entity) -> None:
        """One event for each kind of change, with the old and the new."""
        record = self._directory.events.record
        if before.status != after.status:
            record(f"{kind}.status_changed", after.id, {"old": before.status, "new": after.status})
        if before.is_active and not after.is_active:
            record(f"{kind}.deleted", after.id, {})
        fields = {"name", "description", *(set() if not after.is_active else {"is_active"})}
        data = changed(before.model_dump(include=fields), after.model_dump(include=fields))
        if not same_json(before.properties, after.properties):
            data["properties"] = parts_changed(before.properties, after.properties)
        if data:
            record(f"{kind}.updated", after.id, told(data))
        part = _SETTINGS.get(kind)
        if part is not None and not same_json(before.properties.get(part), after.properties.get(part)):
            settings = {"old": before.properties.get(part), "new": after.properties.get(part)}
            record("settings.changed", after.id, told({"part": part, **settings}))


def _same(one: Entity, other: Entity) -> bool:
    return one == other and same_json(one.properties, other.properties)


def _checked(kind: str, entity: EntityCreate) -> None:
    checked_key(entity.key, kind)
    checked_text(entity.name, "the name")
    checked_text(entity.description, "the description")
    checked_properties(entity.properties)
    if kind in ("organisation", "project") and not _SLUG.fullmatch(entity.key):
        raise InvalidError(
            f"{entity.key!r} is no key of {kind}s: at most 63 of a-z, 0-9, dot, dash and underscore, and it begins "
            "with a letter or digit."
        )
    if kind == "user" and checked_email(entity.key) != entity.key:
        raise InvalidError(f"{entity.key!r} is no key of users: an e-mail address in lower case.")
    if entity.parent is not None and kind != "sensor":
        raise InvalidError(f"Only sensors have a parent; connect the {kind} {entity.key} by a relationship instead.")
    if entity.project is not None and kind not in search.SENDS_READINGS:
        raise InvalidError(f"Only devices are made in a project; connect the {kind} {entity.key} by a relationship.")
    if kind == "organisation" and entity.organisation not in (None, entity.key):
        raise InvalidError(f"The organisation {entity.key} belongs to itself; leave its organisation out.")


def _created(made: Entity) -> dict[str, Any]:
    about = {"name": made.name, "status": made.status, "properties": made.properties}
    return {name: value for name, value in about.items() if value} | ({"parent": made.parent} if made.parent else {})
