"""The shapes of answers that many cases share."""

from __future__ import annotations

from typing import Any

from tests.contract.gateway_cases.case import NUMBER, TEXT, TIME, Answer, saying

READING: dict[str, Any] = {"device_id": "{acme}-1", "sensor": "t", "ts": "{now}", "value": 21.5}
"""A reading that is taken."""


def reading(**fields: Any) -> dict[str, Any]:
    """The same with other fields."""
    return READING | fields


def records(*values: Any, **more: Any) -> dict[str, Any]:
    """A body of v2 with values and no keys."""
    return {"records": [{"value": value} for value in values], **more}


def taken(partition: Any = NUMBER, offset: Any = NUMBER) -> Answer:
    """The outcome of a record of v2 that was stored."""
    return {"partition": partition, "offset": offset, "error_code": None, "error": None}


def refused(code: int, *words: str) -> Answer:
    """The outcome of a record of v2 that was not."""
    return {"partition": None, "offset": None, "error_code": code, "error": saying(*words) if words else TEXT}


def produced(*outcomes: Answer, key_schema_id: Any = None, value_schema_id: Any = None) -> Answer:
    """The answer of v2 when something was stored."""
    return {"offsets": list(outcomes), "key_schema_id": key_schema_id, "value_schema_id": value_schema_id}


def refusal(code: int, *words: str, **more: Any) -> Answer:
    """The envelope of every refusal."""
    return {"error_code": code, "message": saying(*words) if words else TEXT, **more}


def none_taken(*outcomes: Answer) -> Answer:
    """The answer of v2 when nothing was stored: the first record's error, and all of them."""
    return refusal(outcomes[0]["error_code"], offsets=list(outcomes))


def reported(topic: str, *, key: Answer = None, value: Answer = None, **more: Any) -> Answer:
    """The report of v3 for a record that was stored."""
    data = {name: each for name, each in (("key", key), ("value", value)) if each is not None}
    return {
        "error_code": 200,
        "cluster_id": "{cluster}",
        "topic_name": topic,
        "partition_id": NUMBER,
        "offset": NUMBER,
        "timestamp": TIME,
        **data,
        **more,
    }
