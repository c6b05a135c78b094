-- Workflows: what is to be done (versioned definitions) and each time that it is done.

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['processes', 'process_instances'] LOOP
        IF to_regclass('weir_kept.' || kept) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE weir_kept.%I SET SCHEMA %I', kept, current_schema());
        END IF;
    END LOOP;
END
$$;

CREATE TABLE IF NOT EXISTS processes (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id  uuid NOT NULL REFERENCES entities (id),
    name             text NOT NULL CHECK (name <> '' AND octet_length(name) <= 200),
    version          text NOT NULL CHECK (version <> '' AND octet_length(version) <= 20),
    process_type     text NOT NULL CHECK (process_type ~ '^[a-z][a-z0-9_.]{0,99}$'),
    definition       jsonb NOT NULL CHECK (jsonb_typeof(definition) = 'object' AND pg_column_size(definition) <= 1048576),
    status           text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'retired')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, name, version)
);
COMMENT ON TABLE processes IS 'Definitions of workflows, such as a recipe; a version does not change once it has run.';

CREATE TABLE IF NOT EXISTS process_instances (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    process_id       uuid NOT NULL REFERENCES processes (id),
    organisation_id  uuid NOT NULL REFERENCES entities (id),
    batch_id         text CHECK (octet_length(batch_id) <= 100),
    status           text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    started_at       timestamptz NOT NULL DEFAULT now(),
    completed_at     timestamptz,
    parameters       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'
                                                        AND pg_column_size(parameters) <= 1048576),
    results          jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(results) = 'object'
                                                        AND pg_column_size(results) <= 1048576),
    CONSTRAINT instance_ends_after_it_began CHECK (started_at <= completed_at),
    CONSTRAINT instance_that_ended_says_when CHECK ((status = 'running') = (completed_at IS NULL))
);
COMMENT ON COLUMN process_instances.batch_id IS 'What the people call this run, such as the number of a batch.';
CREATE INDEX IF NOT EXISTS process_instances_by_process ON process_instances (process_id, started_at);
CREATE INDEX IF NOT EXISTS process_instances_by_organisation ON process_instances (organisation_id, started_at, id);

ALTER TABLE processes ENABLE ROW LEVEL SECURITY;
ALTER TABLE process_instances ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_rows ON processes;
CREATE POLICY own_rows ON processes FOR SELECT TO weir_tenant
    USING (organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));
DROP POLICY IF EXISTS own_rows ON process_instances;
CREATE POLICY own_rows ON process_instances FOR SELECT TO weir_tenant
    USING (organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));
GRANT SELECT ON processes, process_instances TO weir_tenant;
