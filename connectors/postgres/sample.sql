-- The world of the examples: two research organisations, a project each, ESP32 nodes and production equipment.
-- Rows that exist stay as they are, so this can run any number of times and never undoes an edit.

INSERT INTO organisations (id, name, properties) VALUES
    ('acme-research-labs', 'Acme Research Labs',
     '{"contact_email": "info@acme.example", "website": "https://acme.example", "city": "Boston", "country": "USA", "timezone": "America/New_York"}'),
    ('biotech-innovations', 'BioTech Innovations',
     '{"contact_email": "hello@biotech.example", "website": "https://biotech.example", "city": "Montevideo", "country": "Uruguay", "timezone": "America/Montevideo"}')
ON CONFLICT DO NOTHING;

INSERT INTO projects (id, organisation_id, name, settings) VALUES
    ('bioreactor-optimization', 'acme-research-labs', 'Bioreactor Optimization',
     '{"data_retention_days": 365, "alert_thresholds": {"environment.temperature": {"min": 20, "max": 30}}}'),
    ('fermentation-development', 'biotech-innovations', 'Fermentation Development',
     '{"data_retention_days": 14, "alert_thresholds": {"bioreactor.ph": {"min": 3.8, "max": 5.2}}}')
ON CONFLICT DO NOTHING;

INSERT INTO metrics (name, value_type, unit, min_value, max_value, description) VALUES
    ('environment.temperature', 'number', 'celsius', -40, 125, 'Temperature of the air around a device.'),
    ('environment.humidity', 'number', 'percent', 0, 100, 'Relative humidity of the air around a device.'),
    ('environment.pressure', 'number', 'kPa', 30, 120, 'Barometric pressure.'),
    ('bioreactor.temperature', 'number', 'celsius', 0, 140, 'Temperature of the broth.'),
    ('bioreactor.ph', 'number', 'pH', 0, 14, 'Acidity of the broth.'),
    ('bioreactor.dissolved_oxygen', 'number', 'percent', 0, 200, 'Dissolved oxygen, in percent of air saturation.'),
    ('fermentation.co2', 'number', 'ppm', 0, 500000, 'Carbon dioxide in the off-gas.'),
    ('equipment.temperature', 'number', 'celsius', 0, 400, 'Chamber temperature of an oven or incubator.'),
    ('equipment.state', 'text', '', NULL, NULL, 'What the equipment says it is doing.')
ON CONFLICT DO NOTHING;

INSERT INTO devices (id, organisation_id, project_id, device_type, name, status, properties, is_active) VALUES
    ('acme-esp32-001', 'acme-research-labs', 'bioreactor-optimization', 'device.esp32', 'ESP32 sensor node 1', 'online',
     '{"location": "Lab A", "firmware": {"version": "1.0.0"}, "hardware": {"model": "ESP32-WROOM-32"}, "config": {"readingInterval": 300}}', true),
    ('acme-esp32-002', 'acme-research-labs', 'bioreactor-optimization', 'device.esp32', 'ESP32 sensor node 2', 'online',
     '{"location": "Lab B", "firmware": {"version": "1.0.0"}, "hardware": {"model": "ESP32-WROOM-32"}, "config": {"readingInterval": 300}}', true),
    ('acme-esp32-003', 'acme-research-labs', NULL, 'device.esp32', 'ESP32 sensor node 3', 'maintenance',
     '{"location": "Store room", "hardware": {"model": "ESP32-WROOM-32"}}', false),
    ('acme-oven-001', 'acme-research-labs', NULL, 'equipment.oven', 'Production oven', 'online',
     '{"location": "Hall 1"}', true),
    ('biotech-esp32-001', 'biotech-innovations', 'fermentation-development', 'device.esp32', 'ESP32 sensor node, cellar', 'online',
     '{"location": "Cellar", "firmware": {"version": "1.1.0"}, "hardware": {"model": "ESP32-WROOM-32"}, "config": {"readingInterval": 60}}', true),
    ('biotech-fermenter-001', 'biotech-innovations', 'fermentation-development', 'equipment.fermenter', 'Fermenter 1', 'online',
     '{"location": "Cellar"}', true)
ON CONFLICT DO NOTHING;

INSERT INTO sensors (device_id, name, metric, unit, min_value, max_value, value_type) VALUES
    ('acme-esp32-001', 'temperature', 'environment.temperature', NULL, NULL, NULL, 'number'),
    ('acme-esp32-001', 'humidity', 'environment.humidity', NULL, NULL, NULL, 'number'),
    ('acme-esp32-001', 'broth_temperature', 'bioreactor.temperature', NULL, 10, 60, 'number'),
    ('acme-esp32-001', 'ph', 'bioreactor.ph', NULL, NULL, NULL, 'number'),
    ('acme-esp32-002', 'temperature', 'environment.temperature', NULL, NULL, NULL, 'number'),
    ('acme-esp32-002', 'humidity', 'environment.humidity', NULL, NULL, NULL, 'number'),
    ('acme-esp32-002', 'dissolved_oxygen', 'bioreactor.dissolved_oxygen', NULL, NULL, NULL, 'number'),
    ('acme-esp32-003', 'temperature', 'environment.temperature', NULL, NULL, NULL, 'number'),
    ('acme-oven-001', 'temperature', 'equipment.temperature', NULL, NULL, 350, 'number'),
    ('acme-oven-001', 'state', 'equipment.state', NULL, NULL, NULL, 'text'),
    ('biotech-esp32-001', 'temperature', 'environment.temperature', NULL, -10, 45, 'number'),
    ('biotech-esp32-001', 'humidity', 'environment.humidity', NULL, NULL, NULL, 'number'),
    ('biotech-esp32-001', 'pressure', 'environment.pressure', 'hPa', 300, 1200, 'number'),
    ('biotech-fermenter-001', 'ph', 'bioreactor.ph', NULL, 2, 9, 'number'),
    ('biotech-fermenter-001', 'co2', 'fermentation.co2', NULL, NULL, NULL, 'number'),
    ('biotech-fermenter-001', 'state', 'equipment.state', NULL, NULL, NULL, 'text')
ON CONFLICT DO NOTHING;
