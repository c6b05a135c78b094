"""The door for devices: a REST proxy that speaks Kafka REST Proxy v2 and v3, with keys, quotas and a spool."""
