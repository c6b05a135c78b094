from typing import Any

import msgspec
import pytest
from confluent_kafka import Message

from connectors.registry import Registry
from schemas import load_schema
from streams.telemetry.letter import Letter, Origin, read_letter
from tests.sender import framed
from weir.cli.dlq_filters import selected
from weir.dlq.receipts import Receipt, Receipts, receipt_records
from weir.dlq.replay import replay_record
from weir.dlq.replay_plan import NO_ORIGIN, NO_VALUE, PUT_BACK_BEFORE, TOO_OFTEN, ReplayPlan, Rules, plan_replay
from weir.dlq.selection import Selection, moment, place
from weir.dlq.shown_value import hex_dump, show_value
from weir.errors import PoisonError, UsageError

NOON = 1_795_262_400_000
"""2026-11-21 12:00 UTC."""

PARTITIONS = {"weir.readings": 4}


def letter(
    number: int = 0,
    *,
    origin: int | None = None,
    key: bytes | None = b"dev-1",
    value: bytes | None = b"{}",
    **headers: str,
) -> Letter:
    """The letter at offset ``number``, a second younger than the one before; it came from the same offset."""
    known = {"topic": "weir.readings", "partition": "1", "offset": str(number if origin is None else origin)}
    encoded: list[tuple[str, str | bytes | None]] = [(name, text.encode()) for name, text in (known | headers).items()]
    when = (2, NOON + number * 1_000)
    return read_letter(
        Message(topic="d", partition=0, offset=number, key=key, value=value, headers=encoded, timestamp=when)
    )


def receipts(at_ms: int, *offsets: int) -> Receipts:
    """Records of partition 1 that were put back then."""
    (record,) = receipt_records("r", [Origin("weir.readings", 1, offset) for offset in offsets])
    found = Receipts()
    found.add(Message(topic="r", partition=0, offset=0, value=record.value, timestamp=(2, at_ms)))
    return found


def plan(*letters: Letter, put_back: Receipts | None = None, **rules: Any) -> ReplayPlan:
    return plan_replay(letters, put_back or Receipts(), Rules(PARTITIONS, **{"max_replays": 3} | rules))


def offsets(planned: ReplayPlan) -> list[int]:
    return [each.offset for each in planned.chosen]


# -- the rule of chains ------------------------------------------------------------------------------------------------


def test_what_was_put_back_is_not_put_back_again_by_the_same_command() -> None:
    done = plan(letter(0), letter(1), put_back=receipts(NOON + 60_000, 0))
    assert offsets(done) == [1]
    assert done.left == {PUT_BACK_BEFORE: 1}


def test_a_record_that_was_put_back_and_refused_again_is_a_new_letter_and_goes_back_again() -> None:
    refused_again = letter(9, replay_count="1")
    assert offsets(plan(letter(0), refused_again, put_back=receipts(NOON + 5_000, 0))) == [9]


def test_what_was_refused_too_often_stays_and_is_counted() -> None:
    done = plan(letter(0, replay_count="2"), letter(1, replay_count="3"), letter(2, replay_count="4"))
    assert (offsets(done), dict(done.left)) == ([0], {TOO_OFTEN: 2})
    assert offsets(plan(letter(0, replay_count="3"), max_replays=4)) == [0]


def test_a_record_refused_twice_by_one_crash_goes_back_once() -> None:
    assert offsets(plan(letter(0), letter(1, origin=0))) == [1]


def test_a_receipt_does_not_count_for_a_younger_record_at_the_same_offset_of_a_topic_made_anew() -> None:
    assert offsets(plan(letter(10), put_back=receipts(NOON + 9_000, 10))) == [10]


def test_again_puts_back_what_a_receipt_covers() -> None:
    assert offsets(plan(letter(0), put_back=receipts(NOON + 60_000, 0), again=True)) == [0]


def test_a_limit_takes_the_oldest_first() -> None:
    assert offsets(plan(letter(2), letter(0), letter(1), limit=2)) == [0, 1]


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (letter(value=None), NO_VALUE),
        (letter(value=b""), NO_VALUE),
        (letter(partition="4"), NO_ORIGIN),
        (letter(topic="weir.deadletters"), NO_ORIGIN),
        (letter(topic="payments"), NO_ORIGIN),
        (letter(partition="x"), NO_ORIGIN),
        (read_letter(Message(topic="d", partition=0, offset=0, value=b"x")), NO_ORIGIN),
    ],
)
def test_what_cannot_go_back_stays_with_its_cause(odd: Letter, why: str) -> None:
    done = plan(odd)
    assert (done.chosen, dict(done.left)) == ([], {why: 1})


