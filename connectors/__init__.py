"""What brings data and metadata in: Kafka, the schema registry, Postgres."""
