-- The first version of the types that every organisation has. Other types are added as schemas, with no code.

INSERT INTO schemas (entity_type, version, definition, description, created_by) VALUES
    ('organisation', 1, '{
        "contact_email": {"type": "string", "max_length": 320},
        "contact_phone": {"type": "string", "max_length": 100},
        "website": {"type": "string", "max_length": 2000},
        "address": {"type": "string"},
        "city": {"type": "string"},
        "state": {"type": "string"},
        "country": {"type": "string"},
        "timezone": {"type": "string", "max_length": 100},
        "member_count": {"type": "integer", "min": 0},
        "settings": {"type": "object"},
        "unknown_devices": {"type": "object", "additional": false, "properties": {
            "policy": {"type": "string", "enum": ["dead_letter", "register"], "required": true,
                       "description": "What becomes of readings of a device that nobody has registered."},
            "prefix": {"type": "string", "min_length": 1, "max_length": 200,
                       "description": "Only device ids that begin so are registered."},
            "most": {"type": "integer", "min": 0, "description": "At most so many devices are registered by themselves."}
        }}
    }', 'A tenant: every device, reading and quota belongs to exactly one.', 'weir'),
    ('project', 1, '{
        "start_date": {"type": "string", "pattern": "^\\d{4}-\\d{2}-\\d{2}$"},
        "end_date": {"type": "string", "pattern": "^\\d{4}-\\d{2}-\\d{2}$"},
        "budget": {"type": "string"},
        "progress_percentage": {"type": "number", "min": 0, "max": 100},
        "priority": {"type": "string", "enum": ["low", "medium", "high", "critical"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "location": {"type": "string"},
        "settings": {"type": "object", "properties": {
            "data_retention_days": {"type": "integer", "min": 1, "max": 65535,
                                    "description": "Shortens the retention of the readings of its devices."},
            "alert_thresholds": {"type": "object", "description": "{metric or sensor: {min, max}}"}
        }}
    }', 'A project of an organisation; it contains devices.', 'weir'),
    ('device', 1, '{
        "status": {"type": "string", "default": "offline",
                   "enum": ["online", "offline", "maintenance", "error", "pending", "active"]},
        "location": {"type": "string"},
        "firmware": {"type": "object"},
        "hardware": {"type": "object"},
        "config": {"type": "object", "properties": {
            "readingInterval": {"type": "number", "min": 0, "description": "Seconds between two readings."},
            "silentAfterSeconds": {"type": "number", "min": 1},
            "alertThresholds": {"type": "object", "description": "{sensor or metric: {min, max}}"}
        }}
    }', 'Anything that sends readings.', 'weir'),
    ('device.esp32', 1, '{
        "name": {"type": "string", "required": true},
        "status": {"type": "string", "default": "offline",
                   "enum": ["online", "offline", "maintenance", "error", "pending", "active"]},
        "location": {"type": "string"},
        "firmware": {
            "version": {"type": "string", "max_length": 100},
            "lastUpdate": {"type": "timestamp"}
        },
        "hardware": {
            "model": {"type": "string", "required": true},
            "macAddress": {"type": "string", "max_length": 100},
            "sensors": {"type": "array", "items": {"type": "object", "properties": {
                "type": {"type": "string", "required": true, "min_length": 1},
                "name": {"type": "string", "min_length": 1},
                "metric": {"type": "string", "description": "The sensor is made together with the device."},
                "unit": {"type": "string"},
                "range": {"type": "object", "properties": {"min": {"type": "number"}, "max": {"type": "number"}}}
            }}}
        },
        "config": {"type": "object", "properties": {
            "readingInterval": {"type": "number", "min": 0, "description": "Seconds between two readings."},
            "silentAfterSeconds": {"type": "number", "min": 1},
            "alertThresholds": {"type": "object", "description": "{sensor or metric: {min, max}}"}
        }}
    }', 'An ESP32 node with its firmware, hardware and configuration.', 'weir'),
    ('equipment', 1, '{
        "location": {"type": "string"},
        "manufacturer": {"type": "string"},
        "model": {"type": "string"},
        "serial_number": {"type": "string"},
        "config": {"type": "object", "properties": {
            "readingInterval": {"type": "number", "min": 0},
            "silentAfterSeconds": {"type": "number", "min": 1},
            "alertThresholds": {"type": "object"}
        }}
    }', 'A machine, such as an oven: it may be monitored, and may send readings itself.', 'weir'),
    ('sensor', 1, '{
        "metric": {"type": "string", "required": true, "description": "Name in the registry of metrics."},
        "unit": {"type": "string", "description": "What the device sends; left out: the unit of the metric."},
        "min_value": {"type": "number", "description": "Smallest plausible value; left out: the metric''s."},
        "max_value": {"type": "number", "description": "Largest plausible value; left out: the metric''s."},
        "alert": {"type": "object", "properties": {
            "min": {"type": "number"},
            "max": {"type": "number"},
            "hysteresis": {"type": "number", "min": 0},
            "for_seconds": {"type": "number", "min": 0}
        }}
    }', 'One thing that a device measures.', 'weir'),
    ('user', 1, '{
        "user_type": {"type": "string"},
        "role": {"type": "string"},
        "department": {"type": "string"}
    }', 'A person who may log in; passwords are kept apart.', 'weir')
ON CONFLICT DO NOTHING;
