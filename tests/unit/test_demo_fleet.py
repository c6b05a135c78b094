"""The simulated fleet: repeatable, honest about what it sends, and bad exactly where it says so."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest

from schemas import load_schema
from streams.engine.codec import Codec
from weir.demo.bad_records import KINDS, BadRecords
from weir.demo.fleet import SENSORS, Fleet, device_ids
from weir.demo.reading import Framing, Outgoing, Reading
from weir.errors import PoisonError

READING, ALERT = 7, 8
START = 1_763_719_230_000  # half past a minute
SECOND = 1_000
CODEC_REASONS = {
    "undecodable",
    "unknown_schema_id",
    "wrong_schema",
    "trailing_bytes",
    "invalid_json",
    "empty_value",
}


class FakeSchemas:
    """The two schemas that the demo writes."""

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        names = {READING: "Reading", ALERT: "Alert"}
        if schema_id not in names:
            raise PoisonError("unknown_schema_id", f"No schema {schema_id}.")
        return load_schema(names[schema_id])


def new_fleet(seed: int = 1, devices: int = 5) -> Fleet:
    readings = Framing(load_schema("Reading"), READING)
    bad = BadRecords(readings, Framing(load_schema("Alert"), ALERT))
    return Fleet(devices, seed, START, readings, bad)


def sent_in(seconds: int, seed: int = 1, step_ms: int = 20) -> list[Outgoing]:
    fleet = new_fleet(seed)
    return [message for now in range(START, START + seconds * SECOND, step_ms) for message in fleet.due(now)]


@pytest.fixture(scope="module")
def three_minutes() -> list[Outgoing]:
    return sent_in(180)


def decoded(message: Outgoing) -> dict[str, Any]:
    assert message.value is not None
    found = fastavro.schemaless_reader(io.BytesIO(message.value[5:]), load_schema("Reading"), None)
    assert isinstance(found, dict)
    return found


def test_the_same_seed_sends_the_same_bytes() -> None:
    assert sent_in(30) == sent_in(30)


def test_how_often_the_fleet_is_asked_changes_nothing() -> None:
    often, seldom = sent_in(30, step_ms=20), sent_in(30, step_ms=500)
    assert len(seldom) > 1_000
    assert seldom == often[: len(seldom)]


def test_another_seed_sends_other_bytes() -> None:
    assert sent_in(5, seed=1) != sent_in(5, seed=2)


def test_everything_that_happens_in_the_field_happens_in_three_minutes(three_minutes: list[Outgoing]) -> None:
    kinds = Counter(message.kind for message in three_minutes if message.reading)
    assert set(kinds) == {"reading", "resend", "other value", "out of order", "late", "text"}
    numbers = sum(kinds[kind] for kind in ("reading", "out of order", "late"))
    assert 0.01 < kinds["resend"] / numbers < 0.04
    assert 0.005 < kinds["other value"] / numbers < 0.02
    assert 0.03 < kinds["out of order"] / numbers < 0.08
    assert numbers < 5 * len(SENSORS) * 2 * 180  # some did not come at all


def test_the_bytes_say_what_must_be_stored(three_minutes: list[Outgoing]) -> None:
    for message in three_minutes:
        if message.reading is None:
            continue
        record = decoded(message)
        ts = round(record["ts"].timestamp() * 1000)
        told = (record["device_id"], record["sensor"], ts, record["value"], record["str_value"])
        wanted = message.reading
        assert told == (wanted.device_id, wanted.sensor, wanted.ts, wanted.value, wanted.str_value)
        assert message.key == wanted.device_id


def test_no_reading_is_older_than_the_start_or_newer_than_its_sending() -> None:
    fleet = new_fleet()
    for now in range(START, START + 60 * SECOND, 50):
        for message in fleet.due(now):
            assert message.reading is None or START <= message.reading.ts <= now


def test_a_late_reading_is_sent_after_its_minute_was_closed() -> None:
    fleet = new_fleet(devices=12)
    late = [
        now - (message.reading.ts // 60_000 + 1) * 60_000
        for now in range(START, START + 180 * SECOND, 50)
        for message in fleet.due(now)
        if message.kind == "late" and message.reading
    ]
    assert len(late) > 5
    assert min(late) > 5 * SECOND  # the allowed lateness


def test_an_out_of_order_reading_comes_within_the_allowed_lateness() -> None:
    fleet = new_fleet()
    delays = [
        now - message.reading.ts
        for now in range(START, START + 60 * SECOND, 50)
        for message in fleet.due(now)
        if message.kind == "out of order" and message.reading
    ]
    assert delays
    assert min(delays) >= 600
    assert max(delays) < 5 * SECOND


def test_values_stay_within_the_registered_bounds(three_minutes: list[Outgoing]) -> None:
    bounds = {sensor.name: (sensor.low, sensor.high) for sensor in SENSORS}
    for message in three_minutes:
        if message.reading and message.reading.value is not None:
            low, high = bounds[message.reading.sensor]
            assert low <= message.reading.value <= high


def test_a_resend_has_the_identity_of_what_it_repeats(three_minutes: list[Outgoing]) -> None:
    first: dict[tuple[str, str, int], Reading] = {}
    for message in three_minutes:
        sent = message.reading
        if sent is None:
            continue
        identity = (sent.device_id, sent.sensor, sent.ts)
        if message.kind == "resend":
            assert first[identity] == sent
        elif message.kind == "other value":
            assert first[identity] != sent
        else:
            assert identity not in first
            first[identity] = sent


def test_every_kind_of_bad_record_comes_before_any_comes_again(three_minutes: list[Outgoing]) -> None:
    kinds = [message.kind for message in three_minutes if message.reason]
    assert set(kinds[: len(KINDS) + 1]) == set(KINDS)  # one of them is a pair


def test_a_pair_that_swallows_is_sent_without_anything_between(three_minutes: list[Outgoing]) -> None:
    at = [place for place, message in enumerate(three_minutes) if message.kind == "pair that swallows"]
    assert at[1::2] == [place + 1 for place in at[0::2]]
    first, second = (three_minutes[place] for place in at[:2])
    assert first.value is not None and second.value is not None
    whole = fastavro.schemaless_reader(
        io.BytesIO(first.value[5:] + bytes([0x41] * 14) + second.value[5:]), load_schema("Reading"), None
    )
    assert isinstance(whole, dict)
    assert whole["source"].endswith("\x08head" + "\0" * 7)  # without a sentinel the neighbour's head is swallowed


def test_the_codec_gives_each_undecodable_record_the_reason_that_the_demo_expects(
    three_minutes: list[Outgoing],
) -> None:
    codec = Codec(load_schema("Reading"), FakeSchemas())
    decoded = codec.decode([message.value for message in three_minutes])
    found = {each.index: each.reason for each in decoded.rejected}
    wanted = {place: message.reason for place, message in enumerate(three_minutes) if message.reason in CODEC_REASONS}
    assert found == wanted


def test_a_fleet_has_the_same_devices_in_every_run() -> None:
    assert device_ids(2) == ["demo-sim-001", "demo-sim-002"]


def test_a_fleet_of_nobody_sends_nothing() -> None:
    fleet = new_fleet(devices=0)
    assert fleet.due(START + 60 * SECOND) == []
