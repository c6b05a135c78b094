REVOKE SELECT ON processes, process_instances FROM weir_tenant;
DROP POLICY own_rows ON processes;
DROP POLICY own_rows ON process_instances;
CREATE SCHEMA IF NOT EXISTS weir_kept;
ALTER TABLE processes SET SCHEMA weir_kept;
ALTER TABLE process_instances SET SCHEMA weir_kept;
