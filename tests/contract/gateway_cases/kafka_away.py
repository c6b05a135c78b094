"""Cases of a gateway whose Kafka is away."""

from __future__ import annotations

from typing import Any, Final

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
from tests.contract.gateway_cases.case import NOT_COMPARED, Group, Some
from tests.contract.gateway_cases.door_limits import WHOLE_SECONDS
from tests.contract.gateway_cases.v2_posts import NOT_ALIKE, NOTES, looked_at, noted, posted
from tests.contract.gateway_cases.v3_posts import JSON_DATA, TO_READINGS, record, sent

SPOOLED: Final = taken(partition=Some("‹number or -1›", lambda found: type(found) is int and found >= -1), offset=-1)
NOTED: Final[dict[str, Any]] = {"answer_headers": {"weir-spooled": "1"}}
LATER: Final[dict[str, Any]] = {"answer_headers": {"retry-after": WHOLE_SECONDS}}
AWAY: Final[dict[str, Any]] = {"status": 503, "answer": refusal(50003), "confluent": NOT_COMPARED, **LATER}
LARGE: Final = "x" * 40_000

KAFKA_AWAY: Final = Group(
    "while Kafka is away",
    (
        posted("a reading goes to the spool", body=records(READING), answer=produced(SPOOLED), **NOTED),
        noted("a record of a topic of one's own does so, too", body=records(1), answer=produced(SPOOLED), **NOTED),
        sent(
            "in a stream the report says so",
            TO_READINGS,
            key="organisation",
            body=record(READING),
            answer=[
                {
                    "error_code": 200,
                    "message": Some('"On disk here; …"', lambda found: "disk" in found),
                    "cluster_id": "{cluster}",
                    "topic_name": "{readings}",
                    "partition_id": SPOOLED["partition"],
                    "offset": -1,
                    "value": JSON_DATA,
                }
            ],
        ),
        posted(
            "a reading for which the spool has no room",
            body=records(reading(str_value=LARGE)),
            shown="a reading of 40,000 bytes, with `WEIR_GATEWAY__SPOOL_BYTES` 30000",
            status=507,
            answer=none_taken(refused(50701)),
            **LATER,
        ),
        posted(
            "what is refused is refused as ever",
            body=records({}),
            status=422,
            answer=none_taken(refused(42203)),
            confluent=NOT_ALIKE,
        ),
        looked_at(
            "the topics, as they were when Kafka was last seen",
            "/topics",
            answer=Some('["acme.notes", "weir.readings"]', lambda found: len(found) == 2),
            confluent=NOT_COMPARED,
        ),
        looked_at("a topic that was not there then", "/topics/{acme}.absent", **AWAY),
        looked_at("the offsets of a partition", NOTES + "/partitions/0/offsets", **AWAY),
        looked_at(
            "`/ready` as long as the spool has room",
            "/ready",
            key=None,
            answer={"status": "ok"},
            confluent=NOT_COMPARED,
        ),
    ),
    "differs: it has no spool: 50003 for each record after two minutes",
)
