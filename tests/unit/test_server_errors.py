from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from weir.server_errors import KAFKA_PASSING, clickhouse_passes, http_passes, kafka_passes, postgres_passes


@pytest.mark.parametrize("code", [202, 209, 210, 241, 242, 252, 319, 999])
def test_a_busy_clickhouse_may_take_the_same_insert_later(code: int) -> None:
    assert clickhouse_passes(code)


@pytest.mark.parametrize("code", [0, 27, 36, 47, 53, 60, 62, 81, 115, 164, 516])
def test_clickhouse_will_never_take_what_it_cannot_read_or_does_not_know(code: int) -> None:
    assert not clickhouse_passes(code)


@pytest.mark.parametrize("sqlstate", [None, "08006", "53300", "40001", "40P01", "57P03"])
def test_a_lost_connection_or_a_deadlock_in_postgres_passes(sqlstate: str | None) -> None:
    assert postgres_passes(sqlstate)


@pytest.mark.parametrize("sqlstate", ["42P01", "23505", "28P01", "3D000", "57014", "22P02"])
def test_a_missing_table_or_a_broken_constraint_in_postgres_is_final(sqlstate: str) -> None:
    assert not postgres_passes(sqlstate)


def test_the_names_of_kafka_codes_are_those_of_the_client_library() -> None:
    for code, name in KAFKA_PASSING.items():
        assert getattr(KafkaError, name) == code


def test_kafka_errors_pass_by_code_or_because_the_client_says_so() -> None:
    assert kafka_passes(KafkaError._ALL_BROKERS_DOWN)
    assert kafka_passes(KafkaError.TOPIC_AUTHORIZATION_FAILED, retriable=True)
    assert not kafka_passes(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert not kafka_passes(KafkaError.MSG_SIZE_TOO_LARGE)


def test_only_server_faults_and_throttling_pass_over_http() -> None:
    assert [status for status in (200, 400, 401, 404, 408, 409, 422, 429, 500, 503) if http_passes(status)] == [
        408,
        429,
        500,
        503,
    ]
