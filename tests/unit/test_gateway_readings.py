"""What becomes of one posted reading: its encoding, its faults, and a body read quickly or slowly."""

from __future__ import annotations

import io
import json
import math
import re
import time
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway.content.reading import MOST_BYTES, SHORT_BYTES, Reading, Span, long_text, refusal
from connectors.gateway.content.reading_encoder import FIELDS, ReadingEncoder
from connectors.gateway.content.reading_format import AvroReading, ReadingFormat
from connectors.gateway.errors import GatewayError
from connectors.gateway.v2.body import Quick, read_slowly
from schemas import load_schema
from weir.errors import ConfigError

SCHEMA = load_schema("Reading")
FORMAT = ReadingFormat(8)
QUICK = Quick(Reading)
QUICK_AVRO = Quick(AvroReading)

texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=40)
longs = st.none() | st.integers(-(2**63), 2**63 - 1)
readings = st.builds(
    Reading,
    device_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    sensor=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    ts=st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**14),
    value=st.none() | st.floats(allow_nan=False),
    str_value=texts,
    status_code=longs,
    unit=texts,
    seq=longs,
    quality=texts,
    battery_level=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    fw_ver=texts,
    source=texts,
)


def test_the_fields_are_those_of_the_contract() -> None:
    assert [each["name"] for each in SCHEMA["fields"]] == list(Reading.__struct_fields__) == list(FIELDS)
    assert set(MOST_BYTES) <= set(FIELDS)


def test_a_schema_of_another_version_is_not_written() -> None:
    other = {**SCHEMA, "fields": SCHEMA["fields"][:-1]}
    with pytest.raises(ConfigError, match="weir migrate"):
        ReadingEncoder(other, 1)


@given(readings)
def test_what_is_encoded_is_what_fastavro_reads(reading: Reading) -> None:
    written = ReadingEncoder(SCHEMA, 7).encode(reading)
    assert written[:5] == b"\0\0\0\0\7"
    plain = {
        **SCHEMA,
        "fields": [{**each, "type": "long"} if each["name"] == "ts" else each for each in SCHEMA["fields"]],
    }
    stream = io.BytesIO(written[5:])
    assert fastavro.schemaless_reader(stream, plain, None) == msgspec.structs.asdict(reading)
    assert stream.read() == b""


@given(st.lists(readings.filter(lambda each: each.value is None or math.isfinite(each.value)), min_size=1, max_size=5))
def test_quick_and_slow_ways_read_the_same(posted: list[Reading]) -> None:
    body = msgspec.json.encode({"records": [{"value": msgspec.structs.asdict(each)} for each in posted]})
    slow = [FORMAT.from_value(each.value) for each in read_slowly(body, 8, 100).records]
    quick = QUICK.read(body)
    assert slow == posted
    assert quick is not None and [each.value for each in quick.records] == posted


GOOD: dict[str, Any] = {"device_id": "d", "sensor": "s", "ts": 1}

NOT_QUICK = [
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1,"ts":2}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1,"unit":null,"unit":null}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1,"status_code":null,"status_code":5}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1,"unit":"null","unit":"x"}}]}',
    '{"records":[{"value":{"device_id":"\\u0022\\u0022","sensor":"s","ts":1,"ts":2}}]}',
    '{"records":[{"key":"d","key":"d","value":{"device_id":"d","sensor":"s","ts":1}}]}',
    '{"records":[],"records":[{"value":{"device_id":"d","sensor":"s","ts":1}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1,"value":NaN}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1,"other":1}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1},"partition":-1}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s"}}]}',
    '{"records":[{"value":{"device_id":"","sensor":"s","ts":1}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1.5}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":9223372036854775808}}]}',
    '{"records":[{"value":{"device_id":"d","sensor":"s","ts":1}}]',
]


@pytest.mark.parametrize("body", NOT_QUICK)
def test_whatever_may_be_wrong_is_read_record_by_record(body: str) -> None:
    assert QUICK.read(body.encode()) is None


def test_null_for_an_optional_field_is_quick() -> None:
    body = json.dumps({"records": [{"key": None, "value": {**GOOD, "unit": None, "value": 1.5}}]})
    quick = QUICK.read(body.encode())
    assert quick is not None and quick.records[0].value == Reading("d", "s", 1, 1.5)


def test_avro_json_is_quick_in_boxes_and_slow_without() -> None:
    boxed = {**GOOD, "value": {"double": 1.5}, "unit": {"string": "C"}, "battery_level": {"float": 0.5}, "seq": None}
    body = json.dumps({"records": [{"value": boxed}], "value_schema_id": 3}).encode()
    quick = QUICK_AVRO.read(body)
    assert quick is not None
    expected = Reading("d", "s", 1, 1.5, unit="C", battery_level=0.5)
    assert quick.records[0].value.reading() == expected == FORMAT.from_avro_value(boxed)
    assert FORMAT.from_avro_value({**GOOD, "value": 1.5, "unit": "C", "battery_level": 0.5}) == expected


