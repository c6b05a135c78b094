-- The world of the examples: two research organisations with their people, a project each, ESP32 nodes, production
-- equipment and what is done with it.
-- Rows that exist stay as they are, so this can run any number of times and never undoes an edit: what was renamed,
-- moved, ended or retired is known by its id and not made again. Nobody gets a password or a key.

-- whoever writes waits here, see connectors/entities/directory.py
SELECT version FROM metadata_version FOR NO KEY UPDATE;

INSERT INTO entities (id, entity_type, key, name, description, properties, organisation_id)
SELECT o.id, 'organisation', o.key, o.name, o.description, o.properties::jsonb, o.id
FROM (SELECT md5('weir sample organisation ' || key)::uuid AS id, * FROM (VALUES
    ('acme-research-labs', 'Acme Research Labs', 'Contract research on bioreactors.',
     '{"contact_email": "info@acme.example", "contact_phone": "+1-555-0100", "website": "https://acme.example",
       "address": "123 Main St", "city": "Boston", "state": "Massachusetts", "country": "USA",
       "timezone": "America/New_York", "member_count": 25}'),
    ('biotech-innovations', 'BioTech Innovations', 'Fermented food and drink.',
     '{"contact_email": "hello@biotech.example", "contact_phone": "+598-2-555-0101",
       "website": "https://biotech.example", "address": "Rambla 456", "city": "Montevideo", "state": "Montevideo",
       "country": "Uruguay", "timezone": "America/Montevideo", "member_count": 12}')
) AS given (key, name, description, properties)) AS o
ON CONFLICT DO NOTHING;

INSERT INTO entities (id, entity_type, key, name, description, properties, organisation_id)
SELECT md5('weir sample project ' || p.key)::uuid, 'project', p.key, p.name, p.description, p.properties::jsonb, o.id
FROM (VALUES
    ('bioreactor-optimization', 'acme-research-labs', 'Bioreactor Optimization', 'More yield from the same broth.',
     '{"start_date": "2024-01-15", "end_date": "2024-06-15", "budget": "$50,000", "progress_percentage": 25,
       "priority": "high", "tags": ["optimization", "bioreactor"],
       "settings": {"data_retention_days": 365,
                    "alert_thresholds": {"environment.temperature": {"min": 20, "max": 30}}}}'),
    ('fermentation-development', 'biotech-innovations', 'Fermentation Development', 'Sour doughs that stay the same.',
     '{"start_date": "2024-02-01", "end_date": "2024-08-31", "budget": "$75,000", "progress_percentage": 40,
       "priority": "medium", "tags": ["fermentation", "development"],
       "settings": {"data_retention_days": 14,
                    "alert_thresholds": {"bioreactor.ph": {"min": 3.8, "max": 5.2}}}}')
) AS p (key, organisation, name, description, properties)
JOIN entities o ON o.entity_type = 'organisation' AND o.key = p.organisation
ON CONFLICT DO NOTHING;

INSERT INTO entities (id, entity_type, key, name, properties, organisation_id)
SELECT md5('weir sample user ' || u.key)::uuid, 'user', u.key, u.name, u.properties::jsonb, o.id
FROM (VALUES
    ('test@acme.example', 'acme-research-labs', 'Test user of Acme',
     '{"user_type": "standard", "department": "Development"}'),
    ('operator@acme.example', 'acme-research-labs', 'Oven operator',
     '{"user_type": "standard", "department": "Production"}'),
    ('test@biotech.example', 'biotech-innovations', 'Test user of BioTech',
     '{"user_type": "standard", "department": "Development"}')
) AS u (key, organisation, name, properties)
JOIN entities o ON o.entity_type = 'organisation' AND o.key = u.organisation
ON CONFLICT DO NOTHING;

