-- One number that grows with every change of the metadata, so that a worker sees cheaply whether to load it again.
-- Statement-level triggers: a bulk load of a million sensors bumps it once.

CREATE TABLE metadata_version (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version   bigint NOT NULL
);
INSERT INTO metadata_version (version) VALUES (1);

CREATE FUNCTION bump_metadata_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched boolean := true;
    grown bigint;
BEGIN
    -- a TRUNCATE has no transition table; the others count only when they touched a row
    IF TG_OP <> 'TRUNCATE' THEN
        SELECT EXISTS (SELECT FROM touched_rows) INTO touched;
    END IF;
    IF touched THEN
        UPDATE metadata_version SET version = version + 1 RETURNING version INTO grown;
        PERFORM pg_notify('weir_metadata', grown::text);
    END IF;
    RETURN NULL;
END
$$;

DO $$
DECLARE
    watched text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['organisations', 'projects', 'devices', 'metrics', 'sensors'] LOOP
        EXECUTE format('CREATE TRIGGER version_after_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS touched_rows '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
        EXECUTE format('CREATE TRIGGER version_after_update AFTER UPDATE ON %I REFERENCING NEW TABLE AS touched_rows '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
        EXECUTE format('CREATE TRIGGER version_after_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS touched_rows '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
        EXECUTE format('CREATE TRIGGER version_after_truncate AFTER TRUNCATE ON %I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION bump_metadata_version()', watched);
    END LOOP;
END
$$;
