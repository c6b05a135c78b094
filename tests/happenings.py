"""Entities, events and commands written straight into Postgres, for tests of what becomes of them."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

_ORGANISATION = """
    INSERT INTO entities (id, entity_type, key, organisation_id)
    SELECT made.id, 'organisation', %(key)s, made.id FROM (SELECT gen_random_uuid() AS id) AS made
    RETURNING id::text
"""
_ENTITY = """
    INSERT INTO entities (entity_type, key, organisation_id, parent_id, properties)
    VALUES (%(entity_type)s, %(key)s, %(organisation)s, %(parent)s, %(properties)s) RETURNING id::text
"""
_EVENT = """
    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
    SELECT %(event_type)s, id, entity_type, key, organisation_id, %(data)s, 'ada', 'test' FROM entities
    WHERE id = %(entity)s RETURNING id
"""
_COMMAND = """
    INSERT INTO commands (organisation_id, device_id, command, parameters, created_at, expires_at, created_by)
    SELECT organisation_id, id, %(command)s, '{"n": 1}', now() - interval '1 h', now() + %(lasts)s::interval, 'ada'
    FROM entities WHERE id = %(device)s RETURNING id::text
"""


def add_organisation(conn: psycopg.Connection, key: str) -> str:
    """An organisation; returns its entity id."""
    return str(_one(conn.execute(_ORGANISATION, {"key": key})))


def add_entity(
    conn: psycopg.Connection,
    organisation: str,
    entity_type: str,
    key: str,
    parent: str | None = None,
    **properties: object,
) -> str:
    """Any other entity; returns its id."""
    values = {"entity_type": entity_type, "key": key, "organisation": organisation, "parent": parent}
    return str(_one(conn.execute(_ENTITY, values | {"properties": Jsonb(properties)})))


def add_event(conn: psycopg.Connection, entity: str, event_type: str, **data: object) -> int:
    """An event of an entity; returns its id."""
    return int(_one(conn.execute(_EVENT, {"event_type": event_type, "entity": entity, "data": Jsonb(data)})))


def add_command(conn: psycopg.Connection, device: str, command: str, lasts: str | None = None) -> str:
    """A command given an hour ago that ``lasts`` from now on (an interval) or for ever; returns its id."""
    return str(_one(conn.execute(_COMMAND, {"command": command, "device": device, "lasts": lasts})))


def _one(cursor: psycopg.Cursor[Any]) -> Any:  # noqa: ANN401  # a column's value is of any type
    row = cursor.fetchone()
    assert row is not None
    return row[0]
