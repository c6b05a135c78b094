"""Definitions of entity types, in versions that live side by side; each accepts what the one before accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg.rows import dict_row

from connectors.entities.definition import parse
from connectors.entities.errors import ConflictError, InvalidError, NotFoundError
from connectors.entities.evolution import breaks, newly_described
from connectors.entities.field import Field
from connectors.entities.fitting import filled, problems
from connectors.entities.models import Schema, SchemaCreate
from connectors.entities.pages import MOST_ITEMS, Page, page_of, position_of
from connectors.entities.tenancy import acting_organisation

if TYPE_CHECKING:
    from connectors.entities.directory import Directory

_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
WITHOUT_SUBTYPES: Final = frozenset({"organisation", "project", "user", "sensor"})
"""Kinds that rules of the database name exactly, so that a subtype would escape them."""

COLUMNS: Final = ("name", "status")
"""Fields of a definition at its top that mean columns of the entity, not properties."""


_STATUS: Final = re.compile(r"[a-z][a-z0-9_]{0,49}")


@dataclass(frozen=True, slots=True)
class Fields:
    """What a schema has a say in: properties of an entity, and its name and status where the definition has them."""

    name: str
    status: str | None
    properties: dict[str, Any]


def checked_type(entity_type: str) -> str:
    """The kind of a type; raises :class:`InvalidError` for what is no name of a type."""
    if not _TYPE.fullmatch(entity_type) or len(entity_type) > 100:
        raise InvalidError(
            f"{entity_type!r} is no entity type; write lower case words joined by dots, such as device.esp32."
        )
    kind, _, rest = entity_type.partition(".")
    if rest and kind in WITHOUT_SUBTYPES:
        raise InvalidError(f"{entity_type}: {kind} has no subtypes; use properties to tell them apart.")
    return kind


class Schemas:
    """The definitions that the actor of a directory may use."""

    def __init__(self, directory: Directory) -> None:
        """Work in the transaction of ``directory``."""
        self._directory = directory
        self._applying: dict[tuple[str, str | None], Schema] = {}
        self._parsed: dict[int, Field] = {}

    def get(self, entity_type: str, version: int | None = None, *, organisation: str | None = None) -> Schema:
        """A version of exactly this type, the newest by default, as the organisation (default: the actor's) sees it."""
        found = self._find(entity_type, version, organisation or self._directory.actor.organisation)
        if found is None:
            asked = entity_type if version is None else f"{entity_type} version {version}"
            raise NotFoundError(f"There is no schema of {asked}.")
        return found

    def applying(self, entity_type: str, organisation: str | None = None) -> Schema:
        """The newest version that entities of a type must fit: the type's own, or that of the type it is a subtype of.

        Raises :class:`InvalidError` when neither the type nor what it is a subtype of has a schema.
        """
        organisation = organisation or self._directory.actor.organisation
        if (entity_type, organisation) not in self._applying:
            self._applying[entity_type, organisation] = self._nearest(entity_type, organisation)
        return self._applying[entity_type, organisation]

    def check(
        self,
        entity_type: str,
        fields: Mapping[str, Any],
        version: int | None = None,
        *,
        organisation: str | None = None,
    ) -> dict[str, Any]:
        """The fields with defaults filled in; raises :class:`InvalidError` that names everything that does not fit."""
        if version is None:
            schema = self.applying(entity_type, organisation)
        else:
            schema = self.get(entity_type, version, organisation=organisation)
        return self.fitted(schema, fields)

    def fitted(self, schema: Schema, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same against a schema at hand."""
        field = self._field(schema)
        _refuse(schema, list(problems(field, fields)))
        return filled(field, fields)

    def fit(
        self, entity_type: str, organisation: str | None, entity: Fields, was: Fields | None = None
    ) -> tuple[int | None, Fields]:
        """What an entity of a type holds, checked and with defaults, and the version that it fits.

        What did not fit already, as it ``was``, is no reason to refuse: a bulk registration knows less than a schema
        may ask for, and its devices can be changed all the same. They fit no version then.
        """
        schema = self.applying(entity_type, organisation)
        field = self._field(schema)
        wrong = list(problems(field, _with_columns(field, entity, entity_type)))
        known = set(problems(field, _with_columns(field, was, entity_type))) if was is not None and wrong else set()
        _refuse(schema, [each for each in wrong if each not in known])
        properties = filled(field, _with_columns(field, entity, entity_type))
        held = {name: properties.pop(name, None) or getattr(entity, name) for name in _columns(field)}
        result = replace(entity, properties=properties, **held)
        if result.status is not None and not _STATUS.fullmatch(result.status):
            raise InvalidError(f"{result.status!r} is no status; write at most 50 of a-z, 0-9 and _.")
        return None if wrong else schema.version, result

    def add(self, schema: SchemaCreate) -> Schema:
        """Add the next version of a type.

        Raises :class:`InvalidError` for a definition that makes no sense, :class:`ConflictError` for one that refuses
        what the version before accepted, or what is stored.
        """
        actor = self._directory.actor
        organisation = schema.organisation or actor.organisation
        actor.require("admin", "add schemas")
        tenant = self._directory.organisation_id(organisation) if organisation else None
        if organisation and tenant is None:
            raise NotFoundError(f"There is no organisation {organisation}.")
        checked_type(schema.entity_type)
        field = parse(schema.definition)
        _refuse_odd_columns(field)
        self._directory.lock()  # from here on nobody else adds schemas or entities
        before = self._find(schema.entity_type, None, organisation)
        open_places = ["$"]
        if before is not None:
            _refuse_breaks(before, self._field(before), field)
            open_places = list(newly_described(self._field(before), field))
        self._refuse_what_is_stored(schema.entity_type, tenant, open_places, field)
        version = 1 if before is None else before.version + 1
        added = self._insert(schema, tenant, version)
        self._applying.clear()
        about = {"type": added.entity_type, "version": version, "definition": added.definition}
        self._directory.events.record("schema.added", tenant or acting_organisation(self._directory), about)
        return added

    def list(
        self,
        *,
        entity_type: str | None = None,
        organisation: str | None = None,
        limit: int = MOST_ITEMS,
        cursor: str | None = None,
    ) -> Page[Schema]:
        """Schemas in the order in which they were added: shared ones and the organisation's own."""
        self._directory.actor.require("viewer", "read schemas")
        rows = self._directory.rows(
            """
            SELECT s.id, s.entity_type, s.version, o.key AS organisation, s.definition, s.description, s.valid_from,
                   s.valid_to, s.created_by
            FROM schemas s LEFT JOIN entities o ON o.id = s.organisation_id
            WHERE (%(entity_type)s::text IS NULL OR s.entity_type = %(entity_type)s)
              AND (s.organisation_id IS NULL OR %(bound)s::text IS NULL OR o.key = %(bound)s)
              AND (s.organisation_id IS NULL OR %(organisation)s::text IS NULL OR o.key = %(organisation)s)
              AND (%(after)s::bigint IS NULL OR s.id > %(after)s)
            ORDER BY s.id LIMIT %(limit)s + 1
            """,
            {
                "entity_type": entity_type,
                "bound": self._directory.actor.organisation,
                "organisation": organisation,
                "after": position_of(cursor, int)[0] if cursor else None,
                "limit": limit,
            },
        )
        return page_of([Schema(**row) for row in rows], limit, lambda schema: (schema.id,))

    def _find(self, entity_type: str, version: int | None, organisation: str | None) -> Schema | None:
        return self._newest([entity_type], version, organisation)

    def _nearest(self, entity_type: str, organisation: str | None) -> Schema:
        checked_type(entity_type)
        parts = entity_type.split(".")
        found = self._newest([".".join(parts[:count]) for count in range(len(parts), 0, -1)], None, organisation)
        if found is None:
            raise InvalidError(f"Unknown type {entity_type}: no schema describes it; add one (weir schemas add).")
        return found

    def _newest(self, entity_types: Sequence[str], version: int | None, organisation: str | None) -> Schema | None:
        rows = self._directory.rows(
            """
            SELECT s.id, s.entity_type, s.version, o.key AS organisation, s.definition, s.description, s.valid_from,
                   s.valid_to, s.created_by
            FROM schemas s LEFT JOIN entities o ON o.id = s.organisation_id
            WHERE s.entity_type = ANY(%(entity_types)s) AND (s.organisation_id IS NULL OR o.key = %(organisation)s)
              AND (s.version = %(version)s
                   OR (%(version)s::integer IS NULL AND s.valid_from <= now()
                       AND (s.valid_to IS NULL OR s.valid_to > now())))
            ORDER BY length(s.entity_type) DESC, s.organisation_id IS NULL, s.version DESC LIMIT 1
            """,
            {"entity_types": list(entity_types), "organisation": organisation, "version": version},
        )
        return Schema(**rows[0]) if rows else None

    def _field(self, schema: Schema) -> Field:
        if schema.id not in self._parsed:
            self._parsed[schema.id] = parse(schema.definition)
        return self._parsed[schema.id]

    def _insert(self, schema: SchemaCreate, tenant: UUID | None, version: int) -> Schema:
        rows = self._directory.write(
            """
            INSERT INTO schemas (organisation_id, entity_type, version, definition, description, created_by)
            VALUES (%(organisation_id)s, %(entity_type)s, %(version)s, %(definition)s, %(description)s, %(created_by)s)
            RETURNING id, entity_type, version, definition, description, valid_from, valid_to, created_by,
                      (SELECT key FROM entities WHERE id = %(organisation_id)s) AS organisation
            """,
            {
                "organisation_id": tenant,
                "entity_type": schema.entity_type,
                "version": version,
                "definition": json.dumps(schema.definition),
                "description": schema.description,
                "created_by": self._directory.actor.name,
            },
        )
        return Schema(**rows[0])

    def _refuse_what_is_stored(
        self, entity_type: str, tenant: UUID | None, places: Sequence[str], field: Field
    ) -> None:
        """Raise unless the entities that the new version is for, and that hold something at the places, fit it."""
        rows = self._stored(entity_type, tenant, places)
        misfits = list(islice((told for row in rows for told in _misfits(field, row)), 3))
        if misfits:
            raise ConflictError(
                f"What is stored does not fit the new {entity_type}: {'; '.join(misfits)}; change that first."
            )

    def _stored(self, entity_type: str, tenant: UUID | None, places: Sequence[str]) -> Iterator[dict[str, Any]]:
        everything = any(place in ("$", *(f'$."{name}"' for name in COLUMNS)) for place in places)
        if not places:
            return
        with self._directory.conn.cursor("stored_entities", row_factory=dict_row) as cursor:
            cursor.execute(
                """
                SELECT e.key, e.name, e.status, e.properties FROM entities e
                WHERE (e.entity_type = %(entity_type)s OR starts_with(e.entity_type, %(entity_type)s || '.'))
                  AND (%(tenant)s::uuid IS NULL OR e.organisation_id = %(tenant)s)
                  AND (%(everything)s OR EXISTS (
                      SELECT FROM unnest(%(places)s::jsonpath[]) AS place WHERE jsonb_path_exists(e.properties, place)))
                  -- what a schema of its own describes, or of its organisation, is not for this one
                  AND NOT EXISTS (
                      SELECT FROM schemas s
                      WHERE (e.entity_type = s.entity_type OR starts_with(e.entity_type, s.entity_type || '.'))
                        AND (s.organisation_id IS NULL OR s.organisation_id = e.organisation_id)
                        AND (length(s.entity_type) > length(%(entity_type)s)
                             OR (s.entity_type = %(entity_type)s AND s.organisation_id IS NOT NULL
                                 AND %(tenant)s::uuid IS NULL)))
                """,
                {"entity_type": entity_type, "tenant": tenant, "places": list(places), "everything": everything},
            )
            yield from cursor


def _refuse(schema: Schema, wrong: Sequence[str]) -> None:
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InvalidError(
            f"This is no {schema.entity_type} (schema version {schema.version}): {'; '.join(wrong[:5])}{more}."
        )


def _columns(field: Field) -> list[str]:
    return [name for name in COLUMNS if name in field.properties]


def _with_columns(field: Field, entity: Fields, entity_type: str) -> dict[str, Any]:
    for name in _columns(field):
        if name in entity.properties:
            raise InvalidError(f"{name} of a {entity_type} is no property; give it beside the properties.")
    return {**entity.properties, **{name: getattr(entity, name) or None for name in _columns(field)}}


def _refuse_breaks(before: Schema, old: Field, new: Field) -> None:
    broken = list(breaks(old, new))
    if broken:
        more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise ConflictError(
            f"The new version of {before.entity_type} would refuse what version {before.version} accepts: "
            f"{'; '.join(broken[:5])}{more}."
        )


def _refuse_odd_columns(field: Field) -> None:
    for name in _columns(field):
        if field.properties[name].type != "string":
            raise InvalidError(f"{name} is a column of every entity and a text; describe it as a string or not at all.")


def _misfits(field: Field, row: Mapping[str, Any]) -> Iterator[str]:
    columns = {name: row[name] or None for name in _columns(field)}
    for name in columns.keys() & row["properties"].keys():
        yield f"{row['key']}: {name} is one of its properties, and would be no property any more"
    for told in problems(field, {**row["properties"], **columns}):
        yield f"{row['key']}: {told}"
