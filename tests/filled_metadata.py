"""A metadata database with rows of every kind, and a picture of all its rows that two moments can be compared by."""

from __future__ import annotations

import json
from typing import LiteralString

import psycopg
from psycopg import sql

from connectors.postgres.migrate import load_sample

Contents = dict[str, list[str]]
"""Rows of each table as JSON texts, sorted."""

LEDGERS = {"weir_migrations", "metadata_version"}
"""Tables that say when something ran, not what was kept."""

EVERY_KIND: LiteralString = """
    INSERT INTO schemas (organisation_id, entity_type, version, definition, description, created_by)
    SELECT o.id, 'vessel', v, jsonb_build_object('litres', jsonb_build_object('type', 'number', 'required', v = 1)),
           'Tanks', 'test@acme.example'
    FROM entities o, generate_series(1, 2) v WHERE o.key = 'acme-research-labs';

    INSERT INTO entities (entity_type, key, name, description, properties, schema_version, status, organisation_id,
                          is_active, created_at)
    SELECT t.entity_type, t.key, 'Größe 10"', E'two\\nlines', t.properties::jsonb, 1, t.status, o.id, t.is_active,
           '2024-02-29 12:00:00.123456+00'
    FROM (VALUES
        ('organisation', 'closed-labs', '{}', 'active', false),
        ('project', 'bare', '{"budget": null}', 'on_hold', true),
        ('project', 'odd-settings', '{"settings": {"data_retention_days": null, "a": [{"b": null}]}}', 'active', true),
        ('project', 'no-settings', '{"settings": null, "tags": []}', 'active', false),
        ('device.pump', 'pump; DROP TABLE entities', '{"config": {"silentAfterSeconds": 60}}', 'pending', true),
        ('device', 'ünit "8"', '{}', 'error', false),
        ('equipment', 'bench', '{"x": 1e-7}', 'calibrating', true),
        ('vessel', 'tank-1', '{"litres": 0.10}', 'active', true),
        ('vessel.steel', 'tank-2', '{"litres": 12345678901234567890.5}', 'broken', false),
        ('user', 'gone@acme.example', '{"department": "None"}', 'active', false)
    ) AS t (entity_type, key, properties, status, is_active)
    JOIN entities o ON o.key = 'acme-research-labs' WHERE t.entity_type <> 'organisation';

    INSERT INTO entities (id, entity_type, key, name, organisation_id, is_active)
    VALUES ('00000000-0000-4000-8000-000000000001', 'organisation', 'closed-labs', 'Closed',
            '00000000-0000-4000-8000-000000000001', false);

    INSERT INTO metrics (name, value_type, unit, min_value, max_value, bounds_action, enum_values, json_schema) VALUES
        ('all.float', 'float', 'celsius', -0.5, 1e300, 'mark', NULL, NULL),
        ('all.integer', 'integer', 'count', 0, NULL, 'reject', NULL, NULL),
        ('all.boolean', 'boolean', '', NULL, NULL, 'reject', NULL, NULL),
        ('all.string', 'string', '', NULL, NULL, 'reject', NULL, NULL),
        ('all.enum', 'enum', '', NULL, NULL, 'reject', '{on,off,"a, b"}', NULL),
        ('all.json', 'json', '', NULL, NULL, 'reject', NULL, '{"type": "object", "required": ["x"]}');

    INSERT INTO entities (entity_type, key, properties, organisation_id, parent_id, is_active, status)
    SELECT 'sensor', s.key, s.properties::jsonb, d.organisation_id, d.id, s.is_active, 'suspect'
    FROM (VALUES
        ('f', '{"metric": "all.float", "unit": null, "min_value": 0.1, "alert": {"max": 5, "for_seconds": 30}}', true),
        ('i', '{"metric": "all.integer", "max_value": 0.12345678901234567890}', true),
        ('b', '{"metric": "all.boolean", "unit": ""}', true),
        ('e', '{"metric": "all.enum"}', false),
        ('j', '{"metric": "all.json", "unit": "x", "more": {"deep": [1, null]}}', true)
    ) AS s (key, properties, is_active)
    JOIN entities d ON d.key IN ('pump; DROP TABLE entities', 'ünit "8"');

    INSERT INTO relationship_types (name, from_kinds, to_kinds, is_acyclic) VALUES ('feeds', '{vessel}', NULL, true);
    INSERT INTO relationships (from_entity, to_entity, relationship_type, properties, strength, valid_from, valid_to,
                               organisation_id, created_by)
    SELECT b.id, e.id, r.relationship_type, r.properties::jsonb, r.strength, r.valid_from::timestamptz,
           r.valid_to::timestamptz, b.organisation_id, 'test'
    FROM (VALUES
        ('bare', 'pump; DROP TABLE entities', 'contains', '{}', 1, '-infinity', '2024-03-01 00:00:00+00'),
        ('odd-settings', 'pump; DROP TABLE entities', 'contains', '{}', 1, '2024-03-01 00:00:00+00', '2024-04-01'),
        ('bare', 'pump; DROP TABLE entities', 'contains', '{}', 1, '2024-04-01', NULL),
        ('bare', 'bench', 'contains', '{}', 1, '-infinity', '2024-05-01'),
        ('tank-1', 'tank-2', 'feeds', '{"pipe": "7"}', 0.25, '2024-01-01', NULL),
        ('tank-2', 'bench', 'feeds', '{}', 0.5, '2024-01-01', '2024-01-02')
    ) AS r (from_key, to_key, relationship_type, properties, strength, valid_from, valid_to)
    JOIN entities b ON b.key = r.from_key JOIN entities e ON e.key = r.to_key;

    INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, metadata, actor, once)
    SELECT t, e.id, e.entity_type, e.key, e.organisation_id, '{"old": 1, "new": null}', '{"sequence": 12345}', 'test',
           CASE WHEN t LIKE 'alert.%' THEN t END
    FROM entities e, unnest(ARRAY['device.updated', 'alert.triggered', 'device.silent', 'settings.changed']) t
    WHERE e.key = 'ünit "8"';

    INSERT INTO user_credentials (user_id, password_hash, is_superuser, failed_logins, locked_until, last_login)
    SELECT id, '$argon2id$not-a-hash', true, 3, '2024-01-01', '2024-01-02' FROM entities WHERE entity_type = 'user';
    INSERT INTO api_keys (prefix, secret_hash, organisation_id, device_id, role, expires_at, revoked_at)
    SELECT 'Prefix000' || row_number() OVER (), 'hash', e.organisation_id, e.id, 'device', '2030-01-01', '2024-01-01'
    FROM entities e WHERE e.kind = 'device';
    INSERT INTO tenant_roles (role_name, organisation_id)
    SELECT 'nobody_' || left(key, 4), id FROM entities WHERE entity_type = 'organisation';

    INSERT INTO process_instances (process_id, organisation_id, batch_id, status, started_at, completed_at, parameters,
                                   results)
    SELECT p.id, p.organisation_id, 'batch-' || s, s, '2024-01-01', CASE WHEN s <> 'running' THEN now() END,
           '{"loaves": 12}', '{"yield": 0.97}'
    FROM processes p, unnest(ARRAY['running', 'completed', 'failed', 'cancelled']) s;
    INSERT INTO commands (organisation_id, device_id, command, parameters, status, expires_at, delivered_at,
                          answered_at, answer)
    SELECT e.organisation_id, e.id, 'restart', '{"delay": 5}', s, '2040-01-01',
           CASE WHEN s <> 'pending' THEN now() END, CASE WHEN s = 'answered' THEN now() END,
           CASE WHEN s = 'answered' THEN '{"ok": true}'::jsonb END
    FROM entities e, unnest(ARRAY['pending', 'delivered', 'answered', 'expired', 'cancelled']) s
    WHERE e.key = 'acme-esp32-001';
    INSERT INTO relay_positions (name, written_in, id) SELECT 'events', max(written_in), max(id) FROM events;
"""


def fill(dsn: str) -> None:
    """The sample world, and beside it rows of every table, type, status and age."""
    load_sample(dsn)
    with psycopg.connect(dsn) as conn:
        conn.execute(EVERY_KIND)


def contents(dsn: str, *, stamps: bool = False) -> Contents:
    """Every row of every table; with ``stamps`` also the transactions that wrote them, and the metadata version."""
    with psycopg.connect(dsn) as conn:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
        names = [name for (name,) in conn.execute(query) if stamps or name not in LEDGERS]
        return {name: _rows(conn, name, () if stamps else ("changed_in",)) for name in names}


def _rows(conn: psycopg.Connection, table: str, without: tuple[str, ...]) -> list[str]:
    query = sql.SQL("SELECT to_jsonb(t) - %s::text[] FROM {} t").format(sql.Identifier(table))
    return sorted(json.dumps(row, sort_keys=True) for (row,) in conn.execute(query, [list(without)]))
