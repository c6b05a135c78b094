-- What was added and nobody uses: a version that an entity was checked against, or a later one grew from, stays.

ALTER TABLE schemas DISABLE TRIGGER schemas_are_immutable;
DELETE FROM schemas s
WHERE s.organisation_id IS NULL AND s.version = 1 AND s.created_by = 'weir'
  AND s.entity_type IN ('organisation', 'project', 'device', 'device.esp32', 'equipment', 'sensor', 'user')
  AND NOT EXISTS (SELECT FROM schemas later WHERE later.entity_type = s.entity_type AND later.id <> s.id)
  AND NOT EXISTS (SELECT FROM entities e
                  WHERE e.schema_version IS NOT NULL
                    AND (e.entity_type = s.entity_type OR starts_with(e.entity_type, s.entity_type || '.')));
ALTER TABLE schemas ENABLE TRIGGER schemas_are_immutable;
