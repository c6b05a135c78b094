"""One running worker between real servers: what is stored, what is refused, and what windows say."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator

import polars as pl
import pytest

from connectors.postgres.devices import register
from connectors.registry import Registry, value_subject
from schemas import FOLDER, load_schema
from tests.sender import Sender, framed
from tests.stack_under_test import StackUnderTest
from tests.stored import Letter, dead_letters, stored_readings, stored_windows
from tests.world import World, world_on
from weir.settings import Settings
from weir.verify.compare import StoredWindow, compare_readings, compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS, expected_readings, expected_windows

DEVICES = ("list", "json", "evolved", "text", "resend", "late", "quiet", "bounds", "conflict", "emptied")
YEAR_2099 = 4_070_908_800_000
CLOSING_SECONDS = 20.0
"""Lateness 5 s, silence 2 s, a flush and the next stage: twice that, on a machine that does other things, too."""


@pytest.fixture(scope="module")
def line(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with registered devices and one worker that all tests of this module share."""
    with world_on(stack, tmp_path_factory.mktemp("pipeline")) as world:
        sensors = [(device, sensor) for device in DEVICES for sensor in ("temperature", "state")]
        frame = pl.DataFrame(sensors, schema=["device_id", "sensor"], orient="row")
        narrow = pl.when(device_id="bounds").then(50.0)
        register(world.dsn, "acme", "lab", frame.with_columns(unit=pl.lit("celsius"), max_value=narrow))
        world.start_worker()
        yield world


@pytest.fixture
def sender(line: World) -> Iterator[Sender]:
    """Sends to the shared world."""
    with Sender(line.settings) as sender:
        yield sender


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def minute_before(minutes: int) -> int:
    """Start of the minute so many minutes ago."""
    return (now_ms() // MINUTE_MS - minutes) * MINUTE_MS


def assert_stored_and_aggregated(line: World, sender: Sender, device: str) -> None:
    """Wait until everything acknowledged is stored once and every minute of it equals the recomputation."""
    expected = expected_readings(sender.acknowledged)
    line.wait(
        lambda: not compare_readings(expected, stored_readings(line, device)), f"{len(expected)} readings are stored"
    )
    minutes = expected_windows(expected, MINUTE_MS)
    line.wait(
        lambda: not compare_windows("agg_1m", minutes, stored_windows(line, "aggregates_1m", device)),
        f"the minutes of {device} equal their recomputation",
        CLOSING_SECONDS,
    )


def letters_from(line: World, origins: set[tuple[int, int]]) -> dict[tuple[int, int], Letter]:
    """Wait for the dead letters of these partitions and offsets."""

    def found() -> dict[tuple[int, int], Letter]:
        letters = {letter.origin: letter for letter in dead_letters(line.settings) if letter.origin in origins}
        return letters if len(letters) == len(origins) else {}

    return line.wait(found, f"{len(origins)} dead letters")


def aggregate_id(settings: Settings) -> int:
    with Registry(settings.registry) as registry:
        latest = registry.latest(value_subject(settings.topics.aggregates_1m))
    assert latest is not None
    return latest.id


def test_each_bad_record_becomes_a_dead_letter_with_its_reason_and_every_neighbour_is_stored(
    line: World, sender: Sender
) -> None:
    ts = minute_before(3)
    good = {"device_id": "list", "sensor": "temperature", "value": 20.0, "source": "test"}
    whole = framed(sender.schema_id, {**good, "ts": ts})
    prefix = whole[:5]
    other = json.loads((FOLDER / "examples" / "Aggregate.json").read_text(encoding="utf-8"))[0]
    bad: list[tuple[bytes | None, str]] = [
        (whole[:-7], "undecodable"),
        (b"\x00" + (999_999).to_bytes(4, "big") + whole[5:], "unknown_schema_id"),
        (prefix + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + whole[6:], "undecodable"),
        (framed(aggregate_id(line.settings), other, load_schema("Aggregate")), "wrong_schema"),
        (framed(sender.schema_id, {**good, "ts": ts, "device_id": "stranger"}), "unknown_device"),
        (framed(sender.schema_id, {**good, "ts": ts, "sensor": "unheard"}), "unknown_sensor"),
        (framed(sender.schema_id, {**good, "ts": ts, "value": math.nan}), "not_finite"),
        (framed(sender.schema_id, {**good, "ts": ts, "value": -math.inf}), "not_finite"),
        (framed(sender.schema_id, {**good, "ts": 0}), "too_old"),
        (framed(sender.schema_id, {**good, "ts": YEAR_2099}), "too_far_in_future"),
        (framed(sender.schema_id, {**good, "ts": ts, "value": None}), "no_value"),
        (framed(sender.schema_id, {**good, "ts": ts, "device_id": "bounds", "value": 50.5}), "out_of_bounds"),
        (None, "empty_value"),
        (b"", "empty_value"),
        (b'{"device_id": "list", "sensor": "temperature", "ts": "soon"}', "json_type_mismatch"),
        (b"not json", "invalid_json"),
        (whole + b"\x00", "trailing_bytes"),
        *swallowing_pairs(sender.schema_id, {**good, "ts": ts}),
    ]
    for number, (value, _) in enumerate(bad):
        sender.reading("list", "temperature", ts + 2 * number, float(number), partition=0, source="before")
        sender.message(value, "list", partition=0)
    sender.reading("list", "temperature", ts + 2 * len(bad), -1.0, partition=0, source="after")
    sender.flush()

    refused = sender.sent[1::2]
    letters = letters_from(line, {(each.partition, each.offset) for each in refused})
    for (value, reason), place in zip(bad, refused, strict=True):
        letter = letters[place.partition, place.offset]
        assert (letter.headers["reason"], letter.value, letter.key) == (reason, value, b"list"), letter.headers
        assert letter.headers["topic"] == line.settings.topics.readings
        assert letter.headers["stage"] == "readings"
        assert letter.headers["detail"]
    assert len(sender.acknowledged) == len(bad) + 1
    assert_stored_and_aggregated(line, sender, "list")


def swallowing_pairs(schema_id: int, good: dict[str, object]) -> list[tuple[bytes, str]]:
    """Pairs whose first record claims the head of the second as its last text.

    Laid end to end with so many bytes between them as a block decoder may put there, both are whole records again: the
    second would be read from its middle, as a reading that nobody sent.
    """
    pairs: list[tuple[bytes, str]] = []
    whole = framed(schema_id, good)
    head = framed(schema_id, {**good, "ts": 1, "value": None, "str_value": "head", "source": None})[5:]
    for between in (0, 5, 8, 9, 10, 14):
        claimed = "x" * (between + len(head))
        first = framed(schema_id, {**good, "source": claimed})[: -len(claimed)]
        pairs += [(first, "undecodable"), (whole[:5] + head + whole[5:], "trailing_bytes")]
    return pairs


def test_json_is_taken_like_avro(line: World, sender: Sender) -> None:
    ts = minute_before(4)
    for number in range(5):
        record = {"device_id": "json", "sensor": "temperature", "ts": ts + number, "value": number + 0.5, "new": [1]}
        sender.json_reading(record)
        sender.reading("json", "temperature", ts + 1_000 + number, number * 2.0)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "json")


