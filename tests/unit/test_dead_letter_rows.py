from datetime import UTC, datetime
from typing import Any

import polars as pl
from confluent_kafka import Message

from sinks.clickhouse.tables import tables
from streams.engine.dead_letters import DeadLetter, to_record
from streams.telemetry.dead_letter_rows import dead_letter_rows
from tests.stack_under_test import settings_from

APPENDED = 1_795_255_200_000
"""2026-11-21 10:00 UTC."""


def message(
    key: bytes | None = b"dev-1", value: bytes | None = b"{}", number: int = 3, **headers: bytes | None
) -> Message:
    return Message(
        topic="weir.deadletters",
        partition=0,
        offset=number,
        key=key,
        value=value,
        headers=list(headers.items()),
        timestamp=(2, APPENDED),
    )


def refused() -> Message:
    """As the worker writes it."""
    came = Message(
        topic="weir.readings",
        partition=2,
        offset=7,
        key=b"dev-1",
        value=b"\0\0\0\1\x02\xff",
        timestamp=(2, APPENDED - 5_000),
    )
    record = to_record(DeadLetter(came, "undecodable", "truncated", "readings", "acme"), "weir.deadletters")
    headers: dict[str, Any] = {**dict(record.headers), "first_seen": str(APPENDED - 1_000).encode()}
    return message(record.key, record.value, **headers)


def row(letter: Message) -> dict[str, Any]:
    return dead_letter_rows([letter]).row(0, named=True)


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def test_a_letter_of_the_worker_becomes_the_row_that_its_headers_say() -> None:
    found = row(refused())
    assert found == {
        "reason": "undecodable",
        "detail": "truncated",
        "stage": "readings",
        "topic": "weir.readings",
        "partition": 2,
        "offset": 7,
        "position": 0,
        "timestamp": at(APPENDED - 5_000),
        "key": b"dev-1",
        "value": b"\0\0\0\1\x02\xff",
        "schema_id": 258,
        "org_id": "acme",
        "first_seen": at(APPENDED - 1_000),
        "replay_count": 0,
        "append_ts": at(APPENDED),
    }


def test_the_rows_have_the_columns_of_the_table() -> None:
    (table,) = [each for each in tables(settings_from({})) if each.name == "dead_letters"]
    assert dead_letter_rows([]).columns == [column.name for column in table.columns]
    assert dead_letter_rows([refused()]).schema == dead_letter_rows([]).schema


def test_letters_of_others_without_headers_key_or_value_stay_apart_from_each_other() -> None:
    rows = dead_letter_rows([message(None, None, 4), message(None, b"", 5)])
    assert rows.select("topic", "partition", "offset").rows() == [
        ("weir.deadletters", 0, 4),
        ("weir.deadletters", 0, 5),
    ]
    assert rows["reason"].to_list() == rows["org_id"].to_list() == ["", ""]
    assert rows["key"].to_list() == rows["value"].to_list() == [b"", b""]
    assert rows["timestamp"].to_list() == rows["first_seen"].to_list() == [at(APPENDED)] * 2


def test_odd_headers_become_defaults_and_never_refuse_a_letter() -> None:
    odd = message(
        reason=b"\xff\xfe",
        topic=b"weir.readings",
        partition=b"99999999999999999999",
        offset=b"-1",
        timestamp=b"1e9",
        schema_id=b"",
        org_id=None,
        first_seen=b"18446744073709551616",
        replay_count="١٢".encode(),
    )
    found = row(odd)
    assert (found["topic"], found["partition"], found["offset"]) == ("weir.deadletters", 0, 3)
    assert (found["reason"], found["schema_id"], found["replay_count"]) == ("\ufffd\ufffd", None, 0)
    assert found["timestamp"] == found["first_seen"] == at(APPENDED)


def test_a_first_seen_that_retention_would_delete_at_once_or_never_is_not_believed() -> None:
    kept = [APPENDED - 20 * 86_400_000, APPENDED + 1_000]
    odd = [1, APPENDED + 10 * 86_400_000, 10_413_791_999_999]
    rows = dead_letter_rows([message(first_seen=str(ms).encode()) for ms in [*kept, *odd]])
    assert rows["first_seen"].dt.epoch("ms").to_list() == [*kept, APPENDED, APPENDED, APPENDED]


def test_header_names_that_are_no_text_do_not_stop_the_worker() -> None:
    class Undecodable(Message):
        def headers(self) -> Any:
            raise SystemError("header name is no UTF-8")

    letter = Undecodable(topic="weir.deadletters", partition=0, offset=1, value=b"x", timestamp=(2, APPENDED))
    assert row(letter)["value"] == b"x"


def test_a_block_keeps_its_order() -> None:
    rows = dead_letter_rows([message(number=number) for number in range(50)])
    assert rows["offset"].to_list() == list(range(50))
    assert rows.schema["value"] == pl.Binary
