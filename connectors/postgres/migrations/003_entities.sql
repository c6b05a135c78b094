-- Everything that has an identity is an entity: organisations, projects, devices, sensors, users, and any type that a
-- schema describes. What is particular to a type stands in its properties; what connects two entities is a relationship
-- with validity in time; what happened is an event, which nobody can change.
--
-- What an earlier rollback kept aside in the schema weir_kept comes back first, the tables of before included, when it
-- went further than this.

CREATE SCHEMA IF NOT EXISTS weir_kept;

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['organisations', 'projects', 'metrics', 'devices', 'sensors'] LOOP
        IF to_regclass('weir_kept.' || kept) IS NOT NULL THEN
            EXECUTE format('INSERT INTO %1$I SELECT * FROM weir_kept.%1$I ON CONFLICT DO NOTHING', kept);
            EXECUTE format('DROP TABLE weir_kept.%I CASCADE', kept);
        END IF;
    END LOOP;
    FOREACH kept IN ARRAY ARRAY['entities', 'relationship_types', 'relationships', 'events', 'schemas'] LOOP
        IF to_regclass('weir_kept.' || kept) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE weir_kept.%I SET SCHEMA %I', kept, current_schema());
        END IF;
    END LOOP;
END
$$;

CREATE TABLE IF NOT EXISTS entities (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    entity_type      text NOT NULL
                     CHECK (entity_type ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$' AND octet_length(entity_type) <= 100),
    kind             text GENERATED ALWAYS AS (split_part(entity_type, '.', 1)) STORED,
    key              text NOT NULL CHECK (key <> '' AND octet_length(key) <= 200),
    name             text NOT NULL DEFAULT '',
    description      text NOT NULL DEFAULT '',
    properties       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    schema_version   integer,
    status           text NOT NULL DEFAULT 'active' CHECK (status ~ '^[a-z][a-z0-9_]{0,49}$'),
    organisation_id  uuid NOT NULL REFERENCES entities (id),
    parent_id        uuid REFERENCES entities (id),
    metric           text GENERATED ALWAYS AS (
                         CASE WHEN entity_type = 'sensor' THEN properties ->> 'metric' END) STORED,
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    changed_in       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT properties_are_at_most_1_mib CHECK (pg_column_size(properties) <= 1048576),
    CONSTRAINT organisation_is_its_own CHECK (entity_type <> 'organisation' OR organisation_id = id),
    CONSTRAINT slug_of_organisation_and_project CHECK (
        entity_type NOT IN ('organisation', 'project') OR key ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    CONSTRAINT sensor_has_a_device CHECK ((entity_type = 'sensor') = (parent_id IS NOT NULL)),
    -- what the worker reads of every row must be readable of every row
    CONSTRAINT sensor_has_a_metric CHECK (entity_type <> 'sensor' OR jsonb_typeof(properties -> 'metric') = 'string'),
    CONSTRAINT sensor_unit_is_a_text CHECK (
        entity_type <> 'sensor' OR coalesce(jsonb_typeof(properties -> 'unit'), 'null') IN ('string', 'null')),
    CONSTRAINT sensor_bounds_are_numbers_in_order CHECK (
        entity_type <> 'sensor'
        OR (coalesce(jsonb_typeof(properties -> 'min_value'), 'null') IN ('number', 'null')
            AND coalesce(jsonb_typeof(properties -> 'max_value'), 'null') IN ('number', 'null')
            AND coalesce((properties ->> 'min_value')::double precision <= (properties ->> 'max_value')::double precision,
                         true))),
    CONSTRAINT data_retention_days_is_a_day_count CHECK (
        entity_type <> 'project'
        OR coalesce(jsonb_typeof(properties #> '{settings,data_retention_days}'), 'null') = 'null'
        OR (jsonb_typeof(properties #> '{settings,data_retention_days}') = 'number'
            AND (properties #>> '{settings,data_retention_days}')::numeric BETWEEN 1 AND 65535
            AND (properties #>> '{settings,data_retention_days}')::numeric % 1 = 0))
);
COMMENT ON TABLE entities IS 'Everything with an identity; nothing is ever deleted, is_active says what still exists.';
COMMENT ON COLUMN entities.entity_type IS 'Dotted type, such as device.esp32; a schema describes its properties.';
COMMENT ON COLUMN entities.kind IS 'First part of the type. Readings come from the kinds device and equipment.';
COMMENT ON COLUMN entities.key IS 'What people, URLs and readings call it: organisation, project and device ids, '
    'names of sensors within their device, e-mail addresses of users.';
COMMENT ON COLUMN entities.organisation_id IS 'The tenant it belongs to; an organisation belongs to itself.';
COMMENT ON COLUMN entities.parent_id IS 'The device of a sensor; null for everything else.';
COMMENT ON COLUMN entities.changed_in IS 'Transaction that wrote this row: workers ask for rows newer than they know.';

CREATE TABLE IF NOT EXISTS relationship_types (
    name         text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,99}$'),
    from_kinds   text[],
    to_kinds     text[],
    is_exclusive boolean NOT NULL DEFAULT false,
    is_acyclic   boolean NOT NULL DEFAULT false,
    description  text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN relationship_types.from_kinds IS 'Kinds of entity it may start at; null: any.';
COMMENT ON COLUMN relationship_types.is_exclusive IS 'At any time an entity is the end of at most one such relationship.';
COMMENT ON COLUMN relationship_types.is_acyclic IS 'Following it never comes back.';

INSERT INTO relationship_types (name, from_kinds, to_kinds, is_exclusive, is_acyclic, description) VALUES
    ('contains', '{project}', '{device,equipment}', true, true, 'Project that a device belongs to, as of event time.'),
    ('part_of', NULL, NULL, false, true, 'A part of a whole.'),
    ('monitors', '{device}', NULL, false, false, 'Device that measures another entity, such as an oven.'),
    ('belongs_to', '{user}', '{organisation}', false, false, 'Member of an organisation; its property role says as what.'),
    ('manages', '{user}', '{project}', false, false, 'User who leads a project.'),
    ('participates_in', '{user}', '{project}', false, false, 'User who works in a project.')
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS relationships (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_entity        uuid NOT NULL REFERENCES entities (id),
    to_entity          uuid NOT NULL REFERENCES entities (id),
    relationship_type  text NOT NULL REFERENCES relationship_types (name),
    properties         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    strength           numeric(3, 2) NOT NULL DEFAULT 1 CHECK (strength BETWEEN 0 AND 1),
    valid_from         timestamptz NOT NULL DEFAULT now(),
    valid_to           timestamptz,
    organisation_id    uuid NOT NULL,
    created_by         text NOT NULL DEFAULT current_user,
    created_at         timestamptz NOT NULL DEFAULT now(),
    changed_in         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT relationship_lasts CHECK (valid_from < valid_to),
    CONSTRAINT relationship_connects_two CHECK (from_entity <> to_entity),
    CONSTRAINT relationship_properties_are_at_most_64_kib CHECK (pg_column_size(properties) <= 65536)
);
COMMENT ON COLUMN relationships.valid_to IS 'First instant at which it no longer holds; null: it still does.';
COMMENT ON COLUMN relationships.organisation_id IS 'Tenant that sees it: of a membership the organisation, else that of '
    'the entity it starts at.';

CREATE TABLE IF NOT EXISTS events (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ts               timestamptz NOT NULL DEFAULT clock_timestamp(),
    event_type       text NOT NULL
                     CHECK (event_type ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$' AND octet_length(event_type) <= 100),
    entity_id        uuid NOT NULL,
    entity_type      text NOT NULL,
    entity_key       text NOT NULL,
    organisation_id  uuid NOT NULL,
    data             jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(data) = 'object'),
    metadata         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    actor            text NOT NULL DEFAULT current_user,
    source           text NOT NULL DEFAULT '',
    once             text UNIQUE,
    written_in       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT event_is_at_most_1_mib CHECK (pg_column_size(data) <= 1048576 AND pg_column_size(metadata) <= 65536)
);
COMMENT ON TABLE events IS 'What happened, in the transaction in which it happened; cannot be changed or deleted.';
COMMENT ON COLUMN events.actor IS 'Who did it: the e-mail address of a user, key:PREFIX, or a part of Weir.';
COMMENT ON COLUMN events.source IS 'Program and host that wrote it.';
COMMENT ON COLUMN events.once IS 'Written at most once for the same text; null: as often as it happens.';
COMMENT ON COLUMN events.written_in IS 'Transaction: the relay to Kafka reads in the order (written_in, id).';

CREATE TABLE IF NOT EXISTS schemas (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  uuid REFERENCES entities (id),
    entity_type      text NOT NULL CHECK (entity_type ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$'),
    version          integer NOT NULL CHECK (version >= 1),
    definition       jsonb NOT NULL CHECK (jsonb_typeof(definition) = 'object'),
    description      text NOT NULL DEFAULT '',
    valid_from       timestamptz NOT NULL DEFAULT now(),
    valid_to         timestamptz,
    created_by       text NOT NULL DEFAULT current_user,
    UNIQUE NULLS NOT DISTINCT (organisation_id, entity_type, version)
);
COMMENT ON TABLE schemas IS 'Versioned definitions of entity types; a version never changes, new ones are added.';
COMMENT ON COLUMN schemas.organisation_id IS 'Null: every organisation may use the type.';

-- Identity: devices travel in readings by their key alone, so it is unique everywhere, also after retirement.
CREATE UNIQUE INDEX IF NOT EXISTS entities_by_key ON entities (kind, key)
    WHERE entity_type IN ('organisation', 'project', 'user');
CREATE UNIQUE INDEX IF NOT EXISTS entities_by_device_id ON entities (key) WHERE kind IN ('device', 'equipment');
CREATE UNIQUE INDEX IF NOT EXISTS entities_by_sensor ON entities (parent_id, key) WHERE entity_type = 'sensor';
CREATE UNIQUE INDEX IF NOT EXISTS entities_by_other_key ON entities (organisation_id, kind, key)
    WHERE entity_type NOT IN ('organisation', 'project', 'user', 'sensor') AND kind NOT IN ('device', 'equipment');
-- Lists of an organisation by type, a page after another
CREATE INDEX IF NOT EXISTS entities_by_organisation ON entities (organisation_id, entity_type, created_at, id)
    WHERE parent_id IS NULL;
CREATE INDEX IF NOT EXISTS entities_by_type ON entities (entity_type, organisation_id) WHERE parent_id IS NULL;
-- properties @> '{"firmware": {"version": "1.0.0"}}'; sensors are found by their device or metric
CREATE INDEX IF NOT EXISTS entities_by_properties ON entities USING gin (properties jsonb_path_ops)
    WHERE parent_id IS NULL;
CREATE INDEX IF NOT EXISTS entities_by_metric ON entities (metric) WHERE entity_type = 'sensor';
CREATE INDEX IF NOT EXISTS entities_by_change ON entities (changed_in);
CREATE INDEX IF NOT EXISTS relationships_by_from ON relationships (from_entity, to_entity, relationship_type);
CREATE INDEX IF NOT EXISTS relationships_by_to ON relationships (to_entity, relationship_type, valid_from);
CREATE INDEX IF NOT EXISTS relationships_by_change ON relationships (changed_in);
CREATE UNIQUE INDEX IF NOT EXISTS relationships_one_project ON relationships (to_entity)
    WHERE relationship_type = 'contains' AND valid_to IS NULL;
CREATE INDEX IF NOT EXISTS events_by_entity ON events (entity_id, id);
CREATE INDEX IF NOT EXISTS events_by_organisation ON events (organisation_id, id);
CREATE INDEX IF NOT EXISTS events_by_type ON events (event_type, id);
CREATE INDEX IF NOT EXISTS events_by_writing ON events (written_in, id);
CREATE INDEX IF NOT EXISTS events_by_time ON events USING brin (ts);

-- What an older Weir knew, or changed since the rollback, becomes entities. It took any text for the type of a device,
-- and bounds that are no numbers; what its tables cannot tell apart (null or absent) stays as the entity has it.
-- No statistics foresee these joins: with nested loops 100,000 devices of two sensors were not done in five minutes, now
-- they take 18 s.
-- What is moved here is in order as a set, so that relationships need not be checked one by one.
SET LOCAL enable_nestloop = off;
SET LOCAL weir.bulk = 'on';
ANALYZE organisations, projects, devices, sensors, entities, relationships;

CREATE OR REPLACE FUNCTION pg_temp.type_of_device(told text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN octet_length(told) <= 90 AND lower(told) ~ '^(device|equipment)(\.[a-z][a-z0-9_]*)*$' THEN lower(told)
                WHEN octet_length(told) <= 90 AND lower(told) ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$'
                THEN 'device.' || lower(told)
                WHEN told ~* '[a-z0-9]'
                THEN 'device.t_' || left(trim('_' FROM regexp_replace(lower(told), '[^a-z0-9]+', '_', 'g')), 80)
                ELSE 'device' END
$$;
CREATE OR REPLACE FUNCTION pg_temp.bound(told double precision) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(least(told, 1.7976931348623157e308), -1.7976931348623157e308) WHERE told IS NOT NULL
$$;
CREATE OR REPLACE FUNCTION pg_temp.settings_of(properties jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(properties -> 'settings') IS DISTINCT FROM 'object' THEN '{}'
                WHEN jsonb_typeof(properties #> '{settings,data_retention_days}') = 'null'
                THEN (properties -> 'settings') - 'data_retention_days'
                ELSE properties -> 'settings' END
$$;

INSERT INTO entities (id, entity_type, key, name, properties, organisation_id, is_active, created_at, updated_at)
SELECT id, 'organisation', o.key, o.name, o.properties, id, o.is_active, o.created_at, o.updated_at
FROM (SELECT coalesce(e.id, gen_random_uuid()) AS id, o.id AS key, o.name, o.properties, o.is_active, o.created_at,
             o.updated_at
      FROM organisations o LEFT JOIN entities e ON e.entity_type = 'organisation' AND e.key = o.id) AS o
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, properties = excluded.properties, is_active = excluded.is_active,
    updated_at = excluded.updated_at, changed_in = pg_current_xact_id()
WHERE (entities.name, entities.properties, entities.is_active)
      IS DISTINCT FROM (excluded.name, excluded.properties, excluded.is_active);

INSERT INTO entities (id, entity_type, key, name, properties, organisation_id, is_active, created_at, updated_at)
SELECT coalesce(e.id, gen_random_uuid()), 'project', p.id, p.name,
       CASE WHEN pg_temp.settings_of(e.properties) = p.settings AND e.id IS NOT NULL THEN e.properties
            ELSE coalesce(e.properties, '{}') || jsonb_build_object('settings', p.settings) END,
       o.id, p.is_active, p.created_at, p.updated_at
FROM projects p
JOIN entities o ON o.entity_type = 'organisation' AND o.key = p.organisation_id
LEFT JOIN entities e ON e.entity_type = 'project' AND e.key = p.id
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, properties = excluded.properties, is_active = excluded.is_active,
    updated_at = excluded.updated_at, changed_in = pg_current_xact_id()
WHERE (entities.name, entities.properties, entities.is_active)
      IS DISTINCT FROM (excluded.name, excluded.properties, excluded.is_active);

INSERT INTO entities (id, entity_type, key, name, properties, status, organisation_id, is_active, created_at, updated_at)
SELECT coalesce(e.id, gen_random_uuid()), pg_temp.type_of_device(d.device_type), d.id, d.name, d.properties,
       d.status, o.id, d.is_active, d.created_at, d.updated_at
FROM devices d
JOIN entities o ON o.entity_type = 'organisation' AND o.key = d.organisation_id
LEFT JOIN entities e ON e.kind IN ('device', 'equipment') AND e.key = d.id
ON CONFLICT (id) DO UPDATE
SET entity_type = excluded.entity_type, name = excluded.name, properties = excluded.properties,
    -- the older table has no word for the other states: it calls them offline
    status = CASE WHEN excluded.status = 'offline' AND entities.status NOT IN ('online', 'maintenance', 'error')
                  THEN entities.status ELSE excluded.status END,
    organisation_id = excluded.organisation_id, is_active = excluded.is_active,
    updated_at = excluded.updated_at, changed_in = pg_current_xact_id()
WHERE (entities.entity_type, entities.name, entities.properties, entities.status, entities.organisation_id,
       entities.is_active)
      IS DISTINCT FROM (excluded.entity_type, excluded.name, excluded.properties, excluded.status,
                        excluded.organisation_id, excluded.is_active);

ANALYZE entities;

INSERT INTO entities (id, entity_type, key, properties, organisation_id, parent_id)
SELECT coalesce(e.id, gen_random_uuid()), 'sensor', s.name,
       CASE WHEN e.id IS NOT NULL
                 AND (e.metric, e.properties ->> 'unit', (e.properties ->> 'min_value')::double precision,
                      (e.properties ->> 'max_value')::double precision)
                     IS NOT DISTINCT FROM (s.metric, s.unit, s.min_value, s.max_value)
            THEN e.properties
            ELSE (coalesce(e.properties, '{}') - '{unit,min_value,max_value}'::text[])
                 || jsonb_strip_nulls(jsonb_build_object(
                        'metric', s.metric, 'unit', s.unit, 'min_value', pg_temp.bound(s.min_value),
                        'max_value', pg_temp.bound(s.max_value))) END,
       d.organisation_id, d.id
FROM sensors s
JOIN entities d ON d.kind IN ('device', 'equipment') AND d.key = s.device_id
LEFT JOIN entities e ON e.entity_type = 'sensor' AND e.parent_id = d.id AND e.key = s.name
ON CONFLICT (id) DO UPDATE
SET properties = excluded.properties, organisation_id = excluded.organisation_id, is_active = true,
    updated_at = now(), changed_in = pg_current_xact_id()
WHERE (entities.properties, entities.organisation_id, entities.is_active)
      IS DISTINCT FROM (excluded.properties, excluded.organisation_id, true);

ANALYZE entities;

-- What an older Weir deleted since the rollback is no longer active.
UPDATE entities e SET is_active = false, updated_at = now(), changed_in = pg_current_xact_id()
FROM (
    SELECT k.id FROM entities k LEFT JOIN organisations o ON o.id = k.key
    WHERE k.entity_type = 'organisation' AND o.id IS NULL
    UNION ALL
    SELECT k.id FROM entities k LEFT JOIN projects p ON p.id = k.key WHERE k.entity_type = 'project' AND p.id IS NULL
    UNION ALL
    SELECT k.id FROM entities k LEFT JOIN devices d ON d.id = k.key
    WHERE k.kind IN ('device', 'equipment') AND d.id IS NULL
    UNION ALL
    SELECT k.id FROM entities k JOIN entities d ON d.id = k.parent_id
    LEFT JOIN sensors s ON s.device_id = d.key AND s.name = k.key
    WHERE k.entity_type = 'sensor' AND s.name IS NULL
) AS gone
WHERE e.id = gone.id AND e.is_active;

-- A device's project: the first holds for all of the past, a move from now on.
UPDATE relationships r SET valid_to = greatest(now(), r.valid_from + interval '1 microsecond'),
                           changed_in = pg_current_xact_id()
FROM entities d, entities p, devices old
WHERE r.relationship_type = 'contains' AND r.valid_to IS NULL AND d.id = r.to_entity AND p.id = r.from_entity
  AND old.id = d.key AND old.project_id IS DISTINCT FROM p.key;

INSERT INTO relationships (from_entity, to_entity, relationship_type, valid_from, organisation_id)
SELECT p.id, d.id, 'contains',
       CASE WHEN past.to_entity IS NULL THEN '-infinity' ELSE greatest(now(), past.ended) END,
       p.organisation_id
FROM devices old
JOIN entities d ON d.kind IN ('device', 'equipment') AND d.key = old.id
JOIN entities p ON p.entity_type = 'project' AND p.key = old.project_id
LEFT JOIN (SELECT to_entity, max(valid_to) AS ended FROM relationships
           WHERE relationship_type = 'contains' GROUP BY to_entity) AS past ON past.to_entity = d.id
WHERE NOT EXISTS (SELECT FROM relationships r
                  WHERE r.relationship_type = 'contains' AND r.to_entity = d.id AND r.valid_to IS NULL);

DROP TABLE sensors, devices, projects, organisations;

-- A sensor that is retired keeps its metric, whatever an older Weir did with it.
INSERT INTO metrics (name) SELECT DISTINCT metric FROM entities WHERE metric IS NOT NULL ON CONFLICT DO NOTHING;
ALTER TABLE entities ADD CONSTRAINT entities_metric_fkey FOREIGN KEY (metric) REFERENCES metrics (name);

-- Rules that no program can forget

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END
$$;
CREATE OR REPLACE TRIGGER events_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('events are immutable');
CREATE OR REPLACE TRIGGER schemas_are_immutable BEFORE UPDATE OF entity_type, version, definition OR DELETE OR TRUNCATE
    ON schemas FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('a version of a schema never changes; add a new one');
CREATE OR REPLACE TRIGGER entities_are_kept BEFORE DELETE OR TRUNCATE ON entities
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('entities are kept; set is_active to false');
CREATE OR REPLACE TRIGGER relationships_are_kept BEFORE DELETE OR TRUNCATE ON relationships
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('relationships are kept; set valid_to');

-- Readings, event logs and workers know an entity by its key, within its parent, as what it is.
CREATE OR REPLACE FUNCTION refuse_new_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% keeps its key, its parent and its kind; retire it and make another', OLD.key
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE OR REPLACE TRIGGER entities_keep_their_identity BEFORE UPDATE OF key, parent_id, entity_type ON entities
    FOR EACH ROW WHEN (
        OLD.key <> NEW.key OR OLD.parent_id IS DISTINCT FROM NEW.parent_id
        OR replace(split_part(OLD.entity_type, '.', 1), 'equipment', 'device')
           <> replace(split_part(NEW.entity_type, '.', 1), 'equipment', 'device'))
    EXECUTE FUNCTION refuse_new_identity();

CREATE OR REPLACE FUNCTION stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER entities_stamped BEFORE UPDATE ON entities FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE OR REPLACE TRIGGER relationships_stamped BEFORE UPDATE ON relationships
    FOR EACH ROW EXECUTE FUNCTION stamp_change();

-- A bulk registration, which has checked its rows as a set, says so in weir.bulk: 30 s a million rows less.
CREATE OR REPLACE FUNCTION check_relationship() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    begins entities%ROWTYPE;
    ends entities%ROWTYPE;
    rules relationship_types%ROWTYPE;
BEGIN
    SELECT * INTO rules FROM relationship_types WHERE name = NEW.relationship_type;
    SELECT * INTO begins FROM entities WHERE id = NEW.from_entity;
    -- two relationships of one entity, or of one acyclic type, are checked one after the other
    IF rules.is_acyclic THEN
        PERFORM FROM relationship_types WHERE name = NEW.relationship_type FOR NO KEY UPDATE;
    END IF;
    SELECT * INTO ends FROM entities WHERE id = NEW.to_entity FOR NO KEY UPDATE;
    IF begins.id IS NULL OR ends.id IS NULL OR rules.name IS NULL THEN
        RETURN NEW;  -- the foreign keys say it
    END IF;
    IF begins.kind <> ALL (rules.from_kinds) THEN
        RAISE EXCEPTION '% starts at %, and % is a %', rules.name, rules.from_kinds, begins.key, begins.entity_type
            USING ERRCODE = 'check_violation', CONSTRAINT = 'relationship_fits_its_type';
    END IF;
    IF ends.kind <> ALL (rules.to_kinds) THEN
        RAISE EXCEPTION '% ends at %, and % is a %', rules.name, rules.to_kinds, ends.key, ends.entity_type
            USING ERRCODE = 'check_violation', CONSTRAINT = 'relationship_fits_its_type';
    END IF;
    IF begins.organisation_id <> ends.organisation_id AND NEW.relationship_type <> 'belongs_to' THEN
        RAISE EXCEPTION '% and % are of different organisations', begins.key, ends.key
            USING ERRCODE = 'check_violation', CONSTRAINT = 'relationship_stays_in_its_organisation';
    END IF;
    NEW.organisation_id := CASE WHEN NEW.relationship_type = 'belongs_to' THEN ends.id ELSE begins.organisation_id END;
    IF EXISTS (
        SELECT FROM relationships r
        WHERE r.to_entity = NEW.to_entity AND r.relationship_type = NEW.relationship_type
          AND (rules.is_exclusive OR r.from_entity = NEW.from_entity) AND r.id <> NEW.id
          AND tstzrange(r.valid_from, r.valid_to) && tstzrange(NEW.valid_from, NEW.valid_to)
    ) THEN
        RAISE EXCEPTION '% already has % at that time; end the other first', ends.key, NEW.relationship_type
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'relationships_do_not_overlap';
    END IF;
    IF rules.is_acyclic AND EXISTS (
        WITH RECURSIVE reached (id) AS (
            SELECT NEW.to_entity
            UNION
            SELECT r.to_entity FROM relationships r JOIN reached ON r.from_entity = reached.id
            WHERE r.relationship_type = NEW.relationship_type AND r.id <> NEW.id
              AND tstzrange(r.valid_from, r.valid_to) && tstzrange(NEW.valid_from, NEW.valid_to)
        ) SELECT FROM reached WHERE id = NEW.from_entity
    ) THEN
        RAISE EXCEPTION '% of % in % would be a cycle', NEW.relationship_type, begins.key, ends.key
            USING ERRCODE = 'check_violation', CONSTRAINT = 'relationships_have_no_cycle';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER relationships_checked
    BEFORE INSERT OR UPDATE OF from_entity, to_entity, relationship_type, valid_from, valid_to ON relationships
    FOR EACH ROW WHEN (current_setting('weir.bulk', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION check_relationship();

DO $$
DECLARE
    watched text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['entities', 'relationships'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER version_after_insert AFTER INSERT ON %I '
                       'REFERENCING NEW TABLE AS touched_rows '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
        EXECUTE format('CREATE OR REPLACE TRIGGER version_after_update AFTER UPDATE ON %I '
                       'REFERENCING NEW TABLE AS touched_rows '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
    END LOOP;
END
$$;
UPDATE metadata_version SET version = version + 1;

-- The graph with what the entities themselves say: an organisation owns what is in it, a device has its sensors.
CREATE VIEW links WITH (security_invoker = true) AS
    SELECT from_entity, to_entity, relationship_type, strength, valid_from, valid_to, organisation_id FROM relationships
    UNION ALL
    SELECT organisation_id, id, 'owns', 1, '-infinity', NULL, organisation_id FROM entities
    WHERE id <> organisation_id AND parent_id IS NULL AND is_active
    UNION ALL
    SELECT parent_id, id, 'has_sensor', 1, '-infinity', NULL, organisation_id FROM entities
    WHERE entity_type = 'sensor' AND is_active;

-- Who writes SQL by hand finds the names of before.
CREATE VIEW organisations WITH (security_invoker = true) AS
    SELECT key AS id, name, properties, is_active, created_at, updated_at FROM entities
    WHERE entity_type = 'organisation';
CREATE VIEW projects WITH (security_invoker = true) AS
    SELECT p.key AS id, o.key AS organisation_id, p.name, coalesce(p.properties -> 'settings', '{}') AS settings,
           p.is_active, p.created_at, p.updated_at
    FROM entities p JOIN entities o ON o.id = p.organisation_id
    WHERE p.entity_type = 'project';
CREATE VIEW devices WITH (security_invoker = true) AS
    SELECT d.key AS id, o.key AS organisation_id, p.key AS project_id, d.entity_type AS device_type, d.name, d.status,
           d.properties, d.is_active, d.created_at, d.updated_at
    FROM entities d JOIN entities o ON o.id = d.organisation_id
    LEFT JOIN relationships r ON r.to_entity = d.id AND r.relationship_type = 'contains' AND r.valid_to IS NULL
    LEFT JOIN entities p ON p.id = r.from_entity
    WHERE d.kind IN ('device', 'equipment');
CREATE VIEW sensors WITH (security_invoker = true) AS
    SELECT d.key AS device_id, s.key AS name, s.metric, s.properties ->> 'unit' AS unit,
           (s.properties ->> 'min_value')::double precision AS min_value,
           (s.properties ->> 'max_value')::double precision AS max_value, s.is_active
    FROM entities s JOIN entities d ON d.id = s.parent_id
    WHERE s.entity_type = 'sensor';
