-- Back to the tables of before. What they cannot hold (relationships, events, schemas, users, what is retired) waits in
-- the schema weir_kept for the way up.

DROP VIEW links, organisations, projects, devices, sensors;

CREATE TABLE organisations (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name        text NOT NULL,
    properties  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE projects (
    id               text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    organisation_id  text NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    name             text NOT NULL,
    settings         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, id),
    CONSTRAINT data_retention_days_is_a_day_count CHECK (
        NOT settings ? 'data_retention_days'
        OR (jsonb_typeof(settings -> 'data_retention_days') = 'number'
            AND (settings ->> 'data_retention_days')::numeric BETWEEN 1 AND 65535
            AND (settings ->> 'data_retention_days')::numeric % 1 = 0)
    )
);
CREATE TABLE devices (
    id               text PRIMARY KEY CHECK (id <> '' AND octet_length(id) <= 200),
    organisation_id  text NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    project_id       text,
    device_type      text NOT NULL DEFAULT 'device',
    name             text NOT NULL DEFAULT '',
    status           text NOT NULL DEFAULT 'offline' CHECK (status IN ('online', 'offline', 'maintenance', 'error')),
    properties       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organisation_id, project_id) REFERENCES projects (organisation_id, id) ON DELETE SET NULL (project_id)
);
CREATE INDEX devices_by_organisation ON devices (organisation_id, project_id);
CREATE TABLE sensors (
    device_id   text NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    name        text NOT NULL CHECK (name <> '' AND octet_length(name) <= 200),
    metric      text NOT NULL REFERENCES metrics (name) ON UPDATE CASCADE,
    unit        text,
    min_value   double precision,
    max_value   double precision,
    value_type  text NOT NULL DEFAULT 'number' CHECK (value_type IN ('number', 'text')),
    PRIMARY KEY (device_id, name),
    CONSTRAINT sensor_bounds_in_order CHECK (min_value <= max_value)
);

INSERT INTO organisations (id, name, properties, is_active, created_at, updated_at)
SELECT key, name, properties, is_active, created_at, updated_at FROM entities WHERE entity_type = 'organisation';
INSERT INTO projects (id, organisation_id, name, settings, is_active, created_at, updated_at)
SELECT p.key, o.key, p.name,
       CASE WHEN jsonb_typeof(p.properties -> 'settings') IS DISTINCT FROM 'object' THEN '{}'
            WHEN jsonb_typeof(p.properties #> '{settings,data_retention_days}') = 'null'
            THEN (p.properties -> 'settings') - 'data_retention_days'
            ELSE p.properties -> 'settings' END,
       p.is_active, p.created_at, p.updated_at
FROM entities p JOIN entities o ON o.id = p.organisation_id WHERE p.entity_type = 'project';
INSERT INTO devices (id, organisation_id, project_id, device_type, name, status, properties, is_active, created_at,
                     updated_at)
SELECT d.key, o.key, p.key, d.entity_type, d.name,
       CASE WHEN d.status IN ('online', 'offline', 'maintenance', 'error') THEN d.status ELSE 'offline' END,
       d.properties, d.is_active, d.created_at, d.updated_at
FROM entities d JOIN entities o ON o.id = d.organisation_id
LEFT JOIN relationships r ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_to IS NULL
LEFT JOIN entities p ON p.id = r.from_entity
WHERE d.kind IN ('device', 'equipment');
INSERT INTO sensors (device_id, name, metric, unit, min_value, max_value, value_type)
SELECT d.key, s.key, s.metric, s.properties ->> 'unit', (s.properties ->> 'min_value')::double precision,
       (s.properties ->> 'max_value')::double precision, m.value_type
FROM entities s JOIN entities d ON d.id = s.parent_id JOIN metrics m ON m.name = s.metric
WHERE s.entity_type = 'sensor' AND s.is_active;

DO $$
DECLARE
    watched text;
    happening text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['organisations', 'projects', 'devices', 'sensors'] LOOP
        FOREACH happening IN ARRAY ARRAY['insert', 'update', 'delete'] LOOP
            EXECUTE format('CREATE TRIGGER version_after_%1$s AFTER %1$s ON %2$I REFERENCING %3$s TABLE AS touched_rows '
                           'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()',
                           happening, watched, CASE WHEN happening = 'delete' THEN 'OLD' ELSE 'NEW' END);
        END LOOP;
        EXECUTE format('CREATE TRIGGER version_after_truncate AFTER TRUNCATE ON %I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
    END LOOP;
END
$$;
UPDATE metadata_version SET version = version + 1;

-- the tables of before change freely, and the rollback of 002 takes the function of the triggers away
ALTER TABLE entities DROP CONSTRAINT entities_metric_fkey;
DROP TRIGGER version_after_insert ON entities;
DROP TRIGGER version_after_update ON entities;
DROP TRIGGER version_after_insert ON relationships;
DROP TRIGGER version_after_update ON relationships;

CREATE SCHEMA IF NOT EXISTS weir_kept;
ALTER TABLE entities SET SCHEMA weir_kept;
ALTER TABLE relationship_types SET SCHEMA weir_kept;
ALTER TABLE relationships SET SCHEMA weir_kept;
ALTER TABLE events SET SCHEMA weir_kept;
ALTER TABLE schemas SET SCHEMA weir_kept;
