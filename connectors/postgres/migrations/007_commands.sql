-- Commands to devices, and how far the relay has written events and commands to Kafka.

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['commands', 'relay_positions'] LOOP
        IF to_regclass('weir_kept.' || kept) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE weir_kept.%I SET SCHEMA %I', kept, current_schema());
        END IF;
    END LOOP;
END
$$;

CREATE TABLE IF NOT EXISTS commands (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organisation_id  uuid NOT NULL REFERENCES entities (id),
    device_id        uuid NOT NULL REFERENCES entities (id),
    command          text NOT NULL CHECK (command ~ '^[a-z][a-z0-9_.]{0,99}$'),
    parameters       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'
                                                        AND pg_column_size(parameters) <= 65536),
    status           text NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'delivered', 'answered', 'expired', 'cancelled')),
    created_by       text NOT NULL DEFAULT current_user,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,
    delivered_at     timestamptz,
    answered_at      timestamptz,
    answer           jsonb CHECK (jsonb_typeof(answer) = 'object' AND pg_column_size(answer) <= 65536),
    CONSTRAINT command_expires_later CHECK (created_at < expires_at),
    CONSTRAINT answer_has_a_time CHECK ((status = 'answered') = (answered_at IS NOT NULL))
);
COMMENT ON TABLE commands IS 'What devices are told to do; every step is an event too.';
CREATE INDEX IF NOT EXISTS commands_by_device ON commands (device_id, created_at, id);
CREATE INDEX IF NOT EXISTS commands_that_wait ON commands (device_id, created_at)
    WHERE status IN ('pending', 'delivered');

CREATE TABLE IF NOT EXISTS relay_positions (
    name        text PRIMARY KEY,
    written_in  xid8 NOT NULL,
    id          bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE relay_positions IS 'Last event that each relay has written to Kafka and that the broker acknowledged.';

ALTER TABLE commands ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_rows ON commands;
CREATE POLICY own_rows ON commands FOR SELECT TO weir_tenant
    USING (organisation_id = (SELECT t.organisation_id FROM tenant_roles t WHERE t.role_name = current_user));
GRANT SELECT ON commands TO weir_tenant;
