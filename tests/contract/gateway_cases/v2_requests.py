"""Cases of v2: requests that are refused as a whole, and the negotiation of types."""

from __future__ import annotations

from typing import Final

from tests.contract.gateway_cases.answers import READING, none_taken, produced, records, refusal, refused, taken
from tests.contract.gateway_cases.case import V2, V2_JSON, Group
from tests.contract.gateway_cases.v2_posts import WAITS, noted, posted

REQUESTS: Final = Group(
    "v2: requests that are refused as a whole",
    (
        noted(
            "a topic that is not there",
            path="/topics/{acme}.absent",
            body=records(1),
            status=404,
            answer=refusal(40401, "Topic not found."),
            confluent=WAITS,
        ),
        noted(
            "a topic of another organisation: the same words",
            path="/topics/{birch}.notes",
            body=records(1),
            status=404,
            answer=refusal(40401, "Topic not found."),
            confluent=WAITS,
        ),
        noted(
            "a topic of Weir's own: the same words",
            path="/topics/{weir}.aggregates.1m",
            body=records(1),
            status=404,
            answer=refusal(40401, "Topic not found."),
            confluent="differs: it writes to any topic",
        ),
        posted("no records", body={"records": []}, status=422, answer=refusal(422)),
        posted("a body without records", body={}, status=422, answer=refusal(422)),
        posted("no body", status=422, answer=refusal(422)),
        posted("records that are no list", body={"records": {}}, status=422, answer=refusal(422)),
        posted("a list for a body", body=[], status=422, answer=refusal(42206)),
        posted("a record that is no object", body={"records": [1]}, status=422, answer=none_taken(refused(42206))),
        posted("what is no JSON", body=b'{"records": [', status=400, answer=refusal(400)),
        posted("JSON and more", body=b'{"records": []} {}', status=400, answer=refusal(400)),
        posted("bytes that are no UTF-8", body=b'{"records": ["\xff"]}', status=400, answer=refusal(400, "UTF-8")),
        posted(
            "more records than one request may have",
            body=records(*[READING] * 101),
            shown="101 records, with `WEIR_GATEWAY__RECORDS` 100",
            status=413,
            answer=refusal(413, "100"),
            confluent="differs: it has no limit",
        ),
        posted("another content type", media_type="text/plain", body=records(READING), status=415, answer=refusal(415)),
        posted(
            "plain JSON: the answer names what is spoken",
            media_type="application/json",
            body=records(READING),
            status=415,
            answer=refusal(415, "application/vnd.kafka.json.v2+json"),
        ),
        posted("no content type", media_type=None, body=records(READING), status=415, answer=refusal(415)),
        posted(
            "a content type with a parameter",
            media_type=V2_JSON + "; charset=utf-8",
            body=records(READING),
            answer=produced(taken()),
        ),
        posted(
            "an answer type that is not given",
            headers={"Accept": "text/html"},
            body=records(READING),
            status=406,
            answer=refusal(406),
        ),
        posted(
            "an empty `Accept`, which is any answer type",
            headers={"Accept": ""},
            shown="`Accept: `, empty",
            body=records(READING),
            answer=produced(taken()),
            answer_headers={"content-type": V2},
        ),
        posted("an answer type of v2", headers={"Accept": V2}, body=records(READING), answer=produced(taken())),
        posted(
            "any answer type",
            headers={"Accept": "text/html, */*;q=0.1"},
            body=records(READING),
            answer=produced(taken()),
            answer_headers={"content-type": V2},
        ),
    ),
)