INSERT INTO metrics (name, value_type, unit, min_value, max_value, description) VALUES
    ('environment.temperature', 'float', 'celsius', -40, 125, 'Temperature of the air around a device.'),
    ('environment.humidity', 'float', 'percent', 0, 100, 'Relative humidity of the air around a device.'),
    ('environment.pressure', 'float', 'kPa', 30, 120, 'Barometric pressure.'),
    ('bioreactor.temperature', 'float', 'celsius', 0, 140, 'Temperature of the broth.'),
    ('bioreactor.ph', 'float', 'pH', 0, 14, 'Acidity of the broth.'),
    ('bioreactor.dissolved_oxygen', 'float', 'percent', 0, 200, 'Dissolved oxygen, in percent of air saturation.'),
    ('fermentation.co2', 'float', 'ppm', 0, 500000, 'Carbon dioxide in the off-gas.'),
    ('equipment.temperature', 'float', 'celsius', 0, 400, 'Chamber temperature of an oven or incubator.'),
    ('equipment.state', 'string', '', NULL, NULL, 'What the equipment says it is doing.')
ON CONFLICT DO NOTHING;

INSERT INTO entities (id, entity_type, key, name, status, is_active, properties, organisation_id)
SELECT md5('weir sample device ' || d.key)::uuid, d.entity_type, d.key, d.name, d.status, d.is_active,
       d.properties::jsonb, o.id
FROM (VALUES
    ('acme-esp32-001', 'acme-research-labs', 'device.esp32', 'ESP32 sensor node 1', 'online', true,
     '{"location": "Lab A", "firmware": {"version": "1.0.0", "lastUpdate": "2024-03-20T10:00:00Z"},
       "hardware": {"model": "ESP32-WROOM-32", "macAddress": "24:6F:28:00:00:01", "sensors": [
           {"type": "temperature", "unit": "celsius", "range": {"min": -40, "max": 125}},
           {"type": "humidity", "unit": "percent", "range": {"min": 0, "max": 100}},
           {"type": "broth_temperature", "unit": "celsius", "range": {"min": 10, "max": 60}},
           {"type": "ph", "unit": "pH", "range": {"min": 0, "max": 14}}]},
       "config": {"readingInterval": 300, "alertThresholds": {"temperature": {"min": 15, "max": 30}}}}'),
    ('acme-esp32-002', 'acme-research-labs', 'device.esp32', 'ESP32 sensor node 2', 'online', true,
     '{"location": "Lab B", "firmware": {"version": "1.0.0", "lastUpdate": "2024-03-20T10:00:00Z"},
       "hardware": {"model": "ESP32-WROOM-32", "macAddress": "24:6F:28:00:00:02", "sensors": [
           {"type": "temperature", "unit": "celsius", "range": {"min": -40, "max": 125}},
           {"type": "humidity", "unit": "percent", "range": {"min": 0, "max": 100}},
           {"type": "dissolved_oxygen", "unit": "percent", "range": {"min": 0, "max": 200}}]},
       "config": {"readingInterval": 300, "alertThresholds": {"dissolved_oxygen": {"min": 20}}}}'),
    ('acme-esp32-003', 'acme-research-labs', 'device.esp32', 'ESP32 sensor node 3', 'maintenance', false,
     '{"location": "Store room", "hardware": {"model": "ESP32-WROOM-32"}}'),
    ('acme-oven-001', 'acme-research-labs', 'equipment.oven', 'Production oven', 'online', true,
     '{"location": "Hall 1", "config": {"alertThresholds": {"temperature": {"max": 280}}}}'),
    ('biotech-esp32-001', 'biotech-innovations', 'device.esp32', 'ESP32 sensor node, cellar', 'online', true,
     '{"location": "Cellar", "firmware": {"version": "1.1.0", "lastUpdate": "2024-04-02T08:30:00Z"},
       "hardware": {"model": "ESP32-WROOM-32", "macAddress": "24:6F:28:00:00:03", "sensors": [
           {"type": "temperature", "unit": "celsius", "range": {"min": -10, "max": 45}},
           {"type": "humidity", "unit": "percent", "range": {"min": 0, "max": 100}},
           {"type": "pressure", "unit": "hPa", "range": {"min": 300, "max": 1200}}]},
       "config": {"readingInterval": 60, "alertThresholds": {"temperature": {"min": 8, "max": 24}}}}'),
    ('biotech-fermenter-001', 'biotech-innovations', 'equipment.fermenter', 'Fermenter 1', 'online', true,
     '{"location": "Cellar"}')
) AS d (key, organisation, entity_type, name, status, is_active, properties)
JOIN entities o ON o.entity_type = 'organisation' AND o.key = d.organisation
ON CONFLICT DO NOTHING;

