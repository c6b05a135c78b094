-- Who may do what: passwords, API keys, and roles of the database that see one organisation only.

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['user_credentials', 'api_keys', 'tenant_roles'] LOOP
        IF to_regclass('weir_kept.' || kept) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE weir_kept.%I SET SCHEMA %I', kept, current_schema());
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'weir_tenant') THEN
        CREATE ROLE weir_tenant NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server made it in this moment
END
$$;

CREATE TABLE IF NOT EXISTS user_credentials (
    user_id         uuid PRIMARY KEY REFERENCES entities (id),
    password_hash   text NOT NULL,
    is_superuser    boolean NOT NULL DEFAULT false,
    failed_logins   integer NOT NULL DEFAULT 0,
    locked_until    timestamptz,
    last_login      timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE user_credentials IS 'Passwords of users, as argon2 hashes; apart from entities, so that no list shows them.';

CREATE TABLE IF NOT EXISTS api_keys (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    prefix           text NOT NULL UNIQUE CHECK (prefix ~ '^[A-Za-z0-9]{8,32}$'),
    secret_hash      text NOT NULL,
    organisation_id  uuid NOT NULL REFERENCES entities (id),
    device_id        uuid REFERENCES entities (id),
    role             text NOT NULL CHECK (role IN ('device', 'viewer', 'editor', 'admin')),
    name             text NOT NULL DEFAULT '',
    created_by       text NOT NULL DEFAULT current_user,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,
    revoked_at       timestamptz,
    last_used_at     timestamptz,
    CONSTRAINT key_of_a_device_is_a_device_key CHECK (device_id IS NULL OR role = 'device')
);
COMMENT ON COLUMN api_keys.prefix IS 'First part of the key, found by index; the secret part is only kept as a hash.';
COMMENT ON COLUMN api_keys.device_id IS 'Null: a key of the organisation.';
CREATE INDEX IF NOT EXISTS api_keys_by_organisation ON api_keys (organisation_id, created_at, id);
CREATE INDEX IF NOT EXISTS api_keys_by_device ON api_keys (device_id) WHERE device_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS tenant_roles (
    role_name        name PRIMARY KEY,
    organisation_id  uuid NOT NULL REFERENCES entities (id)
);
COMMENT ON TABLE tenant_roles IS 'Roles of the database and the one organisation whose rows each may read.';

-- Whose organisation is retired reads nothing any more, until a role is granted anew.
CREATE OR REPLACE FUNCTION end_tenancy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tenant_roles WHERE organisation_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER tenancy_ends_with_its_organisation AFTER UPDATE OF is_active ON entities
    FOR EACH ROW WHEN (OLD.is_active AND NOT NEW.is_active AND NEW.entity_type = 'organisation')
    EXECUTE FUNCTION end_tenancy();

-- Anybody may take an advisory lock of any number, and hold up whoever waits for it: the relay and migrations do.
DO $$
DECLARE
    locking regprocedure;
BEGIN
    FOR locking IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname LIKE 'pg\_%advisory%'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', locking);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', locking, current_user);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'only a superuser can keep tenants from taking advisory locks; see docs/access.md';
END
$$;

-- Row-level security binds whoever is not the owner of the tables: tenants read their own rows, whatever SQL they write.
-- The policies ask current_user and not a setting, because a setting could be set by hand.
ALTER TABLE tenant_roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE entities ENABLE ROW LEVEL SECURITY;
ALTER TABLE relationships ENABLE ROW LEVEL SECURITY;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE schemas ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS own_role ON tenant_roles;
CREATE POLICY own_role ON tenant_roles FOR SELECT TO weir_tenant USING (role_name = current_user);
DROP POLICY IF EXISTS own_rows ON entities;
CREATE POLICY own_rows ON entities FOR SELECT TO weir_tenant
    USING (organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));
DROP POLICY IF EXISTS own_rows ON relationships;
CREATE POLICY own_rows ON relationships FOR SELECT TO weir_tenant
    USING (organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));
DROP POLICY IF EXISTS own_rows ON events;
CREATE POLICY own_rows ON events FOR SELECT TO weir_tenant
    USING (organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));
DROP POLICY IF EXISTS own_rows ON schemas;
CREATE POLICY own_rows ON schemas FOR SELECT TO weir_tenant
    USING (organisation_id IS NULL
           OR organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO weir_tenant', current_schema());
END
$$;
GRANT SELECT ON tenant_roles, entities, relationships, relationship_types, events, schemas, metrics, links,
    organisations, projects, devices, sensors TO weir_tenant;
