REVOKE SELECT ON commands FROM weir_tenant;
DROP POLICY own_rows ON commands;
CREATE SCHEMA IF NOT EXISTS weir_kept;
ALTER TABLE commands SET SCHEMA weir_kept;
ALTER TABLE relay_positions SET SCHEMA weir_kept;
