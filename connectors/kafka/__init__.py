"""How every part of Weir talks to the Kafka brokers: client settings and topics."""
