-- What the gateway reads of metadata: limits and sampling as properties that the built-in types describe, and which keys
-- changed since it looked last.

-- The newest shared version of each type grows; what somebody has described under these names stays theirs.
INSERT INTO schemas (entity_type, version, definition, description, created_by)
SELECT newest.entity_type, newest.version + 1, grown.definition || newest.definition, newest.description, 'weir'
FROM (
    SELECT DISTINCT ON (entity_type) entity_type, version, definition, description
    FROM schemas WHERE organisation_id IS NULL
    ORDER BY entity_type, version DESC
) AS newest
CROSS JOIN LATERAL (
    SELECT '{
        "records_per_second": {"type": "number", "min": 0, "description": "Readings a second that are taken."},
        "bytes_per_second": {"type": "number", "min": 0, "description": "Bytes of records a second that are taken."},
        "backlog_records_per_second": {"type": "number", "min": 0,
            "description": "Readings a second that were measured a while ago, beside the live ones."},
        "burst_seconds": {"type": "number", "min": 0.1, "max": 3600,
            "description": "So many seconds'' worth may come at once."}
    }'::jsonb AS rates
) AS described
CROSS JOIN LATERAL (
    SELECT jsonb_build_object(
        'quotas', jsonb_build_object(
            'type', 'object', 'additional', false,
            'description', 'How much the gateway takes; what is left out has no limit of its own.',
            'properties', described.rates || CASE WHEN newest.entity_type = 'organisation' THEN jsonb_build_object(
                'new_values_a_day', '{"type": "integer", "min": 0,
                    "description": "New sensors, units, sources and firmware versions a day."}'::jsonb,
                'devices', jsonb_build_object(
                    'type', 'object', 'additional', false, 'properties', described.rates,
                    'description', 'Of each device that has none of its own.')) ELSE '{}' END),
        'sampling', '{"type": "object", "additional": false,
            "description": "Which readings of a series are worth storing.",
            "properties": {
                "policy": {"type": "string", "required": true, "enum": ["all", "every", "dead_band", "on_change"]},
                "seconds": {"type": "number", "min": 0, "description": "every: one in so many seconds."},
                "width": {"type": "number", "min": 0, "description": "dead_band: those that differ by so much."},
                "at_most_seconds": {"type": "number", "min": 0,
                    "description": "After so many seconds without one, one is kept anyway; 0: never."}
            }}'::jsonb) AS definition
) AS grown
WHERE newest.entity_type IN ('organisation', 'device', 'device.esp32', 'equipment')
  AND NOT newest.definition ?& ARRAY['quotas', 'sampling'];

-- Whoever remembers keys asks which ones changed. That a key was used is no change of it.
ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS changed_in xid8 NOT NULL DEFAULT pg_current_xact_id();
COMMENT ON COLUMN api_keys.changed_in IS 'Transaction that wrote what this key may do: the gateway asks for newer ones.';
CREATE INDEX IF NOT EXISTS api_keys_by_change ON api_keys (changed_in);
CREATE OR REPLACE TRIGGER api_keys_stamped
    BEFORE UPDATE OF prefix, secret_hash, organisation_id, device_id, role, expires_at, revoked_at ON api_keys
    FOR EACH ROW EXECUTE FUNCTION stamp_change();
-- a key that vanishes would be no change that anybody sees
CREATE OR REPLACE TRIGGER api_keys_are_kept BEFORE DELETE OR TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('keys are kept; set revoked_at');
