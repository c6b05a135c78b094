"""Which of Kafka's errors are final for a record, and what its sender is told. All others mean: Kafka is away."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError

TOO_LARGE_SENTENCE: Final = "The record is larger than Kafka takes for this topic."

FINAL: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: (errors.TOO_LARGE, TOO_LARGE_SENTENCE),
    KafkaError.RECORD_LIST_TOO_LARGE: (errors.TOO_LARGE, TOO_LARGE_SENTENCE),
    KafkaError.UNKNOWN_TOPIC_OR_PART: (errors.TOPIC_NOT_FOUND, "This topic does not exist."),
    KafkaError._UNKNOWN_TOPIC: (errors.TOPIC_NOT_FOUND, "This topic does not exist."),
    KafkaError.TOPIC_EXCEPTION: (errors.TOPIC_NOT_FOUND, "This topic does not exist."),
    KafkaError._UNKNOWN_PARTITION: (errors.PARTITION_NOT_FOUND, "This partition does not exist."),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (errors.KAFKA_ERROR, "The gateway may not write to this topic."),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (errors.KAFKA_ERROR, "The gateway may not write to this cluster."),
    KafkaError.INVALID_MSG: (errors.KAFKA_ERROR, "Kafka refused the record as invalid."),
    KafkaError.INVALID_RECORD: (errors.KAFKA_ERROR, "Kafka refused the record as invalid for this topic."),
    KafkaError._INVALID_DIFFERENT_RECORD: (errors.KAFKA_ERROR, "Kafka refused the record as invalid for this topic."),
    KafkaError.INVALID_TIMESTAMP: (errors.KAFKA_ERROR, "Kafka refused the record's timestamp."),
    KafkaError.INVALID_REQUIRED_ACKS: (errors.KAFKA_ERROR, "Kafka refused how records are acknowledged."),
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: (errors.KAFKA_ERROR, "This topic's message format is too old."),
    KafkaError.POLICY_VIOLATION: (errors.KAFKA_ERROR, "A policy of the brokers refused the record."),
    KafkaError._INVALID_ARG: (errors.KAFKA_ERROR, "Kafka's client refused the record."),
    KafkaError._BAD_MSG: (errors.KAFKA_ERROR, "Kafka's client refused the record."),
}
"""Answers after which a record is not stored for certain, and trying again would not help."""

OF_A_BATCH: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError._INVALID_DIFFERENT_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.POLICY_VIOLATION,
        KafkaError._BAD_MSG,
    }
)
"""Those that Kafka gives to every record of a batch because of one: final only for a record that was sent alone."""


def refusal_of(error: KafkaError) -> GatewayError | None:
    """The answer to a record that Kafka refused for good; None when Kafka is away and the record may come later."""
    found = FINAL.get(error.code())
    return GatewayError(*found) if found else None


def busy() -> GatewayError:
    """Too much waits for Kafka already: the sender should slow down."""
    return GatewayError(errors.KAFKA_RETRIABLE, "Too many records wait for Kafka; try again.", retry_after=1.0)


def stopping() -> GatewayError:
    """The gateway takes no more records."""
    return GatewayError(errors.KAFKA_RETRIABLE, "This gateway is stopping; try again.", retry_after=1.0)


def malformed(problem: Exception) -> GatewayError:
    """A topic, header or timestamp that Kafka's protocol cannot carry."""
    return GatewayError(errors.INVALID_PAYLOAD, f"Kafka cannot carry this record: {problem}.")
