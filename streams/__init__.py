"""What happens between Kafka and the sinks: the engine, and one folder a stream."""
