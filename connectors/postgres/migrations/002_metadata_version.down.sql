DO $$
DECLARE
    watched text;
    happening text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['organisations', 'projects', 'devices', 'metrics', 'sensors'] LOOP
        FOREACH happening IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            EXECUTE format('DROP TRIGGER version_after_%s ON %I', happening, watched);
        END LOOP;
    END LOOP;
END
$$;
DROP FUNCTION bump_metadata_version();
DROP TABLE metadata_version;
