"""Which errors of the servers pass, and which are final: the one table of it.

==========  =====================================================================  =====================
server      passes (retry with jitter, bounded, then crash)                        final
==========  =====================================================================  =====================
ClickHouse  codes in :data:`CLICKHOUSE_PASSING`, HTTP 429, 502, 503, 504           every other code
Postgres    SQLSTATEs and classes in :data:`POSTGRES_PASSING`, no SQLSTATE at all  every other SQLSTATE
Kafka       codes in :data:`KAFKA_PASSING`, or what librdkafka calls retriable     every other code
registry    HTTP 408, 429 and 5xx                                                  every other status
==========  =====================================================================  =====================

A server that cannot be reached at all passes, too.
"""

from __future__ import annotations

CLICKHOUSE_PASSING: dict[int, str] = {
    159: "TIMEOUT_EXCEEDED",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    289: "REPLICA_IS_NOT_IN_QUORUM",
    319: "UNKNOWN_STATUS_OF_INSERT",
    373: "SESSION_IS_LOCKED",
    394: "QUERY_WAS_CANCELLED",
    473: "DEADLOCK_AVOIDED",
    517: "CANNOT_ASSIGN_ALTER",
    999: "KEEPER_EXCEPTION",
}
"""ClickHouse's error codes after which the same statement may succeed; from its ErrorCodes.cpp."""

POSTGRES_PASSING: frozenset[str] = frozenset(
    {"08", "53", "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "58030"}
)
"""SQLSTATEs (five characters) and classes (two) after which the same statement may succeed; Postgres' appendix A."""

KAFKA_PASSING: dict[int, str] = {
    -195: "_TRANSPORT",
    -187: "_ALL_BROKERS_DOWN",
    -193: "_RESOLVE",
    -192: "_MSG_TIMED_OUT",
    -185: "_TIMED_OUT",
    -184: "_QUEUE_FULL",
    -180: "_WAIT_COORD",
    3: "UNKNOWN_TOPIC_OR_PART",  # also while a broker learns of a topic that was just made
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_FOR_PARTITION",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    9: "REPLICA_NOT_AVAILABLE",
    13: "NETWORK_EXCEPTION",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    19: "NOT_ENOUGH_REPLICAS",
    20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    41: "NOT_CONTROLLER",
    56: "KAFKA_STORAGE_ERROR",
}
"""Kafka's and librdkafka's (negative) error codes after which the same request may succeed."""


def clickhouse_passes(code: int) -> bool:
    """Whether ClickHouse's error ``code`` is one after which the same statement may succeed."""
    return code in CLICKHOUSE_PASSING


def postgres_passes(sqlstate: str | None) -> bool:
    """Whether ``sqlstate`` passes; None is a connection that was lost or never made, which does."""
    return sqlstate is None or sqlstate in POSTGRES_PASSING or sqlstate[:2] in POSTGRES_PASSING


def kafka_passes(code: int, retriable: bool = False) -> bool:
    """Whether Kafka's error ``code`` passes; ``retriable`` is what librdkafka itself says of it."""
    return retriable or code in KAFKA_PASSING


def http_passes(status: int) -> bool:
    """Whether an HTTP ``status`` of the registry, a proxy or a gateway is one that a later request may not get."""
    return status in (408, 429) or status >= 500
