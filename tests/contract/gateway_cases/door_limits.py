"""Cases of limits: sizes, times, quotas, new dimensions, sampling, and requests that are sent again."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import (
    READING,
    produced,
    reading,
    records,
    refusal,
    refused,
    taken,
)
from tests.contract.gateway_cases.case import NOT_COMPARED, SECONDS, TEXT, Case, Group, Some
from tests.contract.gateway_cases.v2_posts import READINGS, noted, posted
from tests.contract.gateway_cases.v3_posts import TO_READINGS, record, sent

WHOLE_SECONDS: Final = Some("‹seconds›", lambda found: isinstance(found, str) and found.isdigit() and int(found) >= 1)
HEAD: Final = f"POST {READINGS} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {{key}}\r\n"
TYPE: Final = "Content-Type: application/vnd.kafka.json.v2+json\r\n"
LARGE: Final = "x" * 70_000


def of_thrift(*values: Any, **fields: Any) -> Case:
    """Readings of an organisation that may send one a second, and five at once."""
    name = fields.pop("name", "")
    return posted(name, key="thrift organisation", body=records(*values), **fields)


def of_novel(*values: Any, **fields: Any) -> Case:
    """Readings of an organisation that has two new values a day and stores what has changed."""
    name = fields.pop("name", "")
    return posted(name, key="novel organisation", body=records(*values), **fields)


RATE: Final[dict[str, Any]] = {"limit": "organisation.records_per_second", "allowed": 1.0, "advised_rate": 0.95}
THRIFTY: Final = READING | {"device_id": "{thrift}-1"}
NOVEL: Final = READING | {"device_id": "{novel}-1"}

SIZES: Final = Group(
    "limits of sizes and times",
    (
        posted(
            "a body that is too large",
            body={"records": [], "value_schema": LARGE},
            shown="70,000 bytes, with `WEIR_GATEWAY__BODY_BYTES` 65536",
            status=413,
            answer=refusal(413, "65536"),
        ),
        posted(
            "a body that says it is too large, before it is sent",
            raw=(HEAD + TYPE + "Content-Length: 100000000\r\n\r\n").encode(),
            shown="`Content-Length: 100000000`",
            status=413,
            answer=refusal(413, "65536"),
            closes=True,
        ),
        posted(
            "a body in chunks that is too large",
            raw=(HEAD + TYPE + "Transfer-Encoding: chunked\r\n\r\n11170\r\n" + LARGE + "\r\n0\r\n\r\n").encode(),
            shown="70,000 bytes, `Transfer-Encoding: chunked`",
            status=413,
            answer=refusal(413, "65536"),
        ),
        posted(
            "a compressed body that is too large",
            body={"records": [], "value_schema": LARGE},
            shown="70,000 bytes, `Content-Encoding: gzip`",
            encoding="gzip",
            status=413,
            answer=refusal(413, "65536"),
        ),
        posted("a body compressed by gzip", body=records(READING), encoding="gzip", answer=produced(taken())),
        posted("a body compressed by deflate", body=records(READING), encoding="deflate", answer=produced(taken())),
        posted(
            "a body that is not compressed as it says",
            body=records(READING),
            headers={"Content-Encoding": "gzip"},
            status=400,
            answer=refusal(400, "compressed"),
        ),
        posted(
            "a body compressed otherwise",
            body=records(READING),
            headers={"Content-Encoding": "br"},
            status=415,
            answer=refusal(415, "gzip"),
        ),
        posted(
            "a record that is too large, in a stream",
            TO_READINGS,
            media_type="application/json",
            body=record(reading(str_value=LARGE)),
            shown="a record of 70,000 bytes",
            lines=True,
            answer=[refusal(413)],
            confluent="differs: 400, and the stream ends",
        ),
        posted(
            "too many headers",
            headers={f"X-{number}": "1" for number in range(40)},
            shown="40 headers, with `WEIR_GATEWAY__HEADERS` 32",
            body=records(READING),
            status=431,
            answer=refusal(431),
            closes=True,
        ),
        posted(
            "headers that are too long",
            headers={"X-Long": "x" * 5_000},
            shown="5,000 bytes, with `WEIR_GATEWAY__HEADER_BYTES` 4096",
            body=records(READING),
            status=431,
            answer=refusal(431),
            closes=True,
        ),
        posted(
            "a body that comes too slowly",
            raw=(HEAD + TYPE + 'Content-Length: 100\r\n\r\n{"records"').encode(),
            shown='`{"records"` and then nothing, with `WEIR_GATEWAY__BODY_SECONDS` 1',
            status=408,
            answer=refusal(40801),
            closes=True,
        ),
        posted(
            "headers that come too slowly",
            raw=b"POST / HTTP/1.1\r\nHost: gate",
            shown="half a header and then nothing, with `WEIR_GATEWAY__HEADER_SECONDS` 1",
            status=408,
            answer=refusal(40801),
            closes=True,
        ),
    ),
    NOT_COMPARED,
)

QUOTAS: Final = Group(
    "quotas, new dimensions and sampling",
    (
        of_thrift(
            THRIFTY,
            name="over the quota of the organisation",
            first=of_thrift(*[THRIFTY] * 5),
            status=429,
            answer=refusal(
                42901,
                "records a second",
                **RATE,
                retry_after_seconds=SECONDS,
                offsets=[refused(42901)],
            ),
            answer_headers={"retry-after": WHOLE_SECONDS},
        ),
        of_thrift(
            *[THRIFTY] * 6,
            name="more at once than the quota ever allows",
            shown="6 records, where 5 are allowed at once",
            status=429,
            answer=refusal(
                42901,
                "split",
                **RATE,
                at_once=5,
                offsets=[refused(42901)] * 6,
            ),
        ),
        sent(
            "the same in a stream: a report",
            TO_READINGS,
            key="thrift organisation",
            first=of_thrift(*[THRIFTY] * 5),
            body=record(THRIFTY),
            answer=[refusal(42901, "records a second", **RATE, retry_after_seconds=SECONDS)],
        ),
        of_novel(
            NOVEL,
            NOVEL | {"sensor": "new-3"},
            name="more new sensors than a day has",
            first=of_novel(NOVEL | {"sensor": "new-1"}, NOVEL | {"sensor": "new-2"}),
            answer=produced(
                Some("{…}", lambda found: found["error_code"] is None),
                refused(42902, "sensor", "new-3", "2 new values"),
            ),
            answer_headers={"retry-after": WHOLE_SECONDS},
        ),
        of_novel(
            NOVEL | {"sensor": "new-4", "unit": "parsec"},
            name="nothing but new values",
            status=429,
            answer=refusal(
                42902,
                "2 new values",
                dimension=TEXT,
                value=TEXT,
                allowed=2,
                renews=TEXT,
                offsets=[refused(42902)],
            ),
            answer_headers={"retry-after": WHOLE_SECONDS},
        ),
        of_novel(
            NOVEL,
            name="a value that has not changed, where only changes are stored",
            first=of_novel(NOVEL),
            answer=produced(taken(partition=-1, offset=-2)),
            answer_headers={"weir-sampled-out": "1"},
        ),
    ),
    "differs: it has one rate for everybody, and 429",
)


def again(name: str, value: Any, **fields: Any) -> Case:
    """A request under a key of its own."""
    return noted(name, body=records(value), headers={"Idempotency-Key": "{unique}"}, **fields)


REPEATED: Final = Group(
    "requests that are sent again",
    (
        again(
            "the same request under the same `Idempotency-Key`: the same answer, nothing stored again",
            1,
            first=again("", 1),
            answer=produced(taken()),
            answer_headers={"idempotency-replayed": "true"},
        ),
        again(
            "another body under the same `Idempotency-Key`",
            2,
            first=again("", 1),
            status=422,
            answer=refusal(42290, "another body"),
        ),
        noted(
            "an `Idempotency-Key` that is too long",
            body=records(1),
            headers={"Idempotency-Key": "x" * 256},
            shown="`Idempotency-Key` of 256 characters",
            status=400,
            answer=refusal(400, "255"),
        ),
        noted(
            "an empty `Idempotency-Key`",
            body=records(1),
            headers={"Idempotency-Key": ""},
            status=400,
            answer=refusal(400, "255"),
        ),
        sent(
            "an `Idempotency-Key` with a stream of v3",
            body=record(1),
            headers={"Idempotency-Key": "{unique}"},
            lines=False,
            status=400,
            answer=refusal(400, "records:batch"),
        ),
    ),
    "differs: it knows no such header",
)

LIMIT_GROUPS: Final = (SIZES, QUOTAS, REPEATED)
