-- Organisations own projects and devices; a device has sensors; a sensor measures a metric.
-- Ids are text that people choose (slugs): they travel in every reading and are what an analyst filters by.

CREATE TABLE organisations (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name        text NOT NULL,
    properties  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE organisations IS 'Tenants: every device, reading and quota belongs to exactly one.';
COMMENT ON COLUMN organisations.properties IS 'Contact, address, timezone and the like.';

CREATE TABLE projects (
    id               text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    organisation_id  text NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    name             text NOT NULL,
    settings         jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, id),
    CONSTRAINT data_retention_days_is_a_day_count CHECK (
        NOT settings ? 'data_retention_days'
        OR (jsonb_typeof(settings -> 'data_retention_days') = 'number'
            AND (settings ->> 'data_retention_days')::numeric BETWEEN 1 AND 65535
            AND (settings ->> 'data_retention_days')::numeric % 1 = 0)
    )
);
COMMENT ON COLUMN projects.settings IS 'data_retention_days (whole days, shortens retention), alert_thresholds {metric: {min, max}}.';

CREATE TABLE devices (
    id               text PRIMARY KEY CHECK (id <> '' AND octet_length(id) <= 200),
    organisation_id  text NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    project_id       text,
    device_type      text NOT NULL DEFAULT 'device',
    name             text NOT NULL DEFAULT '',
    status           text NOT NULL DEFAULT 'offline' CHECK (status IN ('online', 'offline', 'maintenance', 'error')),
    properties       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    -- a device can only be in a project of its own organisation
    FOREIGN KEY (organisation_id, project_id) REFERENCES projects (organisation_id, id)
        ON DELETE SET NULL (project_id)
);
CREATE INDEX devices_by_organisation ON devices (organisation_id, project_id);
COMMENT ON COLUMN devices.is_active IS 'False: retired; its readings are refused as of an unknown device.';

CREATE TABLE metrics (
    name         text PRIMARY KEY CHECK (name ~ '^[a-z0-9_]+(\.[a-z0-9_]+)*$' AND octet_length(name) <= 255),
    value_type   text NOT NULL DEFAULT 'number' CHECK (value_type IN ('number', 'text')),
    unit         text NOT NULL DEFAULT '',
    min_value    double precision,
    max_value    double precision,
    description  text NOT NULL DEFAULT '',
    CONSTRAINT metric_bounds_in_order CHECK (min_value <= max_value)
);
COMMENT ON TABLE metrics IS 'Flat dotted names of what can be measured, with unit and bounds for every sensor that sets none.';

CREATE TABLE sensors (
    device_id   text NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    name        text NOT NULL CHECK (name <> '' AND octet_length(name) <= 200),
    metric      text NOT NULL REFERENCES metrics (name) ON UPDATE CASCADE,
    unit        text,
    min_value   double precision,
    max_value   double precision,
    value_type  text NOT NULL DEFAULT 'number' CHECK (value_type IN ('number', 'text')),
    PRIMARY KEY (device_id, name),
    CONSTRAINT sensor_bounds_in_order CHECK (min_value <= max_value)
);
COMMENT ON COLUMN sensors.unit IS 'Null: the unit of the metric.';
COMMENT ON COLUMN sensors.min_value IS 'Smallest plausible value; null: the bound of the metric.';
COMMENT ON COLUMN sensors.max_value IS 'Largest plausible value; null: the bound of the metric.';