def test_a_second_version_of_the_schema_is_read_beside_the_first_in_one_fetch(line: World, sender: Sender) -> None:
    newer = load_schema("Reading")
    newer["fields"].insert(2, {"name": "site", "type": "string", "default": "somewhere"})
    newer["fields"].append({"name": "shift", "type": ["null", "long"], "default": None})
    with Registry(line.settings.registry) as registry:
        newer_id = registry.register(value_subject(line.settings.topics.readings), json.dumps(newer))
    assert newer_id != sender.schema_id
    ts = minute_before(4)
    for number in range(40):
        record = {"device_id": "evolved", "sensor": "temperature", "ts": ts + number, "value": number / 4}
        extra = {"site": f"site {number}", "shift": number}
        schema_id, fields = (newer_id, record | extra) if number % 2 else (sender.schema_id, record)
        sender.message(framed(schema_id, fields, newer if number % 2 else None), "evolved", partition=1, record=record)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "evolved")


def test_texts_are_stored_and_not_aggregated(line: World, sender: Sender) -> None:
    ts = minute_before(4)
    sender.reading("text", "state", ts, None, str_value="preheating", status_code=2)
    sender.reading("text", "state", ts + 1, None, status_code=7)
    sender.reading("text", "temperature", ts, 180.0)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "text")
    told = "SELECT str_value, is_number, value, status_code FROM readings WHERE sensor = 'state' ORDER BY ts"
    assert line.query(told) == [("preheating", False, 0.0, 2), ("", False, 0.0, 7)]
    assert [window.key.sensor for window in stored_windows(line, "aggregates_1m", "text")] == ["temperature"]


def test_of_a_resend_with_another_value_the_later_one_holds(line: World, sender: Sender) -> None:
    ts = minute_before(4)
    for value in (1.0, 2.0, 3.0):
        sender.reading("resend", "temperature", ts, value)
    sender.reading("resend", "temperature", ts + 500, 10.0)
    sender.reading("resend", "temperature", ts + 500, 10.0)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "resend")
    (window,) = stored_windows(line, "aggregates_1m", "resend")
    assert (window.measures.count, window.measures.first, window.measures.sum) == (2, 3.0, 13.0)


