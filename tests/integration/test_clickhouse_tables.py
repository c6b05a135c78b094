from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver import Client

from tests.one_server import clickhouse_database
from tests.stack_under_test import StackUnderTest
from weir.settings import Settings

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def database(stack: StackUnderTest) -> Iterator[tuple[Client, Settings]]:
    with clickhouse_database(stack) as fresh:
        yield fresh


@pytest.fixture
def client(database: tuple[Client, Settings]) -> Client:
    return database[0]


def rows(client: Client, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(query).result_rows]


def insert(client: Client, table: str, *given: dict[str, Any], block: str | None = None) -> None:
    settings = {"insert_deduplication_token": block} if block else {}
    client.insert(table, [list(row.values()) for row in given], column_names=list(given[0]), settings=settings)


def reading(device: str = "d", at: datetime = NOW, value: float = 1.0, offset: int = 0, **more: Any) -> dict[str, Any]:
    return {"org_id": "o", "device_id": device, "sensor": "s", "ts": at, "value": value, "offset": offset} | more


@pytest.mark.parametrize("table", ["raw_readings", "agg_1m", "agg_1h", "alerts", "events", "dead_letters", "usage"])
def test_every_table_drops_a_block_whose_token_it_has_seen(client: Client, table: str) -> None:
    time = {"agg_1m": "window_start", "agg_1h": "window_start", "dead_letters": "first_seen", "usage": "minute"}
    row = {"org_id": "o", time.get(table, "ts"): NOW} | ({"accepted": 1} if table == "usage" else {})
    insert(client, table, row, block="stream:topic:0:1-1")
    insert(client, table, row, block="stream:topic:0:1-1")
    assert rows(client, f"SELECT count() FROM {table}")[0][0] == 1
    insert(client, table, row, block="stream:topic:0:2-2")
    assert rows(client, f"SELECT count() FROM {table}")[0][0] == 2


def test_rows_go_when_their_own_retention_is_over_and_not_before(database: tuple[Client, Settings]) -> None:
    client, settings = database
    ten_days_ago = NOW - timedelta(days=10)
    insert(client, "raw_readings", reading("short", ten_days_ago, retention_days=9))
    insert(client, "raw_readings", reading("long", ten_days_ago, retention_days=11))
    insert(client, "raw_readings", reading("default", ten_days_ago))
    insert(client, "raw_readings", reading("expired", NOW - timedelta(days=settings.retention.raw_days + 1)))
    client.command("OPTIMIZE TABLE raw_readings FINAL")
    assert rows(client, "SELECT device_id FROM raw_readings ORDER BY device_id") == [("default",), ("long",)]


def test_a_merge_keeps_what_the_view_showed(client: Client) -> None:
    insert(client, "raw_readings", reading(value=1.0, offset=5))
    insert(client, "raw_readings", reading(value=2.0, offset=9))
    insert(client, "raw_readings", reading(value=3.0, offset=7))
    assert rows(client, "SELECT count() FROM raw_readings")[0][0] == 3
    before = rows(client, "SELECT value FROM readings")
    client.command("OPTIMIZE TABLE raw_readings FINAL")
    assert rows(client, "SELECT count() FROM raw_readings")[0][0] == 1
    assert rows(client, "SELECT value FROM readings") == before == [(2.0,)]


def test_one_more_in_device_sensor_or_millisecond_is_another_reading(client: Client) -> None:
    later = NOW + timedelta(milliseconds=1)
    insert(client, "raw_readings", reading(), reading(sensor="t"), reading("e"), reading(at=later))
    assert rows(client, "SELECT count() FROM readings")[0][0] == 4


def test_counts_of_usage_add_up(client: Client) -> None:
    row = {"org_id": "o", "minute": NOW.replace(second=0), "reason": "", "accepted": 3}
    insert(client, "usage", row)
    insert(client, "usage", row | {"accepted": 4})
    client.command("OPTIMIZE TABLE usage FINAL")
    assert rows(client, "SELECT accepted, rejected FROM usage") == [(7, 0)]


def test_a_dead_letter_keeps_bytes_that_are_no_text(client: Client) -> None:
    raw = bytes(range(256))
    row = {"reason": "undecodable", "topic": "t", "partition": 1, "offset": 2, "value": raw, "first_seen": NOW}
    client.insert("dead_letters", [list(row.values())], column_names=list(row))
    assert rows(client, "SELECT hex(value) FROM dead_letters")[0][0] == raw.hex().upper()


def test_analysts_find_the_meaning_of_every_column_on_the_server(client: Client) -> None:
    query = "SELECT countIf(comment = ''), count() FROM system.columns WHERE database = currentDatabase()"
    missing, columns = rows(client, query)[0]
    assert missing == 0
    assert columns > 100