INSERT INTO entities (id, entity_type, key, properties, organisation_id, parent_id)
SELECT md5('weir sample sensor ' || s.device || ' ' || s.key)::uuid, 'sensor', s.key, s.properties::jsonb,
       d.organisation_id, d.id
FROM (VALUES
    ('acme-esp32-001', 'temperature', '{"metric": "environment.temperature"}'),
    ('acme-esp32-001', 'humidity', '{"metric": "environment.humidity"}'),
    ('acme-esp32-001', 'broth_temperature', '{"metric": "bioreactor.temperature", "min_value": 10, "max_value": 60}'),
    ('acme-esp32-001', 'ph', '{"metric": "bioreactor.ph"}'),
    ('acme-esp32-002', 'temperature', '{"metric": "environment.temperature"}'),
    ('acme-esp32-002', 'humidity', '{"metric": "environment.humidity"}'),
    ('acme-esp32-002', 'dissolved_oxygen', '{"metric": "bioreactor.dissolved_oxygen"}'),
    ('acme-esp32-003', 'temperature', '{"metric": "environment.temperature"}'),
    ('acme-oven-001', 'temperature', '{"metric": "equipment.temperature", "max_value": 350}'),
    ('acme-oven-001', 'state', '{"metric": "equipment.state"}'),
    ('biotech-esp32-001', 'temperature', '{"metric": "environment.temperature", "min_value": -10, "max_value": 45}'),
    ('biotech-esp32-001', 'humidity', '{"metric": "environment.humidity"}'),
    ('biotech-esp32-001', 'pressure',
     '{"metric": "environment.pressure", "unit": "hPa", "min_value": 300, "max_value": 1200}'),
    ('biotech-fermenter-001', 'ph', '{"metric": "bioreactor.ph", "min_value": 2, "max_value": 9}'),
    ('biotech-fermenter-001', 'co2', '{"metric": "fermentation.co2"}'),
    ('biotech-fermenter-001', 'state', '{"metric": "equipment.state"}')
) AS s (device, key, properties)
JOIN entities d ON d.kind IN ('device', 'equipment') AND d.key = s.device
ON CONFLICT DO NOTHING;

-- One that was there and has ended is not begun again; a device that was ever in a project is where people put it.
INSERT INTO relationships (from_entity, to_entity, relationship_type, properties, valid_from, organisation_id, created_by)
SELECT b.id, e.id, r.relationship_type, r.properties::jsonb,
       CASE WHEN r.relationship_type = 'contains' THEN '-infinity' ELSE now() END, b.organisation_id, 'weir'
FROM (VALUES
    ('project', 'bioreactor-optimization', 'contains', 'device', 'acme-esp32-001', '{}'),
    ('project', 'bioreactor-optimization', 'contains', 'device', 'acme-esp32-002', '{}'),
    ('project', 'fermentation-development', 'contains', 'device', 'biotech-esp32-001', '{}'),
    ('project', 'fermentation-development', 'contains', 'equipment', 'biotech-fermenter-001', '{}'),
    ('device', 'acme-esp32-002', 'monitors', 'equipment', 'acme-oven-001', '{"location": "exhaust"}'),
    ('device', 'biotech-esp32-001', 'monitors', 'equipment', 'biotech-fermenter-001', '{}'),
    ('user', 'test@acme.example', 'belongs_to', 'organisation', 'acme-research-labs', '{"role": "admin"}'),
    ('user', 'operator@acme.example', 'belongs_to', 'organisation', 'acme-research-labs', '{"role": "editor"}'),
    ('user', 'test@biotech.example', 'belongs_to', 'organisation', 'biotech-innovations', '{"role": "admin"}'),
    ('user', 'test@acme.example', 'manages', 'project', 'bioreactor-optimization', '{}'),
    ('user', 'operator@acme.example', 'participates_in', 'project', 'bioreactor-optimization', '{}'),
    ('user', 'test@biotech.example', 'manages', 'project', 'fermentation-development', '{}')
) AS r (from_kind, from_key, relationship_type, to_kind, to_key, properties)
JOIN entities b ON b.kind = r.from_kind AND b.key = r.from_key
JOIN entities e ON e.kind = r.to_kind AND e.key = r.to_key
    AND (e.organisation_id = b.organisation_id OR r.relationship_type = 'belongs_to')
