from typing import Any

from confluent_kafka import Message

from streams.engine.dead_letters import DeadLetter, to_record


def letter(value: bytes | None, detail: str = "why", **headers: bytes) -> DeadLetter:
    message = Message(
        topic="weir.readings", partition=2, offset=7, key=b"dev", value=value, headers=list(headers.items())
    )
    return DeadLetter(message, "undecodable", detail, "readings")


def headers_of(dead: DeadLetter) -> dict[str, str]:
    return {name: value.decode() for name, value in to_record(dead, "dlq").headers}


def test_record_is_kept_as_it_came_with_where_and_why() -> None:
    record = to_record(letter(b"\0\0\0\1\x02garbage"), "dlq")
    assert (record.topic, record.key, record.value) == ("dlq", b"dev", b"\0\0\0\1\x02garbage")
    headers = {name: value.decode() for name, value in record.headers}
    assert (headers["reason"], headers["detail"], headers["topic"]) == ("undecodable", "why", "weir.readings")
    assert (headers["partition"], headers["offset"], headers["schema_id"]) == ("2", "7", "258")


def test_json_and_tombstones_have_no_schema_id() -> None:
    assert headers_of(letter(b'{"ts": 1}'))["schema_id"] == ""
    assert headers_of(letter(None))["schema_id"] == ""


def test_replayed_record_keeps_when_it_was_first_seen() -> None:
    headers = headers_of(letter(b"x", first_seen=b"12", replay_count=b"3", reason=b"old"))
    assert (headers["first_seen"], headers["replay_count"], headers["reason"]) == ("12", "3", "undecodable")


def test_record_larger_than_kafka_takes_is_cut_and_says_so() -> None:
    record = to_record(letter(b"x" * 3_000_000, detail="y" * 5_000_000), "dlq")
    assert len(record.value or b"") == 1_048_576
    headers = dict(record.headers)
    assert headers["original_size"] == b"3000000"
    assert len(headers["detail"]) == 1_000


def test_header_names_that_are_no_text_do_not_stop_the_worker() -> None:
    class Undecodable(Message):
        def headers(self) -> Any:
            raise SystemError("header name is no UTF-8")

    message = Undecodable(topic="t", partition=0, offset=1, value=b"x")
    assert headers_of(DeadLetter(message, "undecodable", "why", "readings"))["reason"] == "undecodable"