def test_windows_close_without_new_data(line: World, sender: Sender) -> None:
    sender.reading("quiet", "temperature", minute_before(1), 42.0)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "quiet")


def test_a_late_reading_corrects_its_minute_and_its_hour_with_a_higher_revision(line: World, sender: Sender) -> None:
    hour = (now_ms() // HOUR_MS - 2) * HOUR_MS
    sender.reading("late", "temperature", hour + 1_000, 10.0)
    sender.reading("late", "temperature", hour + 61_000, 20.0)
    sender.flush()
    before = {view: closed(line, view, sender, size) for view, size in VIEWS.items()}
    assert before["aggregates_1h"][0].measures.count == 2

    sender.reading("late", "temperature", hour + 2_000, 40.0)
    sender.flush()
    after = {view: closed(line, view, sender, size) for view, size in VIEWS.items()}
    first_before, first_after = (min(rows["aggregates_1m"]).measures for rows in (before, after))
    assert (first_after.count, first_after.avg, first_after.last) == (2, 25.0, 40.0)
    assert (first_before.revision or 0) < (first_after.revision or 0)
    hour_before, hour_after = (rows["aggregates_1h"][0].measures for rows in (before, after))
    assert (hour_after.count, hour_after.sum, hour_after.max) == (3, 70.0, 40.0)
    assert (hour_before.revision or 0) < (hour_after.revision or 0)
    kept = line.value("SELECT count() FROM agg_1h WHERE device_id = 'late'")
    assert kept >= 1, "revisions before the last may still be there, but the view shows one"


def test_conflicts_are_counted_once_in_usage_and_resends_are_not(line: World, sender: Sender) -> None:
    ts = minute_before(4)
    for value in (1.0, 2.0, 2.0, 3.0):
        sender.reading("conflict", "temperature", ts, value)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "conflict")
    counted = "SELECT sum(conflicts) FROM usage WHERE org_id = 'acme' AND reason = 'conflict'"
    before = line.wait(lambda: line.value(counted), "conflicts are counted")
    sender.reading("conflict", "temperature", ts, 3.0)  # both are late now, the second conflicts
    sender.reading("conflict", "temperature", ts, 4.0)
    sender.flush()
    assert_stored_and_aggregated(line, sender, "conflict")
    line.wait(lambda: line.value(counted) == before + 1, "the late conflict is counted")
    (readings,) = [
        value for name, value in line.workers[0].metrics("weir_conflicts_total").items() if "readings" in name
    ]
    assert readings >= 3


def test_a_late_text_that_replaces_the_only_number_takes_the_window_back(line: World, sender: Sender) -> None:
    hour = (now_ms() // HOUR_MS - 2) * HOUR_MS
    sender.reading("emptied", "temperature", hour + 1_000, 10.0)
    sender.reading("emptied", "temperature", hour + 61_000, 20.0)
    sender.flush()
    for view, size_ms in VIEWS.items():
        closed(line, view, sender, size_ms, "emptied")
    sender.reading("emptied", "temperature", hour + 1_000, None, str_value="broken")
    sender.flush()
    (minute,) = closed(line, "aggregates_1m", sender, MINUTE_MS, "emptied")
    assert minute.key.start == hour + 60_000
    (whole,) = closed(line, "aggregates_1h", sender, HOUR_MS, "emptied")
    assert (whole.measures.count, whole.measures.sum) == (1, 20.0)
    sender.reading("emptied", "temperature", hour + 61_000, None, str_value="broken")
    sender.flush()
    line.wait(
        lambda: not stored_windows(line, "aggregates_1h", "emptied"), "the hour is taken back, too", CLOSING_SECONDS
    )
    sender.reading("emptied", "temperature", hour + 61_000, 30.0)
    sender.flush()
    (whole,) = closed(line, "aggregates_1h", sender, HOUR_MS, "emptied")
    assert whole.measures.sum == 30.0


VIEWS = {"aggregates_1m": MINUTE_MS, "aggregates_1h": HOUR_MS}


def closed(line: World, view: str, sender: Sender, size_ms: int, device: str = "late") -> list[StoredWindow]:
    """The windows of a device once they equal the recomputation of all that was sent."""
    expected = expected_windows(expected_readings(sender.acknowledged), size_ms)

    def equal() -> list[StoredWindow]:
        stored = stored_windows(line, view, device)
        return [] if compare_windows(view, expected, stored) else stored

    return line.wait(equal, f"{view} equal their recomputation", CLOSING_SECONDS)
