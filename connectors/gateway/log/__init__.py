"""Where records go: to Kafka, and to a spool on disk while Kafka is away."""
