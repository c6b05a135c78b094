"""One file a server: how it is prepared, started and asked whether it is well."""
