-- The registry of metrics: what kind of value, in which unit, within which bounds, of which shape.

ALTER TABLE metrics DROP CONSTRAINT metrics_value_type_check;
ALTER TABLE metrics ALTER COLUMN value_type SET DEFAULT 'float';
UPDATE metrics SET value_type = CASE value_type WHEN 'number' THEN 'float' ELSE 'string' END;
-- bounds of a text never meant anything
UPDATE metrics SET min_value = NULL, max_value = NULL WHERE value_type = 'string';
ALTER TABLE metrics
    ADD COLUMN bounds_action text NOT NULL DEFAULT 'reject' CHECK (bounds_action IN ('reject', 'mark')),
    ADD COLUMN enum_values   text[],
    ADD COLUMN json_schema   jsonb CHECK (jsonb_typeof(json_schema) IN ('object', 'boolean')),
    ADD COLUMN created_at    timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN updated_at    timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN changed_in    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD CONSTRAINT metric_value_type CHECK (value_type IN ('float', 'integer', 'boolean', 'string', 'json', 'enum')),
    ADD CONSTRAINT metric_enum_has_values CHECK ((value_type = 'enum') = (coalesce(cardinality(enum_values), 0) > 0)),
    ADD CONSTRAINT metric_schema_is_for_json CHECK (json_schema IS NULL OR value_type = 'json'),
    ADD CONSTRAINT metric_schema_is_at_most_64_kib CHECK (pg_column_size(json_schema) <= 65536),
    ADD CONSTRAINT metric_bounds_are_for_numbers CHECK (
        (min_value IS NULL AND max_value IS NULL) OR value_type IN ('float', 'integer'));
COMMENT ON COLUMN metrics.unit IS 'Base unit: readings in another unit of its dimension are converted to it.';
COMMENT ON COLUMN metrics.bounds_action IS 'What becomes of a value out of bounds: reject (dead letter), or mark (stored '
    'with the quality out_of_bounds).';
COMMENT ON COLUMN metrics.enum_values IS 'The texts that an enum may take.';
COMMENT ON COLUMN metrics.json_schema IS 'JSON Schema of structured values; null: any JSON.';

DO $$
BEGIN
    IF to_regclass('weir_kept.metric_details') IS NOT NULL THEN
        UPDATE metrics m
        SET value_type = k.value_type, bounds_action = k.bounds_action, enum_values = k.enum_values,
            json_schema = k.json_schema, created_at = k.created_at, updated_at = k.updated_at
        FROM weir_kept.metric_details k
        WHERE k.name = m.name AND (k.value_type IN ('float', 'integer')) = (m.value_type = 'float');
        DROP TABLE weir_kept.metric_details;
    END IF;
END
$$;

CREATE OR REPLACE TRIGGER metrics_stamped BEFORE UPDATE ON metrics FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE INDEX metrics_by_change ON metrics (changed_in);
