"""What happened, on its way from Postgres to Kafka to ClickHouse, and the commands that wait for devices."""
