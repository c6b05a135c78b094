"""What records hold: readings, JSON, Avro, schemas."""