WHERE NOT EXISTS (
    SELECT FROM relationships known
    WHERE known.relationship_type = r.relationship_type AND known.to_entity = e.id
      AND (known.from_entity = b.id OR r.relationship_type = 'contains'));

INSERT INTO processes (id, organisation_id, name, version, process_type, definition)
SELECT md5('weir sample process ' || p.name)::uuid, o.id, p.name, p.version, p.process_type, p.definition::jsonb
FROM (VALUES
    ('acme-research-labs', 'Sourdough baking', '1.0', 'recipe.baking',
     '{"ingredients": [{"name": "flour", "quantity": 1000, "unit": "g"}, {"name": "water", "quantity": 700, "unit": "g"},
                       {"name": "sourdough", "quantity": 200, "unit": "g"}, {"name": "salt", "quantity": 20, "unit": "g"}],
       "steps": [{"name": "proof", "minutes": 240, "targets": {"environment.temperature": 26}},
                 {"name": "bake", "minutes": 45, "equipment": "acme-oven-001",
                  "targets": {"equipment.temperature": 240}},
                 {"name": "cool", "minutes": 60}]}'),
    ('biotech-innovations', 'Kombucha fermentation', '1.0', 'workflow.fermentation',
     '{"steps": [{"name": "inoculate", "minutes": 30},
                 {"name": "ferment", "minutes": 10080, "equipment": "biotech-fermenter-001",
                  "until": {"bioreactor.ph": {"max": 3.2}}},
                 {"name": "harvest", "minutes": 60}]}')
) AS p (organisation, name, version, process_type, definition)
JOIN entities o ON o.entity_type = 'organisation' AND o.key = p.organisation
ON CONFLICT DO NOTHING;

UPDATE entities e
SET schema_version = (SELECT s.version FROM schemas s
                      WHERE s.organisation_id IS NULL AND starts_with(e.entity_type || '.', s.entity_type || '.')
                      ORDER BY length(s.entity_type) DESC, s.version DESC LIMIT 1)
WHERE e.changed_in = pg_current_xact_id();

-- The log explains where they came from: what this transaction has made, and nothing else.
INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
SELECT e.kind || '.created', e.id, e.entity_type, e.key, e.organisation_id,
       jsonb_strip_nulls(jsonb_build_object('name', nullif(e.name, ''), 'status', e.status, 'parent', d.key))
       || jsonb_build_object('properties', e.properties), 'weir', 'sample'
FROM entities e LEFT JOIN entities d ON d.id = e.parent_id
WHERE e.changed_in = pg_current_xact_id()
ORDER BY array_position('{organisation,project,user,device,equipment,sensor}', e.kind), e.key;

INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
SELECT 'relationship.created', e.id, e.entity_type, e.key, e.organisation_id,
       jsonb_build_object('id', r.id, 'relationship_type', r.relationship_type, 'from_type', b.entity_type,
                          'from_key', b.key, 'to_type', e.entity_type, 'to_key', e.key, 'properties', r.properties,
                          'strength', r.strength, 'valid_from', nullif(r.valid_from, '-infinity'), 'valid_to', NULL),
       'weir', 'sample'
FROM relationships r JOIN entities b ON b.id = r.from_entity JOIN entities e ON e.id = r.to_entity
WHERE r.changed_in = pg_current_xact_id()
ORDER BY r.id;

INSERT INTO events (event_type, entity_id, entity_type, entity_key, organisation_id, data, actor, source)
SELECT 'process.defined', o.id, o.entity_type, o.key, o.id,
       jsonb_build_object('process_id', p.id, 'name', p.name, 'version', p.version, 'process_type', p.process_type),
       'weir', 'sample'
FROM processes p JOIN entities o ON o.id = p.organisation_id
WHERE p.created_at = now() AND p.id = md5('weir sample process ' || p.name)::uuid
ORDER BY p.name;
