"""Cases of v3: batches, whose entries have ids."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import READING, reading, refusal, reported
from tests.contract.gateway_cases.case import Group, Stored
from tests.contract.gateway_cases.v2_posts import OF_READINGS
from tests.contract.gateway_cases.v3_posts import JSON_DATA, TO_READINGS, batched, entry


def success(name: str, topic: str = "{acme}.notes") -> dict[str, Any]:
    """An entry that was stored: its report without an error code."""
    report = reported(topic, value=JSON_DATA)
    del report["error_code"]
    return {"id": name, **report}


def failure(name: str, code: int, *words: str) -> dict[str, Any]:
    """An entry that was not."""
    return {"id": name, **refusal(code, *words)}


def batch(*entries: Any) -> dict[str, Any]:
    return {"entries": list(entries)}


BATCHES: Final = Group(
    "v3: batches",
    (
        batched(
            "entries, good and bad",
            batch(entry("1", {"a": 1}), entry("two", 2, partition_id=99), entry("3-_", None)),
            status=207,
            answer={"successes": [success("1"), success("3-_")], "failures": [failure("two", 40402)]},
            stored=(Stored(b'{"a":1}'), Stored(None)),
        ),
        batched(
            "readings",
            batch(entry("1", READING), entry("2", reading(device_id="{birch}-1")), entry("3", reading(sensor=7))),
            TO_READINGS,
            key="organisation",
            status=207,
            answer={
                "successes": [success("1", "{readings}")],
                "failures": [failure("2", 40301), failure("3", 42203, "sensor")],
            },
            stored=(OF_READINGS,),
        ),
        batched(
            "nothing but bad entries",
            batch(entry("1", 1, partition_id=99)),
            status=207,
            answer={"successes": [], "failures": [failure("1", 40402)]},
        ),
        batched("no entries", batch(), status=422, answer=refusal(42208, "Empty batch.")),
        batched("a body without entries", {}, status=422, answer=refusal(42208, "Empty batch.")),
        batched("no body", None, status=422, answer=refusal(42208, "Request body is empty. Data is required.")),
        batched(
            "an id given twice",
            batch(entry("1", 1), entry("1", 2)),
            status=422,
            answer=refusal(42208, "Batch entry IDs are not distinct."),
        ),
        *(
            batched(
                f"an id that is {what}",
                batch(entry(name, 1)),
                shown=f'{{"entries": [{{"id": {shown}, …}}]}}',
                status=422,
                answer=refusal(42208, "Batch entry identifier is not a valid string."),
            )
            for what, name, shown in (
                ("a number", 1, "1"),
                ("empty", "", '""'),
                ("longer than 80 characters", "x" * 81, '"xxx…"'),
                ("made of other characters than letters, digits, - and _", "ä b", '"ä b"'),
                ("null", None, "null"),
            )
        ),
        batched(
            "more entries than a request may have",
            batch(*(entry(str(number), 1) for number in range(101))),
            shown="101 entries, with `WEIR_GATEWAY__RECORDS` 100",
            status=422,
            answer=refusal(42208, "Too many entries in batch."),
        ),
        batched("what is no JSON", b"{", status=400, answer=refusal(400)),
        batched(
            "an entry with NaN: the batch is no JSON, and the answer names the entry",
            b'{"entries": [{"id": "1", "value": {"type": "JSON", "data": 1}}, '
            b'{"id": "2", "value": {"type": "JSON", "data": NaN}}]}',
            status=422,
            answer=refusal(42206, "Entry 1", "NaN"),
        ),
        batched("another content type", batch(entry("1", 1)), media_type="text/plain", status=415, answer=refusal(415)),
    ),
)
