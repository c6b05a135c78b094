"""Cases of v2: readings."""

from __future__ import annotations

from typing import Final

from tests.contract.gateway_cases.answers import (
    READING,
    none_taken,
    produced,
    reading,
    records,
    refusal,
    refused,
    taken,
)
from tests.contract.gateway_cases.case import V2_AVRO, V2_BINARY, Group, Stored
from tests.contract.gateway_cases.v2_posts import (
    NOT_ALIKE,
    NOTE_SCHEMA,
    OF_READINGS,
    READING_SCHEMA,
    SCHEMA_ID,
    base64_of,
    posted,
)

READINGS_JSON: Final = Group(
    "v2: readings as JSON",
    (
        posted("one reading", body=records(READING), answer=produced(taken()), stored=(OF_READINGS,)),
        posted(
            "a reading by the key of its device",
            key="device",
            body=records(READING),
            answer=produced(taken()),
            stored=(OF_READINGS,),
        ),
        posted(
            "several readings, of several devices",
            body=records(READING, reading(device_id="{acme}-2", value=0), reading(sensor="lid", str_value="open")),
            answer=produced(taken(), taken(), taken()),
            stored=(
                OF_READINGS,
                Stored(reading(device_id="{acme}-2", value=0.0), b"{acme}-2"),
                Stored(reading(sensor="lid", str_value="open"), b"{acme}-1"),
            ),
        ),
        posted(
            "every field of a reading",
            body=records(
                reading(
                    str_value="warm",
                    status_code=-7,
                    unit="celsius",
                    seq=12,
                    quality="good",
                    battery_level=87.5,
                    fw_ver="1.2",
                    source="esp32",
                )
            ),
            answer=produced(taken()),
            stored=(
                Stored(
                    reading(
                        str_value="warm",
                        status_code=-7,
                        unit="celsius",
                        seq=12,
                        quality="good",
                        battery_level=87.5,
                        fw_ver="1.2",
                        source="esp32",
                    ),
                    b"{acme}-1",
                ),
            ),
        ),
        posted(
            "the key is the device's id",
            body={"records": [{"key": "{acme}-1", "value": READING}]},
            answer=produced(taken()),
            stored=(OF_READINGS,),
        ),
        posted(
            "the key is another than the device's id",
            body={"records": [{"key": "{acme}-2", "value": READING}]},
            status=422,
            answer=none_taken(refused(42203, "device_id")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "a reading with an unknown field",
            body=records(reading(temperatur=3)),
            status=422,
            answer=none_taken(refused(42203, "temperatur")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "a reading without a time",
            body=records({"device_id": "{acme}-1", "sensor": "t", "value": 1}),
            status=422,
            answer=none_taken(refused(42203, "ts")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "a reading that measures nothing",
            body=records({"device_id": "{acme}-1", "sensor": "t", "ts": "{now}"}),
            status=422,
            answer=none_taken(refused(42203, "value")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "a text where the number belongs",
            body=records(reading(value="21.5")),
            status=422,
            answer=none_taken(refused(42203, "value")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "a reading of a year ago",
            body=records(reading(ts=1_500_000_000_000)),
            status=422,
            answer=none_taken(refused(42203, "ago")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "a reading of tomorrow's clock",
            body=records(reading(ts=9_000_000_000_000)),
            status=422,
            answer=none_taken(refused(42203, "ahead")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "no value at all",
            body={"records": [{"key": "{acme}-1"}]},
            status=422,
            answer=none_taken(refused(42203)),
            confluent="differs: it stores a tombstone; a reading cannot be deleted",
        ),
        posted(
            "bad readings among good ones: the good ones are stored, and each error stands in its place",
            body=b'{"records": ['
            b'{"value": {"device_id": "{acme}-1", "sensor": "t", "ts": {now}, "value": 21.5}},'
            b'{"value": {"device_id": "{acme}-1", "sensor": "t", "ts": {now}, "value": NaN}},'
            b'{"value": {"device_id": "{acme}-1", "sensor": "t", "ts": {now}, "value": 1, "value": 2}},'
            b'{"value": {"device_id": "{birch}-1", "sensor": "t", "ts": {now}, "value": 3}},'
            b'{"value": ' + b"[" * 40 + b"]" * 40 + b"},"
            b'{"value": {"device_id": "{acme}-2", "sensor": "t", "ts": {now}, "value": 4}}]}',
            answer=produced(
                taken(),
                refused(42206, "Record 1", "NaN"),
                refused(42206, "Record 2", "value", "twice"),
                refused(40301, "Record 3", "{birch}-1"),
                refused(42206, "Record 4", "levels"),
                taken(),
            ),
            stored=(OF_READINGS, Stored(reading(device_id="{acme}-2", value=4.0), b"{acme}-2")),
            confluent="differs: NaN, keys given twice and deep nesting are a 400 for the whole request there",
        ),
    ),
)

BOXED: Final = READING | {"value": {"double": 21.5}}
"""A reading in Avro's JSON encoding."""

READINGS_AVRO: Final = Group(
    "v2: readings as Avro and binary",
    (
        posted(
            "by the text of the schema",
            media_type=V2_AVRO,
            body=records(BOXED, value_schema=READING_SCHEMA),
            answer=produced(taken(), value_schema_id=SCHEMA_ID),
            stored=(OF_READINGS,),
        ),
        posted(
            "by the id of the schema",
            media_type=V2_AVRO,
            body=records(BOXED, value_schema_id="{readings schema}"),
            answer=produced(taken(), value_schema_id=SCHEMA_ID),
            stored=(OF_READINGS,),
        ),
        posted(
            "without a schema",
            media_type=V2_AVRO,
            body=records(BOXED),
            status=422,
            answer=refusal(42202),
        ),
        posted(
            "with another schema than that of readings",
            media_type=V2_AVRO,
            body=records({"text": "hello"}, value_schema=NOTE_SCHEMA),
            status=422,
            answer=refusal(42205),
            confluent="differs: it registers whatever it is sent, or says 42207 when the registry refuses",
        ),
        posted(
            "with the id of a schema of another topic",
            media_type=V2_AVRO,
            body=records(BOXED, value_schema_id="{foreign schema}"),
            status=422,
            answer=refusal(42207),
        ),
        posted(
            "with the id of no schema: the same words as for another's",
            media_type=V2_AVRO,
            body=records(BOXED, value_schema_id=999_999_999),
            status=422,
            answer=refusal(42207),
        ),
        posted(
            "a value that does not fit",
            media_type=V2_AVRO,
            body=records(READING | {"value": {"string": "warm"}}, value_schema_id="{readings schema}"),
            status=422,
            answer=none_taken(refused(42203, "value")),
            confluent="differs: 400 for the whole request",
        ),
        posted(
            "binary that is JSON",
            media_type=V2_BINARY,
            body=records(base64_of(b'{"device_id": "a"}')),
            status=422,
            answer=none_taken(refused(42203, "sensor")),
            confluent=NOT_ALIKE,
        ),
        posted(
            "binary that is neither JSON nor Avro",
            media_type=V2_BINARY,
            body=records(base64_of(b"garbage")),
            status=422,
            answer=none_taken(refused(42203)),
            confluent=NOT_ALIKE,
        ),
    ),
)
