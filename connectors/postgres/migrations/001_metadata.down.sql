-- The rows wait in the schema weir_kept until 003_entities.sql brings them back.

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
    FOREACH kept IN ARRAY ARRAY['organisations', 'projects', 'metrics', 'devices', 'sensors'] LOOP
        EXECUTE format('ALTER TABLE %I SET SCHEMA weir_kept', kept);
    END LOOP;
END
$$;