def test_key_and_value_go_back_as_they_came_with_one_replay_more() -> None:
    back = letter(5, key=None, value=b"\0\xff", first_seen=str(NOON - 1_000), replay_count="1")
    assert back.origin is not None
    record = replay_record(back, back.origin, back.key, back.value)
    assert (record.topic, record.partition, record.key, record.value) == ("weir.readings", 1, None, b"\0\xff")
    assert dict(record.headers) == {"first_seen": str(NOON - 1_000).encode(), "replay_count": b"2"}


def test_messages_that_are_no_receipts_are_passed_over() -> None:
    found = Receipts()
    for value in (None, b"", b"\xff", b"[]", b'{"topic": "t"}', msgspec.json.encode(Receipt("weir.readings", 1, []))):
        found.add(Message(topic="r", partition=0, offset=0, value=value, timestamp=(2, NOON)))
    assert not found.cover(letter(0))


# -- which letters are meant -------------------------------------------------------------------------------------------


def test_every_filter_that_is_given_must_hold() -> None:
    one = letter(0, key=b"dev-1", reason="too_old", org_id="acme", stage="readings")
    meant = {"reasons": frozenset({"no_value", "too_old"}), "device": "dev-1", "org": "acme", "stage": "readings"}
    assert Selection(**meant, since_ms=NOON, until_ms=NOON + 1).matches(one)  # type: ignore[arg-type]
    others = {"reasons": frozenset({"no_value"}), "device": "dev", "org": "", "stage": "x", "since_ms": NOON + 1}
    for name, other in (others | {"until_ms": NOON}).items():
        assert not Selection(**meant | {name: other}).matches(one), name  # type: ignore[arg-type]


def test_the_quotation_marks_of_a_rest_proxy_are_no_part_of_a_device() -> None:
    assert letter(key=b'"dev-1"').device == letter(key=b"dev-1").device == "dev-1"
    assert letter(key=b'"').device == '"'
    assert letter(key=None).device == ""


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2h", NOON - 7_200_000),
        ("1.5m", NOON - 90_000),
        ("90s", NOON - 90_000),
        ("7d", NOON - 604_800_000),
        ("999999999d", 0),
        ("2026-11-21T11:00", NOON - 3_600_000),
        ("2026-11-21T12:00:00.250Z", NOON + 250),
        ("2026-11-21 13:00+01:00", NOON),
        ("2026-11-21", NOON - 43_200_000),
    ],
)
def test_a_time_is_iso_or_a_duration_before_now(text: str, ms: int) -> None:
    assert moment(text, NOON) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "2 weeks", "-1h", "h", "2026-13-01"])
def test_a_time_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="2h"):
        moment(text, NOON)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="--since must be before --until"):
        selected((), None, None, None, "1h", "2h")


@pytest.mark.parametrize("text", ["7", "0:", ":1", "0:-1", "0:1:2", "a:b", "0:9999999999999999999"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    assert place("0:17") == (0, 17)
    with pytest.raises(UsageError, match="PARTITION:OFFSET"):
        place(text)


# -- a value as it is shown --------------------------------------------------------------------------------------------


class FakeRegistry(Registry):
    """Knows the Reading schema as 1."""

    def __init__(self) -> None:
        """Connects nowhere."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema."""
        if schema_id != 1:
            raise PoisonError("unknown_schema_id", f"The registry has no schema with id {schema_id}.")
        return dict(load_schema("Reading"))


def test_avro_is_decoded_by_its_schema_and_json_as_it_is() -> None:
    avro = framed(1, {"device_id": "d", "sensor": "s", "ts": NOON, "value": 1.5})
    shown = show_value(avro, FakeRegistry())
    assert (shown.form, shown.decoded["device_id"], shown.decoded["value"], shown.note) == ("avro", "d", 1.5, "")
    assert show_value(avro + b"more", FakeRegistry()).note == "4 bytes follow the record"
    assert show_value(b'{"a": [1]}', FakeRegistry())[:2] == ("json", {"a": [1]})


@pytest.mark.parametrize(
    ("value", "form", "note"),
    [
        (None, "none", "tombstone"),
        (b"", "bytes", "no bytes"),
        (b"\xff\xfe", "bytes", "neither Avro nor JSON"),
        (b"\0\0\0\0\1\x0edev", "bytes", "does not follow schema 1"),
        (b"\0\0\0\0\7abc", "bytes", "no schema with id 7"),
        (b"\0\0", "bytes", "neither Avro nor JSON"),
    ],
)
def test_what_cannot_be_decoded_is_shown_as_bytes_with_the_cause(value: bytes | None, form: str, note: str) -> None:
    shown = show_value(value, FakeRegistry())
    assert shown.form == form
    assert note in shown.note


def test_a_hex_dump_shows_offset_bytes_and_text_and_counts_the_rest() -> None:
    lines = hex_dump(b"\0\0\0\0\1\x0edev-404" + b"x" * 600)
    assert lines[0] == "000000  00 00 00 00 01 0e 64 65 76 2d 34 30 34 78 78 78  ......dev-404xxx"
    assert lines[-1] == "… and 101 bytes more"
