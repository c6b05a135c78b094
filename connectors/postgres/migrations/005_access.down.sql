DO $$
DECLARE
    locking regprocedure;
BEGIN
    FOR locking IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname LIKE 'pg\_%advisory%'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', locking);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END
$$;
DROP TRIGGER tenancy_ends_with_its_organisation ON entities;
DROP FUNCTION end_tenancy();
DROP POLICY own_rows ON schemas;
DROP POLICY own_rows ON events;
DROP POLICY own_rows ON relationships;
DROP POLICY own_rows ON entities;
ALTER TABLE entities DISABLE ROW LEVEL SECURITY;
ALTER TABLE relationships DISABLE ROW LEVEL SECURITY;
ALTER TABLE events DISABLE ROW LEVEL SECURITY;
ALTER TABLE schemas DISABLE ROW LEVEL SECURITY;
REVOKE SELECT ON tenant_roles, entities, relationships, relationship_types, events, schemas, metrics, links,
    organisations, projects, devices, sensors FROM weir_tenant;

CREATE SCHEMA IF NOT EXISTS weir_kept;
ALTER TABLE user_credentials SET SCHEMA weir_kept;
ALTER TABLE api_keys SET SCHEMA weir_kept;
ALTER TABLE tenant_roles SET SCHEMA weir_kept;