FLAWS: list[tuple[str, str]] = [
    ('{"device_id":"d","sensor":"s","ts":1,"ts":2}', "'ts' twice"),
    ('{"device_id":"d","sensor":"s","ts":1,"value":NaN}', "NaN"),
    ('{"device_id":"d","sensor":"s","ts":1,"value":1e999}', "1e999"),
    ('{"device_id":"d","sensor":"s","ts":1,"value":"1"}', r"\$.value"),
    ('{"device_id":"d","sensor":"s","ts":1,"temperatur":1}', "temperatur"),
    ('{"device_id":"d","sensor":"s","ts":1,"unit":[[[[[[[[[[1]]]]]]]]]]}', "levels"),
    ('{"device_id":"d","sensor":"s","ts":1,"unit":"\\ud800"}', "surrogate"),
    ('{"device_id":"d","sensor":"s","ts":1,"battery_level":1e39}', "battery_level"),
    ('{"device_id":5,"sensor":"s","ts":1}', "device_id"),
    ("[1]", "object"),
    ("null", "object"),
]


@pytest.mark.parametrize(("text", "said"), FLAWS)
def test_one_bad_reading_is_named_by_its_fault_and_the_others_stay(text: str, said: str) -> None:
    body = '{"records":[{"value":' + text + '},{"value":{"device_id":"d","sensor":"s","ts":1}}]}'
    bad, good = read_slowly(body.encode(), 8, 100).records
    if bad.flaw is not None:
        assert re.search(said, bad.flaw.message)
    else:
        with pytest.raises(GatewayError, match=said):
            FORMAT.from_value(bad.value)
    assert FORMAT.from_value(good.value) == Reading("d", "s", 1)


WHOLE: list[tuple[bytes, int]] = [
    (b"", 422),
    (b"  ", 422),
    (b"{}", 422),
    (b'{"records":[]}', 422),
    (b'{"records":{}}', 422),
    (b'{"records":[{}],"records":[{}]}', 42206),
    (b'{"records":[{}],"other":1}', 42206),
    (b'{"records":[{}],"value_schema":5}', 42206),
    (b'{"records":[{}],"value_schema_id":true}', 42206),
    (b"[]", 42206),
    (b"{", 400),
    (b"\xff", 400),
    (b"[" * 1_900, 400),
    (b"[" * 100_000, 413),
    (b'{"records":[' + b"9" * 5_000 + b"]}", 400),
]


@pytest.mark.parametrize(("body", "code"), WHOLE)
def test_a_request_that_is_wrong_as_a_whole_says_so(body: bytes, code: int) -> None:
    with pytest.raises(GatewayError) as caught:
        read_slowly(body, 8, 100)
    assert caught.value.code == code


def test_two_million_records_are_refused_before_any_of_them_is_looked_at() -> None:
    body, begun = b'{"records":[' + b"1," * 2_000_000 + b"1]}", time.process_time()
    with pytest.raises(GatewayError, match="more than 2000 values") as caught:
        read_slowly(body, 8, 100)
    assert caught.value.status == 413 and time.process_time() - begun < 0.5


def test_a_reading_must_say_something_at_a_time_that_is_kept() -> None:
    now, day = Span(7, 300.0).now()[1] - 300_000, 86_400_000
    oldest, newest = now - 7 * day, now + 300_000
    reasons: list[tuple[dict[str, Any], str | None]] = [
        ({"value": 1.0}, None),
        ({"str_value": ""}, None),
        ({"status_code": 0}, None),
        ({}, "no_value"),
        ({"value": math.nan}, "not_finite"),
        ({"value": -1e200}, "out_of_bounds"),
        ({"value": 1.0, "ts": newest + 1}, "too_far_in_future"),
        ({"value": 1.0, "ts": oldest - 1}, "too_old"),
    ]
    for fields, reason in reasons:
        refused = refusal(Reading(**{"device_id": "d", "sensor": "s", "ts": now, **fields}), oldest, newest)
        assert (refused.reason if refused else None) == reason


@pytest.mark.parametrize("name", MOST_BYTES)
def test_a_text_that_is_too_long_is_refused_and_the_longest_is_not(name: str) -> None:
    most, encoder = MOST_BYTES[name], ReadingEncoder(SCHEMA, 7)
    longest = Reading(**{**GOOD, name: "ü" * (most // 2)})
    assert long_text(longest) is None and len(encoder.encode(longest)) > SHORT_BYTES
    error = long_text(Reading(**{**GOOD, name: "ü" * (most // 2) + "x"}))
    assert error is not None and error.reason == "too_long" and f"{name} of over {most} bytes" in error.message


def test_framed_avro_is_read_by_its_own_schema_and_nothing_else_passes() -> None:
    written = ReadingEncoder(SCHEMA, 7).encode(Reading("d", "s", 1_790_000_000_123, 2.5, unit="C"))
    assert FORMAT.from_framed(written, lambda _: SCHEMA) == Reading("d", "s", 1_790_000_000_123, 2.5, unit="C")
    assert FORMAT.from_framed(b'{"device_id":"d","sensor":"s","ts":1}', lambda _: None) == Reading("d", "s", 1)
    for bad in (b"", b"\0", written[:5], written[:-1], written + b"\0", b"\0\0\0\0\7" + b"\xff" * 20, b"x"):
        with pytest.raises(GatewayError):
            FORMAT.from_framed(bad, lambda _: SCHEMA)
    with pytest.raises(GatewayError, match="id of a schema"):
        FORMAT.from_framed(written, lambda _: None)
