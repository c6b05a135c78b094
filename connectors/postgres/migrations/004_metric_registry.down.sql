-- Back to numbers and texts; the rest of the registry waits in weir_kept.

CREATE SCHEMA IF NOT EXISTS weir_kept;
CREATE TABLE weir_kept.metric_details AS
    SELECT name, value_type, bounds_action, enum_values, json_schema, created_at, updated_at FROM metrics;

DROP TRIGGER metrics_stamped ON metrics;
ALTER TABLE metrics
    DROP CONSTRAINT metric_value_type, DROP CONSTRAINT metric_enum_has_values, DROP CONSTRAINT metric_schema_is_for_json,
    DROP CONSTRAINT metric_bounds_are_for_numbers, DROP CONSTRAINT metric_schema_is_at_most_64_kib,
    DROP COLUMN bounds_action, DROP COLUMN enum_values, DROP COLUMN json_schema, DROP COLUMN created_at,
    DROP COLUMN updated_at, DROP COLUMN changed_in;
UPDATE metrics SET value_type = CASE WHEN value_type IN ('float', 'integer') THEN 'number' ELSE 'text' END;
ALTER TABLE metrics ALTER COLUMN value_type SET DEFAULT 'number';
ALTER TABLE metrics ADD CONSTRAINT metrics_value_type_check CHECK (value_type IN ('number', 'text'));
